"""What can be configured, and how do files and overrides become one checked configuration?

Every block is a frozen model beside the code that reads it; they are nested once, here, and checked against each
other before a cluster is touched. Files are merged in order, later ones win, then `key.path=value` overrides.
Everything wrong is said at once, a sentence per mistake, with the nearest key where one is unknown.
"""

import ast
import difflib
import re
import types
import typing
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from cluster.plan import PlanConfig
from cluster.session import ClusterConfig
from cluster.telemetry import TelemetryConfig
from cluster.tracking import WandbConfig
from cluster.units import Settings, Share
from data_ops.curate import CurateConfig
from data_ops.decay import ReservoirConfig
from data_ops.round_size import RoundConfig
from data_ops.sources import SOURCES, SourceConfig
from data_ops.tokenizer import TokenizerConfig
from data_ops.windows import WindowConfig
from models.optim import OptimConfig
from models.settings import EngineConfig, ModelConfig
from ray_jobs.commit import CheckpointConfig
from ray_jobs.evaluate import EvaluateConfig
from ray_jobs.gate import GateConfig
from tune.settings import SweepConfig

KNOWN_ELSEWHERE_AS = {  # what other trainers call our keys, for "did you mean"
    "batch_size": "engine.batch_tokens",
    "context_length": "model.row_tokens",
    "hidden_size": "model.width",
    "learning_rate": "optim.lr",
    "max_seq_len": "model.row_tokens",
    "num_heads": "model.heads",
    "num_kv_heads": "model.kv_heads",
    "num_layers": "model.layers",
    "num_workers": "engine.workers",
    "output_dir": "store",
    "run_name": "name",
    "seq_len": "model.row_tokens",
    "vocab_size": "tokenizer.vocabulary",
    "warmup_steps": "optim.schedule.warmup_tokens",
}
RECIPES = resources.files("ray_jobs") / "recipes"


class ConfigError(ValueError):
    """The user's configuration is wrong; the message holds one sentence per mistake."""


