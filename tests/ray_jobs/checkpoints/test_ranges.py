"""Does a worker fetch what it needs and no more, once a node, and never what was not committed?"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cluster.storage.store import Store
from models.engine.checkpoint import FORMAT, KINDS, CheckpointReader, Snapshot, ranges_needed
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.manifest import Commit, DamagedCheckpointError
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.checkpoints.ranges import Ranged, fetch, node_folder, open_parts
from tests.support.checkpoints import state_at

SIZES = {"embed": 700_001, "norm": 513, **{f"layers.{n}.q": 131_072 for n in range(8)}, "head": 400_003}
WHOLE = {f"{name}|{kind}": torch.randn(size) for name, size in SIZES.items() for kind in KINDS}
Stretch = tuple[str, int, int]


def flat(world: int, rank: int) -> list[Stretch]:
    """A rank's part of all parameters laid end to end, as ZeRO 1 and 2 cut them."""
    total = sum(SIZES.values())
    low, high, at, found = rank * total // world, (rank + 1) * total // world, 0, []
    for name, size in SIZES.items():
        first, end = max(low, at), min(high, at + size)
        if first < end:
            found.append((name, first - at, end - first))
        at += size
    return found


def cut(world: int, rank: int) -> list[Stretch]:
    """A rank's part of each parameter, as ZeRO 3 cuts them."""
    found = [(name, rank * size // world, (rank + 1) * size // world) for name, size in SIZES.items()]
    return [(name, first, end - first) for name, first, end in found if first < end]


def all_of_it(world: int, rank: int) -> list[Stretch]:
    """Everything, as ZeRO 0 wants it on every rank."""
    return [(name, 0, size) for name, size in SIZES.items()]


def commit_of(store: Store, world: int, parts: Any) -> Commit:
    """A checkpoint of `world` ranks in the store."""
    files = []
    for rank in range(world):
        owned = parts(world, rank)
        tensors = {
            f"{n}|{kind}": WHOLE[f"{n}|{kind}"][at : at + size].clone() for n, at, size in owned for kind in KINDS
        }
        said = {"starts": {n: at for n, at, _ in owned}, "shapes": {n: [SIZES[n]] for n, _, _ in owned}}
        metadata = {"format": FORMAT, "rank": str(rank), "world_size": str(world), "steps": "7"}
        path = f"runs/news/checkpoints/00000007-a/rank-{rank:05d}.safetensors"
        local = Path(store.root) / path
        local.parent.mkdir(parents=True, exist_ok=True)
        written = Snapshot(tensors, metadata | {key: json.dumps(value) for key, value in said.items()}).write(local)
        files.append(StoredFile(path, *written))
    return Commit("news", 7, 0, 7, tuple(files), state_at(7))


@dataclass
class File:
    """An open file of a bucket, which counts what it gives away and may spoil a bit on the way."""

    bucket: "Bucket"
    inner: Any

    def read_at(self, nbytes: int, offset: int) -> bytes:
        data = bytearray(self.inner.read_at(nbytes, offset))
        self.bucket.given += len(data)
        if offset <= self.bucket.flip < offset + len(data):
            data[self.bucket.flip - offset] ^= 1
        return bytes(data)


class Bucket(Store):
    """A folder that behaves like a bucket."""

    given, flip = 0, -1

    def local_path(self, path: str) -> Path | None:
        return None

    @contextmanager
    def open_input(self, path: str) -> Iterator[File]:
        with super().open_input(path) as inner:
            yield File(self, inner)

    def download(self, path: str, local_path: str | Path) -> None:
        data = self.read(path)
        self.given += len(data)
        Path(local_path).write_bytes(data)


def bucket_of(store: Store) -> Bucket:
    return Bucket(store.uri, store.scheme, store.root)


def take(store: Store, commit: Commit, owned: list[Stretch], folder: Path) -> None:
    """Do what a rank does when it restores, and compare every element."""
    folder.mkdir(exist_ok=True)
    parts = open_parts(store, commit, folder)
    fetch(parts, ranges_needed(owned, parts))
    stored = CheckpointReader(parts)
    for name, start, count in owned:
        for kind in KINDS:
            into = torch.empty(count)
            stored.read(name, kind, start, into)
            assert torch.equal(into, WHOLE[f"{name}|{kind}"][start : start + count]), (name, kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrote", "before", "now", "most"),
    [
        (8, flat, flat, 1.2),
        (4, flat, flat, 1.2),
        (16, flat, flat, 1.2),
        (8, cut, cut, 1.2),
        (3, flat, flat, 1.2),
        (8, flat, cut, 1.2),  # another ZeRO stage: every parameter in eight stretches
        (4, cut, cut, 1.2),
    ],
)
def test_eight_ranks_on_one_node_fetch_the_checkpoint_once(
    tmp_path: Path, wrote: int, before: Any, now: Any, most: float
) -> None:
    """Before, each of them fetched all of it: 8 times the checkpoint."""
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, wrote, before)
    bucket = bucket_of(store)
    with ThreadPoolExecutor(8) as ranks:
        list(ranks.map(lambda rank: take(bucket, commit, now(8, rank), tmp_path / "node"), range(8)))
    assert bucket.given / commit.size_bytes <= most
    bucket.given = 0
    for rank in range(8):
        (tmp_path / f"whole-{rank}").mkdir()
        fetch_files(bucket, commit, tmp_path / f"whole-{rank}")
    assert bucket.given == 8 * commit.size_bytes


@pytest.mark.slow
@pytest.mark.parametrize(("wrote", "now", "most"), [(8, flat, 1.2), (4, flat, 1.2), (16, flat, 1.2)])
def test_eight_ranks_on_eight_nodes_fetch_the_checkpoint_about_once_together(
    tmp_path: Path, wrote: int, now: Any, most: float
) -> None:
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, wrote, flat)
    bucket = bucket_of(store)
    for rank in range(8):
        take(bucket, commit, now(8, rank), tmp_path / f"node-{rank}")
    assert bucket.given / commit.size_bytes <= most


