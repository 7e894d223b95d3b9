"""Which checkpoints are kept, and what is deleted?"""

from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import may_be_champion, was_champion_before
from ray_jobs.checkpoints.manifest import DAMAGES, FormatError, commits, load, publish, put_aside
from ray_jobs.store.lease import Lease
from ray_jobs.store.paths import branch_name, branches_of, checkpoint_name, run_path


def retain(store: Store, run: str, keep: int) -> list[int]:
    """Delete checkpoints beyond the newest `keep`, but not the champion; returns the deleted steps.

    Who promotes moves the pointer and then looks for the manifest; here the manifest goes and then the pointer is
    looked at: one of the two sees the other, however long a request takes. Where the pointer cannot be trusted, every
    checkpoint stays that was ever put in service.
    """
    return [step for step in commits(store, run)[:-keep] if _let_go(store, run, step)]


def retain_candidates(store: Store, run: str, keep: int) -> list[int]:
    """Delete the candidates of a run but those of the newest `keep` judgements, the champion and the one before it.

    At least two judgements stay, because one may be before the gate while the next is committed. Returns the steps at
    which the deleted ones left the main line.
    """
    gone = []
    for left_at in branches_of(store, run)[: -max(keep, 2)]:
        branch = branch_name(run, left_at)
        for step in commits(store, branch):
            if not was_champion_before(store, checkpoint_name(branch, step)):
                _let_go(store, branch, step)
        if not commits(store, branch):
            store.delete(run_path(branch))
            gone.append(left_at)
    return gone


def _let_go(store: Store, run: str, step: int) -> bool:
    """Delete a checkpoint that is not in service, with its files; one that is damaged is put aside. Was it deleted?"""
    if may_be_champion(store, name := checkpoint_name(run, step)):
        return False
    try:
        commit = load(store, run, step)
    except DAMAGES as error:
        put_aside(store, run, step, str(error))
        return False
    store.delete(run_path(run, "checkpoints", f"{step:08d}.json"))
    if may_be_champion(store, name):
        publish(store, commit)
        return False
    for place in {file.path.rpartition("/")[0] for file in commit.files}:
        store.delete(place)
    return True


def sweep_orphans(store: Store, lease: Lease) -> int:
    """Delete files of attempts that were never committed; only the run's driver may, before it trains.

    Nothing, if it is not that any more: a machine may have slept since it took the run.

    Where a manifest cannot be read, or was put aside, every folder of that step stays.
    """
    run, prefix = lease.run, run_path(lease.run, "checkpoints") + "/"
    kept: set[str] = set()
    doubtful: set[str] = set()
    folders: set[str] = set()
    for path in store.list(prefix.rstrip("/")):
        step, _, rest = path.removeprefix(prefix).partition(".")
        if "/" in path.removeprefix(prefix):
            folders.add(path.rpartition("/")[0])
        elif rest == "json":
            try:
                kept |= {file.path.rpartition("/")[0] for file in load(store, run, int(step)).files}
            except (*DAMAGES, FormatError):
                doubtful.add(step)
        else:
            doubtful.add(step)
    orphans = {f for f in folders - kept if f.removeprefix(prefix).partition("-")[0] not in doubtful}
    if not lease.held(store):
        return 0
    for place in orphans:
        store.delete(place)
    return len(orphans)