class Config(Settings):
    """One run, completely."""

    name: str = Field(
        "headrace",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="a new name is a new run, an old one resumes",
    )
    store: str = Field("./lake", min_length=1, description="where everything is kept: a folder, s3://... or gs://...")
    seed: int = Field(0, ge=0, lt=2**63, description="decides every random choice of store and run")
    held_out: Share = Field(0.02, description="share of the documents kept for evaluation, chosen by hash")
    sources: dict[str, SourceConfig] = Field(default_factory=dict, description="label -> where documents come from")
    window: WindowConfig = WindowConfig()
    curate: CurateConfig = CurateConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    reservoir: ReservoirConfig = ReservoirConfig()
    round: RoundConfig = RoundConfig()
    model: ModelConfig = ModelConfig()
    engine: EngineConfig = EngineConfig()
    optim: OptimConfig = OptimConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    wandb: WandbConfig = WandbConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    cluster: ClusterConfig = ClusterConfig()
    plan: PlanConfig | None = Field(None, description="what `headrace plan` is asked")
    sweep: SweepConfig | None = Field(None, description="what `headrace sweep` is asked")

    @field_validator("sources", mode="before")
    @classmethod
    def _files_is_the_kind_that_goes_without_saying(cls, sources: Any) -> Any:
        if not isinstance(sources, dict):
            return sources
        return {k: {"kind": "files", **v} if isinstance(v, dict) else v for k, v in sources.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        rows = self.engine.batch_rows(self.model.row_tokens)
        if isinstance(self.engine.workers, int):
            self.engine.check_even(self.engine.workers, self.model.row_tokens)
        elif not self.engine.world_sizes(self.model.row_tokens):
            self.engine.check_even(self.engine.fewest, self.model.row_tokens)
        if self.round.tokens < rows * self.model.row_tokens:
            raise ValueError(
                f"round.tokens={self.round.tokens} is less than one step of engine.batch_tokens="
                f"{self.engine.batch_tokens}; use round.tokens={rows * self.model.row_tokens} or more"
            )
        for label in self.sources:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
                raise ValueError(f"sources.{label}: a label is made of letters, digits, '.', '_' and '-'; rename it")
        return self


def read_config(files: Iterable[str], overrides: Iterable[str] = ()) -> Config:
    """Merge files and overrides and check the result; ConfigError says everything that is wrong.

    files: paths of YAML files, or names of packaged recipes. overrides: `key.path=value`, also with leading dashes.
    """
    merged: dict[str, Any] = {}
    for name in files:
        merged = merge(merged, _read_yaml(name))
    for text in overrides:
        key, value = parse_override(text)
        merged = merge(merged, _nested(key, value))
    return check(merged)


def check(values: dict[str, Any]) -> Config:
    """Validate plain values; paths become absolute, for workers stand in other folders."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        sentences: dict[str, str] = {}
        for mistake in error.errors():
            sentences.setdefault(_place(mistake), _sentence(mistake))
        raise ConfigError("\n".join(sentences.values())) from None
    return config.model_copy(update={"store": _absolute(config.store), "sources": _absolute_sources(config)})


def recipes() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(item.name.removesuffix(".yaml") for item in RECIPES.iterdir() if item.name.endswith(".yaml"))


def parse_override(text: str) -> tuple[str, Any]:
    """Split `key.path=value`; the value is YAML or, as a W&B agent writes it, a Python literal.

    >>> parse_override("--optim.lr=3e-4"), parse_override("model.tie_embeddings=False")
    (('optim.lr', 0.0003), ('model.tie_embeddings', False))
    """
    key, equals, raw = text.lstrip("-").partition("=")
    if not equals or not key:
        raise ConfigError(f"{text!r} is no override; write key.path=value, for example optim.lr=3e-4")
    try:
        return key, ast.literal_eval(raw)
    except (ValueError, SyntaxError):
        pass
    try:
        return key, yaml.safe_load(raw)
    except yaml.YAMLError:
        raise ConfigError(f"{key}={raw} is neither YAML nor a Python literal; quote the value") from None


def _read_yaml(name: str) -> dict[str, Any]:
    path = Path(name).expanduser()
    if path.is_file():
        raw = path.read_text(encoding="utf-8")
    elif name in recipes():
        raw = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise ConfigError(f"-c {name} is neither a file nor a recipe; recipes are {', '.join(recipes())}")
    try:
        values = yaml.safe_load(raw) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name} holds {type(values).__name__}, not keys and values; see `-c demo` for an example")
    return values


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Lay nested settings over others; what `new` does not name stays."""
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return typing.cast(dict[str, Any], value)


def _place(error: Any) -> str:
    """The key a mistake is about, without the kinds and types that were tried on its value."""
    loc = [str(part) for part in error["loc"]]
    if loc[:1] == ["sources"]:
        del loc[2:3]  # the kind of source
    return ".".join(part for part in loc if not re.fullmatch(r"(str|int|float|tuple|function-\w+)(\[.*\])?", part))


def _sentence(error: Any) -> str:
    """One mistake as one sentence: where, what was found, what to do."""
    place = _place(error)
    if error["type"] == "union_tag_invalid":
        kind = error["ctx"]["tag"]
        near = difflib.get_close_matches(kind, SOURCES, n=1)
        return f"{place}.kind={kind!r} is unknown; " + (
            f"did you mean {near[0]}?" if near else f"use {sorted(SOURCES)}"
        )
    if error["type"] == "extra_forbidden":
        label = place.split(".")[1] if place.startswith("sources.") else "<label>"
        known = [f"{prefix}{name}".replace("<label>", label) for prefix, name in _keys(Config)]
        last = place.rpartition(".")[2]
        foreign = [KNOWN_ELSEWHERE_AS[k] for k in difflib.get_close_matches(last, KNOWN_ELSEWHERE_AS, 1, cutoff=0.8)]
        near = foreign or difflib.get_close_matches(place, known, n=1, cutoff=0.5)
        inside = difflib.get_close_matches(last, [k.rpartition(".")[2] for k in known], n=1)
        better = near or [k for k in known if inside and k.endswith("." + inside[0])][:1]
        return f"{place} is unknown" + (f"; did you mean {better[0]}?" if better else "; see `headrace run --help`")
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        return message if not place or message.startswith((place, "engine.", "round.")) else f"{place}: {message}"
    if error["type"] == "missing":
        return f"{place} is missing; set it"
    return f"{place}={error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, info in model.model_fields.items():
        found.append((prefix, name))
        for inner in _models(info.annotation):
            label = f"{prefix}{name}.<label>." if name == "sources" else f"{prefix}{name}."
            found += _keys(inner, label)
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.GenericAlias | types.UnionType) or get_args(annotation):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


def _absolute_sources(config: Config) -> dict[str, Any]:
    sources: dict[str, Any] = {}
    for label, source in config.sources.items():
        paths = getattr(source, "path", None)
        if paths is None:
            sources[label] = source
            continue
        absolute = _absolute(paths) if isinstance(paths, str) else tuple(_absolute(p) for p in paths)
        sources[label] = source.model_copy(update={"path": absolute})
    return sources