@pytest.mark.slow
def test_ranks_that_all_want_everything_share_what_one_of_them_brought(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, 1, all_of_it)
    bucket = bucket_of(store)
    with ThreadPoolExecutor(8) as ranks:
        list(ranks.map(lambda rank: take(bucket, commit, all_of_it(8, rank), tmp_path / "node"), range(8)))
    assert bucket.given / commit.size_bytes <= 1.2


def test_a_local_checkpoint_is_read_where_it_lies(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, 4, flat)
    take(store, commit, flat(8, 3), tmp_path / "node")
    assert list((tmp_path / "node").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 3, 8, 200, -1, 70_000, 500_000])
def test_any_wrong_bit_that_a_rank_would_use_is_noticed(tmp_path: Path, place: int) -> None:
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, 1, all_of_it)
    path = Path(store.root) / commit.files[0].path
    raw = bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(raw)
    with pytest.raises(DamagedCheckpointError, match=r"rank-00000\.safetensors does not hold the bytes"):
        take(store, commit, all_of_it(1, 0), tmp_path / "node")


def test_a_bad_transfer_is_repeated_and_one_that_stays_bad_is_damage(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, 1, all_of_it)
    bucket = bucket_of(store)
    (tmp_path / "node").mkdir()
    part = Ranged(bucket, commit.files[0], tmp_path / "node")
    bucket.flip = 100_000
    with pytest.raises(DamagedCheckpointError):
        part.fetch([(99_000, 101_000)])
    bucket.flip = -1
    part.fetch([(99_000, 101_000)])


def test_a_checkpoint_of_an_older_version_is_fetched_whole(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    commit = commit_of(store, 2, flat)
    older = replace(commit, files=tuple(replace(file, header=None) for file in commit.files))
    take(store, older, flat(8, 3), tmp_path / "there")
    bucket = bucket_of(store)
    take(bucket, older, flat(8, 3), tmp_path / "node")
    assert bucket.given == commit.size_bytes


def test_the_folder_of_a_node_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with node_folder(7) as mine, node_folder(7) as same:
        assert mine == same and mine.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f"headrace-restore-{8:016x}").mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="not this user's alone"), node_folder(8):
        pass


def test_a_tensor_is_filled_from_many_files() -> None:
    """The comparison above is worth something only if the stretches differ."""
    assert len({tensor.sum().item() for tensor in WHOLE.values()}) == len(WHOLE)
    assert isinstance(next(iter(WHOLE.values())), Tensor)
