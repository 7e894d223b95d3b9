"""Do candidates go as newer ones come, and never one that is in service, was just before, or is before the gate?"""

from pathlib import Path

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import InService
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.checkpoints.retention import retain_candidates
from ray_jobs.registry.champion import put_in_service
from ray_jobs.store.paths import branches_of, checkpoint_folder
from tests.support.checkpoints import commit_at


def leave(store: Store, run: str, left_at: int, steps: tuple[int, ...]) -> None:
    """Commit candidates that left a run."""
    for step in steps:
        path = f"{checkpoint_folder(f'{run}@{left_at:08d}', step, 'a1')}/rank-00000.safetensors"
        store.write(path, b"weights")
        files = (StoredFile(path, 7, ""),)
        assert commits.publish(store, commit_at(f"{run}@{left_at:08d}", step, 0, step - left_at, files))
    store.write(f"runs/{run}@{left_at:08d}/evaluations/{steps[-1]:08d}.arrow", b"figures")


def test_old_candidates_go_and_champions_stay(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for left_at in (10, 20, 30, 40, 50):
        leave(store, "news", left_at, (left_at, left_at + 3))
    leave(store, "other", 10, (13,))
    put_in_service(store, InService(checkpoint="news@00000020/00000023", previous="news@00000010/00000010"))
    assert retain_candidates(store, "news", 1) == [30], "two judgements stay: one may be before the gate"
    assert branches_of(store, "news") == [10, 20, 40, 50] and branches_of(store, "other") == [10]
    assert commits.commits(store, "news@00000010") == [10] and commits.commits(store, "news@00000020") == [23]
    assert [path for path in store.list("runs/news@00000020/checkpoints") if "safetensors" in path] == [
        "runs/news@00000020/checkpoints/00000023-a1/rank-00000.safetensors"
    ]
    assert store.list("runs/news@00000030") == []
    put_in_service(store, InService(checkpoint="news@00000040/00000043", previous="news@00000020/00000023"))
    assert retain_candidates(store, "news", 2) == [10]
