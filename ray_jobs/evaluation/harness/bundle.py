"""How does a task come into a store, so that every node, and every later judgement, asks the same questions?

Its definition and the bytes of its data files are kept under a digest of them, `tasks/<digest>/`, created once. A
verdict names the digest; so a file that is changed is another task, and one that is gone is still there.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import JsonValue

from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from ray_jobs.evaluation.harness.definition import Definition, checked_definition, data_files, read_definition

SAMPLES = Path(__file__).with_name("samples")
KEPT_NAME = re.compile(r"[A-Za-z0-9_]{1,40}-[0-9]{1,6}\.[a-z]{1,8}")
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Bundle:
    """A task that may be run: its definition, which names `files` (name -> bytes) as its data."""

    definition: Definition
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        """A digest of all that decides the questions and their answers."""
        found = hashlib.sha256(json.dumps(self.definition, sort_keys=True).encode())
        for name in sorted(self.files):
            found.update(f"\0{name}\0{len(self.files[name])}\0".encode() + self.files[name])
        return found.hexdigest()[:32]


def bundled_names() -> list[str]:
    """Names of the tasks that are brought along."""
    return sorted(path.stem for path in SAMPLES.glob("*.yaml"))


def task_file(named: str) -> Path:
    """Find the file that is meant: a path, or the name of a task that is brought along."""
    if named in bundled_names():
        return SAMPLES / f"{named}.yaml"
    return expanded_path(named)


def read_bundle(named: str) -> Bundle:
    """Read a task file and its data; paths are relative to the file. ValueError says in a sentence what is wrong."""
    path = task_file(named)
    if not path.is_file() and "/" not in named and not named.endswith((".yaml", ".yml")):
        raise ValueError(f"there is no task {named!r}; name a YAML file, or one of {', '.join(bundled_names())}")
    definition = read_definition(path)
    renamed: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for split, names in data_files(definition).items():
        for number, name in enumerate(names):
            renamed[name] = f"{split}-{number}{PurePosixPath(name).suffix}"
            files[renamed[name]] = _read(path.parent / name, path)
    if (size := sum(map(len, files.values()))) > MOST_BYTES:
        raise ValueError(
            f"the data of {path} are {size:,} bytes, more than {MOST_BYTES:,}; cut them, or split the task"
        )
    kwargs = definition["dataset_kwargs"]
    assert isinstance(kwargs, dict)
    named_data = data_files(definition)
    by_split: dict[str, JsonValue] = {split: [renamed[name] for name in named_data[split]] for split in named_data}
    placed: dict[str, JsonValue] = {**kwargs, "data_files": by_split}
    return Bundle({**definition, "dataset_kwargs": placed}, files)


def keep_bundle(store: Store, bundle: Bundle) -> str:
    """Put a task into a store, if it is not there; returns its digest."""
    digest = bundle.digest
    for name, data in bundle.files.items():
        store.publish(f"tasks/{digest}/{name}", data)
    publish_json(store, f"tasks/{digest}/task.json", {"definition": bundle.definition, "files": sorted(bundle.files)})
    return digest


def kept_bundle(store: Store, digest: str) -> Bundle:
    """Read a task that was put into a store; DamagedError where it is not what was put there."""
    path = f"tasks/{digest}/task.json"
    kept = read_json(store, path, dict[str, object])
    definition, names = kept.get("definition"), kept.get("files")
    if not isinstance(definition, dict) or not isinstance(names, list):
        raise DamagedError(f"{store.uri}/{path} is damaged: it names no definition and files; restore it from a copy")
    if odd := next((name for name in names if not KEPT_NAME.fullmatch(str(name))), None):
        raise DamagedError(f"{store.uri}/{path} is damaged: it names the file {odd!r}; restore it from a copy")
    bundle = Bundle(checked_definition(definition), {str(name): store.read(f"tasks/{digest}/{name}") for name in names})
    if bundle.digest != digest:
        raise DamagedError(
            f"{store.uri}/tasks/{digest} is damaged: its files are not those of it; restore it from a copy"
        )
    return bundle


def _read(file: Path, task: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"the data file {file} of {task} cannot be read ({error.strerror}); put it there") from None
