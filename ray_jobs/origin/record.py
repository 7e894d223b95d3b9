"""What is written down of the weights that a run began with?

They are a fact of the run: `runs/<run>/origin.json` is written once, before the first step, and names a checkpoint of
the store that holds these weights alone. A run whose folder has changed meanwhile, or that names another, is refused.
"""

import msgspec

from cluster.storage.state import read_json
from cluster.storage.store import Store
from ray_jobs.store.paths import run_path

MEND = "restore it from a copy, or use another name for a new run"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The weights that a run began with; `seen`: (bytes, time of change in ns) of each file they were read from."""

    named: str  # as model.from said it
    checkpoint: str  # run/step of the store, which holds them
    sha256: str  # of the weights
    tokenizer: str  # fingerprint
    brings_tokenizer: bool  # did the tokenizer come with them?
    seen: dict[str, tuple[int, int]] = {}
    is_of_hub: bool = False  # is `named` a name of the hub?
    license: str | None = None  # as the folder's README.md says it; None: it does not
    copied_from: str | None = None  # run/step of the same store that had these weights; None: from elsewhere


class FolderFiles(msgspec.Struct, frozen=True):
    """The small files of a Hugging Face folder, to be handed back at export."""

    files: dict[str, bytes]


def read_origin(store: Store, run: str) -> Origin | None:
    """The weights a run began with; None: random ones, or it has not begun."""
    try:
        return read_json(store, run_path(run, ORIGIN), Origin, MEND)
    except FileNotFoundError:
        return None


def read_files(store: Store, checkpoint: str | None) -> dict[str, bytes]:
    """The files of the folder that a run began with, by the name of its first checkpoint; {} where there was none."""
    if checkpoint is None:
        return {}
    try:
        return read_json(store, files_path(checkpoint), FolderFiles).files
    except FileNotFoundError:
        return {}


def files_path(checkpoint: str) -> str:
    """Where the files of a folder are kept."""
    return run_path(checkpoint.partition("/")[0], "files.json")


ORIGIN = "origin.json"
