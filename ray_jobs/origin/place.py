"""What does `model.from` name: a Hugging Face folder, a model of the hub, or a checkpoint of a store?"""

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from models.config import ModelConfig
from models.kinds.exchange.folder import read_keys
from models.kinds.kind import Pretrained
from models.kinds.kinds import kind_of, model_config
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.origin.hub import fetch_model
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import TOKENIZER

CHECKPOINT = re.compile(r"(?:(?P<store>.+)#)?(?P<name>[^/#]+/[0-9]+)")
PATHLIKE = re.compile(r"[./~]|.*/.*/|[A-Za-z]:\\")
MAKE_TOKENIZER = "make one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"


@dataclass(frozen=True)
class Folder:
    """A Hugging Face folder on this machine."""

    path: Path

    def look(self, config: ModelConfig) -> Pretrained:
        """Look into it; ValueError says what is wrong with it."""
        return kind_of(config).read(self.path)

    def tokenizer_json(self) -> str:
        """The tokenizer that belongs to it; ValueError where there is none that we read."""
        read_keys(self.path, "config.json")
        try:
            return (self.path / TOKENIZER).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{self.path} has no {TOKENIZER} ({error.strerror}); {MAKE_TOKENIZER}") from error


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint of a store; `is_ours`: of the store of the run itself."""

    store: Store
    commit: commits.Commit
    is_ours: bool

    def shape(self) -> ModelConfig:
        """The shape of its model, of which all may train."""
        return model_config(self.commit.state.model).whole

    def tokenizer_json(self) -> str:
        """The tokenizer that it was trained with."""
        try:
            return self.store.read(TOKENIZER).decode()
        except FileNotFoundError as error:
            raise ValueError(f"{self.store.uri} has no {TOKENIZER}; restore it from a copy") from error


Place = Folder | Checkpoint


def place_of(start: str, store: Store) -> Place:
    """Find what `model.from` names; ConfigError where nothing is so called."""
    if start == "champion":
        champion = read_champion(store)
        if champion is None:
            raise ConfigError(
                f"model.from=champion, but no checkpoint of {store.uri} is in service; name one: RUN/STEP"
            )
        return Checkpoint(store, commits.by_name(store, champion.checkpoint), is_ours=True)
    folder = expanded_path(start)
    if folder.is_dir():
        return Folder(folder.absolute())
    if (named := CHECKPOINT.fullmatch(start)) is not None:
        return _checkpoint(start, Store.open(named["store"] or store.uri), named["name"], store)
    if folder.is_file() or PATHLIKE.match(start):
        what = "a file" if folder.is_file() else "no folder"
        raise ConfigError(f"model.from={start} is {what}; name a Hugging Face folder, or ORG/NAME of the hub")
    return Folder(fetch_model(start))


def _checkpoint(start: str, there: Store, name: str, ours: Store) -> Checkpoint:
    try:
        return Checkpoint(there, commits.by_name(there, name), is_ours=there == ours)
    except (FileNotFoundError, ValueError) as error:
        run = name.partition("/")[0]
        kept = ", ".join(f"{run}/{step}" for step in commits.commits(there, run)) or "none"
        raise ConfigError(
            f"model.from={start} is no checkpoint of {there.uri}; of run {run} there are {kept}"
        ) from error


def seen(place: Place) -> dict[str, tuple[int, int]]:
    """Size and time of change of the files that weights are read from; {} of a checkpoint, which never changes."""
    if isinstance(place, Checkpoint):
        return {}
    paths = [*place.path.glob("*.safetensors"), place.path / "config.json"]
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)}


def size_bytes(place: Place) -> int:
    """Bytes that weights take in the store, about."""
    if isinstance(place, Checkpoint):
        return place.commit.size_bytes
    return sum(size for size, _ in seen(place).values())
