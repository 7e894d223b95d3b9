"""Is a run resumed from the newest checkpoint that is whole, whatever happened to its files?"""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.storage.seal import unseal
from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files, sha256_of
from ray_jobs.checkpoints.manifest import DamagedCheckpointError, FormatError
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.checkpoints.retention import retain, sweep_orphans
from ray_jobs.store import lease as leases
from ray_jobs.store.paths import CHAMPION, checkpoint_folder, run_path
from tests.support.checkpoints import commit_at, state_at

RUN = "news"


def save(store, step, *, ranks=2, attempt="a1", run=RUN, published=True):
    """What the workers and the coordinator do for one checkpoint."""
    files = []
    for rank in range(ranks):
        path = f"{checkpoint_folder(run, step, attempt)}/rank-{rank:05d}.safetensors"
        store.write(path, f"weights of rank {rank} at step {step} of {attempt}".encode())
        local = store.local_path(path)
        files.append(StoredFile(path, local.stat().st_size, sha256_of(local)))
    done = commit_at(run, step, step // 10, step % 10, tuple(files))
    return done, published and commits.publish(store, done)


@pytest.fixture
def store(tmp_path):
    store = Store.open(str(tmp_path))
    for step in (3, 12, 27):
        save(store, step)
    return store


def manifest(step):
    return run_path(RUN, "checkpoints", f"{step:08d}.json")


def first_file(store, step):
    return store.local_path(commits.load(store, RUN, step).files[0].path)


def truncate_file(store, step):
    path = first_file(store, step)
    path.write_bytes(path.read_bytes()[:-1])


def lengthen_file(store, step):
    path = first_file(store, step)
    path.write_bytes(path.read_bytes() + b"x")


def remove_file(store, step):
    first_file(store, step).unlink()


def truncate_manifest(store, step):
    store.write(manifest(step), store.read(manifest(step))[:-20])


def empty_manifest(store, step):
    store.write(manifest(step), b"")


def foreign_manifest(store, step):
    store.write(manifest(step), b"[1, 2]")


def of_another_format(store, step):
    store.write(
        manifest(step),
        json.dumps({**json.loads(unseal(store.read(manifest(step)).decode(), "")), "format": 99}).encode(),
    )


def manifest_without_files(store, step):
    raw = json.loads(unseal(store.read(manifest(step)).decode(), ""))
    del raw["files"]
    store.write(manifest(step), json.dumps(raw).encode())


DAMAGES = [
    truncate_file,
    lengthen_file,
    remove_file,
    truncate_manifest,
    empty_manifest,
    foreign_manifest,
    manifest_without_files,
]
OF_MANIFEST = DAMAGES[3:]


def test_a_new_run_has_no_checkpoint(tmp_path):
    assert commits.latest(Store.open(str(tmp_path)), RUN) is None
    assert commits.newest_readable(Store.open(str(tmp_path)), RUN) is None


def test_the_newest_checkpoint_comes_back_as_it_was_committed(store):
    done, _ = save(store, 100, ranks=3)
    found = commits.latest(store, RUN)
    assert found == done
    assert (found.name, found.round, found.step_in_round) == ("news/00000100", 10, 0)
    assert found.size_bytes == sum(len(store.read(file.path)) for file in found.files)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_is_used(store, damage, caplog):
    damage(store, 27)
    with caplog.at_level(logging.WARNING):
        assert commits.latest(store, RUN).step == 12
    assert "news/00000027 is damaged and put aside" in caplog.text
    assert commits.commits(store, RUN) == [3, 12]
    assert store.exists(manifest(27) + ".damaged"), "it is kept for a look"
    assert save(store, 27, attempt="a2")[1], "the step can be committed anew"
    assert commits.latest(store, RUN).files[0].path.startswith(checkpoint_folder(RUN, 27, "a2"))


def test_a_checkpoint_of_another_version_stops_the_run_and_is_left_as_it_is(store):
    of_another_format(store, 27)
    for read in (commits.latest, commits.newest_readable):
        with pytest.raises(FormatError, match="checkpoint news/27 has format 99; this version reads up to 2"):
            read(store, RUN)
    assert commits.commits(store, RUN) == [3, 12, 27]


def test_when_every_checkpoint_is_damaged_the_run_starts_anew(store):
    for damage, step in zip(DAMAGES, (3, 12, 27), strict=False):
        damage(store, step)
    assert commits.latest(store, RUN) is None


def test_a_flipped_bit_is_noticed_when_the_files_are_fetched(store, tmp_path):
    path = first_file(store, 27)
    raw = bytearray(path.read_bytes())
    raw[4] ^= 1
    path.write_bytes(raw)
    commit = commits.latest(store, RUN)
    assert commit.step == 27, "its sizes are right"
    with pytest.raises(DamagedCheckpointError, match=r"rank-00000.safetensors does not hold the bytes .*news/00000027"):
        fetch_files(store, commit, tmp_path)
    commits.put_aside(store, RUN, 27, "a bit is wrong")
    assert commits.latest(store, RUN).step == 12


def test_files_are_fetched_in_the_order_of_ranks(store, tmp_path):
    paths = fetch_files(store, commits.latest(store, RUN), tmp_path)
    assert [path.read_text() for path in paths] == [f"weights of rank {rank} at step 27 of a1" for rank in range(2)]


def test_files_of_a_remote_store_are_downloaded_and_compared(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "local_path", lambda self, path: None)
    commit = commits.latest(store, RUN)
    paths = fetch_files(store, commit, tmp_path / "scratch")
    assert [sha256_of(path) for path in paths] == [file.sha256 for file in commit.files]
    assert all(path.parent == tmp_path / "scratch" for path in paths)


def test_a_bad_transfer_is_repeated_before_a_checkpoint_is_given_up(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "local_path", lambda self, path: None)
    download, asked = Store.download, []

    def bad_at_first(self, path, local):
        asked.append(path)
        download(self, path, local)
        if asked.count(path) == 1:
            Path(local).write_bytes(b"a part")

    monkeypatch.setattr(Store, "download", bad_at_first)
    done = commits.latest(store, RUN)
    assert len(fetch_files(store, done, tmp_path)) == len(done.files)
    assert len(asked) == 2 * len(done.files)


def test_two_may_put_the_same_checkpoint_aside(store):
    commits.put_aside(store, RUN, 12, "damaged")
    commits.put_aside(store, RUN, 12, "damaged")
    assert commits.commits(store, RUN) == [3, 27]


def test_files_without_a_manifest_never_happened(store):
    save(store, 40, published=False)
    assert commits.latest(store, RUN).step == 27


def test_a_step_is_committed_once(store):
    done, published = save(store, 27, attempt="a2")
    assert not published
    assert commits.load(store, RUN, 27).files != done.files


def test_a_checkpoint_is_found_by_its_name(store):
    save(store, 5, run="a.b-c")
    for run, step in ((RUN, 12), ("a.b-c", 5)):
        found = commits.by_name(store, f"{run}/{step:08d}")
        assert (found.run, found.step) == (run, step)
        assert commits.by_name(store, found.name) == found


def in_service(name):
    return json.dumps({"checkpoint": name}).encode()


def test_old_checkpoints_go_but_never_the_champion_or_the_newest(store):
    save(store, 31)
    save(store, 44)
    store.write(CHAMPION, in_service("news/00000012"))
    assert retain(store, RUN, keep=2) == [3, 27]
    assert commits.commits(store, RUN) == [12, 31, 44]
    kept = {path.split("/")[3] for path in store.list(run_path(RUN, "checkpoints"))}
    folders = {checkpoint_folder(RUN, step, "a1").rpartition("/")[2] for step in (12, 31, 44)}
    assert kept == folders | {f"{step:08d}.json" for step in (12, 31, 44)}
    assert retain(store, RUN, keep=2) == []


def test_a_checkpoint_that_is_promoted_while_it_is_let_go_stays(store, monkeypatch):
    delete = Store.delete

    def promoted_meanwhile(self, path):
        store.write(CHAMPION, in_service("news/00000003"))
        delete(self, path)

    monkeypatch.setattr(Store, "delete", promoted_meanwhile)
    assert retain(store, RUN, keep=1) == [12]
    assert commits.latest(store, RUN).step == 27
    assert commits.by_name(store, "news/00000003").files
    assert store.exists(commits.by_name(store, "news/00000003").files[0].path)


@pytest.mark.parametrize("damage", OF_MANIFEST, ids=lambda f: f.__name__)
def test_a_damaged_old_checkpoint_does_not_keep_others_from_going(store, damage):
    damage(store, 3)
    assert retain(store, RUN, keep=1) == [12]
    assert commits.commits(store, RUN) == [27]


@pytest.mark.parametrize("damage", OF_MANIFEST, ids=lambda f: f.__name__)
def test_who_only_looks_puts_nothing_aside(store, damage):
    damage(store, 27)
    assert commits.newest_readable(store, RUN).step == 12
    assert commits.commits(store, RUN) == [3, 12, 27]


def test_what_a_driver_commits_after_it_lost_the_run_does_not_count(store, caplog):
    for _ in range(2):  # two drivers, one after the other
        leases.Heart(store, leases.acquire(store, RUN)).release()
    late = commits.load(store, RUN, 27)
    ours = replace(late, step=40, state=state_at(40, lease=1))
    zombie = replace(late, step=41, state=state_at(41, lease=0))
    assert commits.publish(store, ours)
    assert commits.publish(store, zombie)
    assert commits.latest(store, RUN).step == 40
    assert "checkpoint news/00000041 is damaged and put aside: a driver that had lost the run wrote it" in caplog.text
    assert leases.overruled(store, RUN, 0, 28)
    assert commits.publish(store, zombie)
    assert commits.newest_readable(store, RUN).step == 40, "nor for those who only look"
    assert not leases.overruled(store, RUN, 0, 27)


def test_a_claim_that_goes_while_it_is_looked_for_damages_nothing(store, monkeypatch):
    for _ in range(3):
        leases.Heart(store, leases.acquire(store, RUN)).release()
    paths = leases._claim_paths(store, RUN)
    monkeypatch.setattr(leases, "_claim_paths", lambda *given: [f"runs/{RUN}/lease/of-long-ago.json", *paths])
    assert commits.latest(store, RUN).step == 27


def test_orphans_go_but_not_at_the_word_of_a_driver_that_lost_the_run(store):
    save(store, 30, published=False)
    first = leases.acquire(store, RUN)
    leases.Heart(store, first).release()
    second = leases.acquire(store, RUN)
    assert sweep_orphans(store, first) == 0
    assert sweep_orphans(store, second) == 1
    assert commits.latest(store, RUN).step == 27
