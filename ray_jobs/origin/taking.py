"""How do the weights that a run begins with become a checkpoint of its store?

Once, before the first step: they are read one tensor at a time, in the precision they are kept in, and written as the
one file of a checkpoint at step 0 under a name of their content, which runs share. Workers on any node then read the
ranges that they own, as of every checkpoint, and whoever judges, exports or asks finds a checkpoint like all others.
Costs the bytes of the weights in the store, and two passes over them.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.atomic import aside, keep
from cluster.storage.state import publish_json, write_json
from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from cluster.yaml_text import load_yaml_documents
from data_ops.documents.tokenizer import Tokenizer
from models.config import ModelConfig
from models.engine.weights import Weighed, digest_of_facts, initial_snapshot, measure_weights, with_heads
from models.kinds.exchange.growth import grown
from models.kinds.kind import Pretrained
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Position, StoredFile, TrainingState
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.config.schema import Config
from ray_jobs.origin.change import refuse_changed
from ray_jobs.origin.place import Checkpoint, Folder, Place, place_of, seen
from ray_jobs.origin.record import ORIGIN, FolderFiles, Origin, files_path, read_files, read_origin
from ray_jobs.store.paths import base_name, checkpoint_folder, run_path

#: Files of a folder that are handed back at export as they came.
HANDED_BACK: tuple[str, ...] = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
HANDED_BACK += ("special_tokens_map.json", "added_tokens.json", "merges.txt", "tokenizer.model", "chat_template.jinja")
MOST_FILE_BYTES = 64 << 20
MOST_CARD_CHARS = 1 << 18
FRONT_MATTER = re.compile(r"\s*---[ \t]*\n(.*?)\n---[ \t]*(\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Given:
    """Weights as they are found, with the files that belong to them."""

    model: Pretrained
    files: dict[str, bytes]


def take_in(store: Store, config: Config, tokenizer: Tokenizer) -> str | None:
    """Return the checkpoint that a run begins with, which is in the store from then on; None: random weights.

    ConfigError if the run began with others.
    """
    start, origin = config.model.start, read_origin(store, config.name)
    if origin is not None:
        refuse_changed(store, config, origin)
        return origin.checkpoint
    if start is None:
        return None
    place = place_of(start, store)
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        found = _given(place, config.model, Path(scratch))
        given = Given(grown(with_heads(found.model, config.model, config.seed), config.model), found.files)
        weighed = measure_weights(given.model.weights)
        name = _commit(store, config.model, given, weighed, tokenizer)
    made = Origin(
        named=start,
        checkpoint=name,
        sha256=weighed.sha256,
        tokenizer=tokenizer.fingerprint,
        brings_tokenizer=config.tokenizer.kind == "model",
        seen=seen(place),
        is_of_hub=isinstance(place, Folder) and not expanded_path(start).is_dir(),
        license=license_of(place),
        copied_from=place.commit.name if isinstance(place, Checkpoint) and place.is_ours else None,
    )
    publish_json(store, run_path(config.name, ORIGIN), made)
    return name


def license_of(place: Place) -> str | None:
    """The licence that the model card of a folder states in its front matter; None where there is none to be read."""
    if not isinstance(place, Folder):
        return None
    try:
        with (place.path / "README.md").open(encoding="utf-8") as file:
            text = file.read(MOST_CARD_CHARS)
        stated = load_yaml_documents(front[1])[:1] if (front := FRONT_MATTER.match(text)) else []
    except (OSError, ValueError):  # a card that nobody can read states nothing
        return None
    found = stated[0].get("license") if stated and isinstance(stated[0], dict) else None
    return found[:200] if isinstance(found, str) and found else None


def _given(place: Place, config: ModelConfig, scratch: Path) -> Given:
    if isinstance(place, Folder):
        paths = [path for name in HANDED_BACK if (path := place.path / name).is_file()]
        small = {path.name: path.read_bytes() for path in paths if path.stat().st_size <= MOST_FILE_BYTES}
        return Given(place.look(config), small)
    weights = full_weights(place.store, place.commit, scratch)
    files = read_files(place.store, place.commit.state.base)
    return Given(Pretrained(place.shape(), place.shape().vocabulary or 0, weights), files)


def _commit(store: Store, config: ModelConfig, given: Given, weighed: Weighed, tokenizer: Tokenizer) -> str:
    """Write the file and its manifest, unless the same weights are there already."""
    model = config.whole.model_copy(update={"start": None}).model_dump(mode="json")
    run = base_name(digest_of_facts(weighed.sha256, model, tokenizer.fingerprint))
    path = f"{checkpoint_folder(run, 0, 'base')}/rank-00000.safetensors"
    is_half = next(iter(given.model.weights.values())).itemsize == 2
    state = TrainingState(
        position=Position(),
        probe_loss=None,
        precision="bf16" if is_half else "fp32",
        model=model,
        tokenizer=tokenizer.fingerprint,
        base=f"{run}/{0:08d}" if given.files else None,
    )
    if 0 in commits.commits(store, run):
        return commits.load(store, run, 0).name
    store.sweep_asides(run_path(run))  # of a start that was killed while it wrote
    snapshot = initial_snapshot(given.model.weights, weighed.shapes)
    if (local := store.local_path(path)) is not None:
        with aside(local) as file:
            written = snapshot.write(Path(file.name))
            keep(file, local)
    else:
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            written = snapshot.write(Path(scratch, "part.safetensors"))
            store.upload(Path(scratch, "part.safetensors"), path)
    if given.files:
        write_json(store, files_path(run), FolderFiles(given.files))
    stored = StoredFile(path, written.size_bytes, written.sha256, written.header)
    made = commits.Commit(run, 0, 0, 0, (stored,), state)
    commits.publish(store, made)
    return made.name
