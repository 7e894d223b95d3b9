"""Where does a run keep its things in a store?"""

from cluster.storage.store import Store

CHAMPION = "registry/champion.json"


def branch_name(run: str, step: int) -> str:
    """Name of the decay branch that leaves a run at a step; no run can be called so."""
    return f"{run}@{step:08d}"


def run_path(run: str, *parts: str) -> str:
    """Path of something that belongs to a run, relative to the store."""
    return "/".join(("runs", run, *parts))


def checkpoint_folder(run: str, step: int, attempt: str) -> str:
    """Where one attempt puts the files of one step."""
    return run_path(run, "checkpoints", f"{step:08d}-{attempt}")


def runs_of(store: Store) -> list[str]:
    """Names of the runs that a store holds, sorted; branches are no runs."""
    names = {path.split("/")[1] for path in store.list("runs") if path.count("/") > 1}
    return sorted(name for name in names if "@" not in name)
