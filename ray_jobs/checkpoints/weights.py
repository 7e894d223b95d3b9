"""Which weights is a checkpoint, where it holds all of them or only what trained?

A run that trains in part (`model.lora`, `model.freeze`) commits what trains and names what it began with, which lies
once in the store, under a name of its content. Whoever judges, exports or asks sees full weights: adapters are merged
in as each matrix is read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.storage.store import Store
from models.engine.checkpoint import weights_sha256
from models.engine.weights import MergedWeights, StoredWeights, digest_of_facts
from models.kinds.kinds import model_config
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.manifest import Commit, DamagedCheckpointError, by_name

if TYPE_CHECKING:
    from torch import Tensor


def full_weights(store: Store, commit: Commit, scratch: Path) -> "Mapping[str, Tensor]":
    """Full float32 weights of a checkpoint, each read when it is asked for, as long as scratch is there.

    Raises DamagedCheckpointError.
    """
    own, base = StoredWeights(fetch_files(store, commit, scratch)), base_of(store, commit)
    if base is None:
        return own
    return MergedWeights(StoredWeights(fetch_files(store, base, scratch)), own, model_config(commit.state.model))


def hash_checkpoint(commit: Commit, paths: Sequence[Path]) -> str:
    """Hash the weights of a checkpoint whose files are here, the same at any number of workers and on any machine.

    Of what trained, and of the name of what it stands on where that is not in it: a product of matrices may be rounded
    otherwise elsewhere. So merged weights have a hash of their own, once they are exported and taken in again.
    """
    own = weights_sha256(paths)
    if not model_config(commit.state.model).trains_part:
        return own
    return digest_of_facts(commit.state.base, own, commit.state.model.get("lora"))


def base_of(store: Store, commit: Commit) -> Commit | None:
    """The checkpoint that holds what did not train; None where all weights are in its own files."""
    if not model_config(commit.state.model).trains_part:
        return None
    if commit.state.base is None:
        raise DamagedCheckpointError(f"checkpoint {commit.name} does not say which weights it stands on; use another")
    try:
        return by_name(store, commit.state.base)
    except FileNotFoundError as error:
        raise DamagedCheckpointError(
            f"checkpoint {commit.name} stands on {commit.state.base}, which is gone from {store.uri}; "
            "restore it from a copy"
        ) from error
