"""Which files of a store are damaged?

`headrace verify --deep`: tables, JSON state, tokenizer, checkpoints, figures of evaluations and prepared rounds are
read and compared with what was recorded of them. metrics.jsonl, reports and heartbeats are not: nothing is decided by
them.
"""

from functools import partial
from pathlib import Path
from typing import Any

from cluster.storage.seal import DamagedError
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.audit.digests import attempt, damage_of_lake
from data_ops.audit.index import damage_of_index
from data_ops.documents.tokenizer import Tokenizer
from data_ops.lake.lake import Lake
from data_ops.rounds.round_file import is_whole
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.files import sha256_of
from ray_jobs.checkpoints.weights import hash_checkpoint
from ray_jobs.evaluation.scores import read_scores
from ray_jobs.ingest.opening import refuse_other_tokenizer
from ray_jobs.store.frozen import SETTINGS, read_frozen, read_tokenizer
from ray_jobs.store.paths import CHAMPION, TOKENIZER, checkpoint_name, names_of

PUT_ASIDE = ".damaged"


def damage_of_store(store: Store, scratch: Path) -> list[str]:
    """A sentence for each file of a store that is not what was written; [] if none is.

    scratch: a folder for files of a remote store.
    """
    lake = Lake(store)
    found = damage_of_lake(lake, names_of(store))
    for path in (SETTINGS, TOKENIZER):
        if not store.exists(path):
            found.append(f"{store.uri}/{path} is missing; restore it from a copy")
    attempt(found, partial(read_frozen, store), SETTINGS)
    tokenizer = attempt(found, partial(read_tokenizer, store), TOKENIZER)
    attempt(found, partial(read_champion, store), CHAMPION)
    for path in (*store.list("registry"), *store.list("runs")):
        attempt(found, partial(_check, store, path), path)
    found += damage_of_index(lake, scratch)
    for run in names_of(store):
        attempt(found, partial(_check_notes, store, lake, run), "the ledger")
        for step in commits.commits(store, run):
            attempt(found, partial(_check_files, store, run, step, tokenizer, scratch), f"checkpoint {run}/{step}")
    attempt(found, partial(_check_champion, store, scratch), "the champion")
    return list(dict.fromkeys(found))


def _check(store: Store, path: str) -> None:
    """Compare one file with the checksum it carries itself."""
    parts = path.split("/")
    if path.endswith(".json"):
        read_json(store, path, Any)
    elif parts[2:3] == ["evaluations"] and path.endswith(".arrow"):
        read_scores(store, parts[1], parts[-1].removesuffix(".arrow"))
    elif parts[2:3] == ["rounds"] and not is_whole(store.read(path)):
        raise DamagedError(f"{store.uri}/{path} is damaged; it is made anew where it is needed, delete it")


def _check_files(store: Store, run: str, step: int, tokenizer: Tokenizer | None, scratch: Path) -> None:
    commit = commits.load(store, run, step)
    if (commit.run, commit.step) != (run, step):
        raise DamagedError(f"the manifest of checkpoint {run}/{step} is that of {commit.name}")
    for file in commit.files:
        place = _local(store, file.path, scratch)
        if sha256_of(place) != file.sha256:
            raise DamagedError(f"{store.uri}/{file.path} is damaged: it does not hold the bytes of {commit.name}")
    if tokenizer is not None:
        refuse_other_tokenizer(store, commit, tokenizer)


def _check_notes(store: Store, lake: Lake, run: str) -> None:
    """Every kept checkpoint stands in the ledger; one whose driver died before its note gets it at the next start.

    Runs without rounds of their own have no notes: trials, copies that a sweep starts from, weights that were taken in.
    """
    if not lake.num_rounds(run):
        return
    noted = set(lake.ledger(run)["checkpoint"].to_pylist())
    names = [checkpoint_name(run, step) for step in commits.commits(store, run) if step > 0]
    if lost := [name for name in names if name not in noted]:
        raise DamagedError(
            f"{store.delta_uri('ledger')} holds no note of {', '.join(lost)}; start run {run} again, which notes its "
            "newest checkpoint if that was left undone, or restore the table from a copy"
        )


def _check_champion(store: Store, scratch: Path) -> None:
    """The weights in service must be those that were judged."""
    champion = read_champion(store)
    if champion is None:
        return
    commit = commits.by_name(store, champion.checkpoint)
    if champion.weights_sha256 is None:
        return
    paths = [_local(store, file.path, scratch) for file in commit.files]
    if (weights := hash_checkpoint(commit, paths)) != champion.weights_sha256:
        raise DamagedError(
            f"the champion {commit.name} has weights {weights[:16]}, {champion.weights_sha256[:16]} were judged; "
            "promote a checkpoint anew"
        )


def _local(store: Store, path: str, scratch: Path) -> Path:
    local = store.local_path(path)
    if local is None:
        local = scratch / path.replace("/", "-")
        if not local.exists():
            store.download(path, local)
    return local
