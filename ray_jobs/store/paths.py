"""Where does a run keep its things in a store, and which runs does a store hold?"""

import re

from cluster.storage.store import Store

CHAMPION = "registry/champion.json"
DECISIONS, BY_HAND, FORMER = "registry/decisions", "registry/by_hand", "registry/former"
CANARIES = "registry/canaries"
TOKENIZER = "tokenizer.json"
CHAT = "chat_template.json"
#: What a run may be called: a folder, and no branch.
RUN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


def decision_path(checkpoint: str) -> str:
    """Where the verdict on a checkpoint (run/step) is kept."""
    return f"{DECISIONS}/{checkpoint.replace('/', '-')}.json"


def by_hand_path(checkpoint: str) -> str:
    """Where it is kept that somebody put a checkpoint (run/step) in service by hand."""
    return f"{BY_HAND}/{checkpoint.replace('/', '-')}.json"


def former_path(checkpoint: str, decided_s: float) -> str:
    """Where it is kept that a checkpoint (run/step) was in service from `decided_s` (unix) on, once it is replaced."""
    return f"{FORMER}/{round(decided_s * 1e6):016d}-{checkpoint.replace('/', '-')}.json"


def branch_name(run: str, step: int) -> str:
    """Name of the decay branch that leaves a run at a step; no run can be called so."""
    return f"{run}@{step:08d}"


def base_name(digest: str) -> str:
    """Name under which weights that runs begin with are kept, by a digest of them; no run can be called so."""
    return f"base@{digest[:16]}"


def branches_of(store: Store, run: str) -> list[int]:
    """Steps at which branches left a run, as far as something is kept of them, oldest first."""
    left = [name.partition("@") for name in store.folders("runs")]
    return sorted(int(step) for main, _, step in left if main == run and step.isdecimal())


def checkpoint_name(run: str, step: int) -> str:
    """How people and other files refer to a checkpoint: run/step."""
    return f"{run}/{step:08d}"


def run_path(run: str, *parts: str) -> str:
    """Path of something that belongs to a run, relative to the store."""
    return "/".join(("runs", run, *parts))


def checkpoint_folder(run: str, step: int, attempt: str) -> str:
    """Where one attempt puts the files of one step."""
    return run_path(run, "checkpoints", f"{step:08d}-{attempt}")


def runs_of(store: Store) -> list[str]:
    """Names of the runs that a store holds, sorted; branches are no runs."""
    return [name for name in names_of(store) if "@" not in name]


def names_of(store: Store, having: str | None = None) -> list[str]:
    """Every name under which a store keeps files of a run (in its folder `having`): also of decay branches, ingests."""
    paths = (path.split("/") for path in store.list("runs"))
    return sorted({parts[1] for parts in paths if len(parts) > 2 and having in (None, parts[2])})


def fed_path(run: str) -> str:
    """Where the settings of a run are kept that feeds a training loop which is not ours."""
    return run_path(run, "feed.json")
