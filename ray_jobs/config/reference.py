"""What can be configured, what is measured and why is a record not trained on, as tables for people?

They are read from the models, from the one table of metrics and from that of reasons, so they cannot say anything else
than the code does: docs/configuration.md, docs/metrics.md and docs/reasons.md hold exactly these texts, and a test
compares them. Write them anew with `python -c "from ray_jobs.config.reference import write; write('docs')"`.
"""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cluster.telemetry.metrics import METRICS, prometheus_names
from cluster.units import BYTES, SECONDS
from data_ops.curation.config import HISTORIES, RULES
from data_ops.documents.reasons import REASONS, Reason
from data_ops.sources.kinds import SOURCES
from models.config import ModelConfig
from models.kinds.kinds import KINDS
from ray_jobs.config.json_schema import PLACE, schema_text
from ray_jobs.config.schema import Config

UNITS = {"parse_duration": "duration", "parse_size": "size", "parse_share": "share", "parse_count": "count"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
LARGEST_PLAIN = 2**53  # a longer bound says nothing to a person
GROUPED_FROM = 10_000


class Key(NamedTuple):
    """One line of the table of keys."""

    path: str
    kind: str
    default: str
    bounds: str
    description: str


def reference() -> str:
    """Return docs/configuration.md: every key with its type, default, bounds and meaning."""
    text = [
        "# Configuration",
        "",
        "Generated from the models (`ray_jobs/config/reference.py`); edit the `Field` beside the code that reads it.",
        "",
        "A configuration is one or several YAML files (`-c FILE`, later ones win) and then `key.path=value` overrides,",
        "also as `--key.path=value`. An unknown key is refused. A duration reads `90`, `10s`, `5m`, `1.5h` or `30d`; a",
        "size `512`, `64KiB` or `2GB`; a share `0.25` or `25%`; a count `162M`, `7B` or a number. `absent` means that",
        "the key is not set; its description says what holds then. Secrets never stand here: see",
        "[security](security.md).",
        "",
        "## The run",
        "",
    ]
    text += _table(_own(Config, ""))
    for name, model in _blocks(Config):
        text += ["", f"## {name}", "", _first_line(model), "", *_table(_all(model, f"{name}."))]
    known = {key.path for key in _all(ModelConfig, "model.")}
    for kind, config in ((kind, member.config) for kind, member in KINDS.own.items()):
        if own := [key for key in _all(config, "model.") if key.path not in known]:
            text += ["", f"## model, kind: {kind}", "", _first_line(config), "", *_table(own)]
    for kind, model in ((kind, source.CONFIG) for kind, source in SOURCES.own.items()):
        text += ["", f"## sources.\\<label\\>, kind: {kind}", "", _first_line(model), ""]
        text += _table(_all(model, "sources.<label>."))
    for place, members in (("curate.rules[]", RULES.own), ("curate.histories[]", HISTORIES.own)):
        for name, rule in members.items():
            if rule.model_fields:
                text += ["", f"## {place}, kind: {name}", "", _first_line(rule), "", *_table(_all(rule, f"{place}."))]
    return "\n".join(text) + "\n"


def reasons_reference() -> str:
    """Return docs/reasons.md: why a record is not trained on, every reason with its meaning."""
    text = [
        "# Reasons",
        "",
        "Generated from `data_ops/documents/reasons.py` and the rules in `data_ops/curation/config.py`.",
        "",
        "A record that is not trained on carries its fate and a reason; every count of a window, `headrace trace`, the",
        "report and the metrics name it by this word. A rule that an installed package adds is its own reason.",
        "",
        "| reason | fate | meaning |",
        "|---|---|---|",
    ]
    rules = {name: Reason("dropped", rule.meaning()) for name, rule in {**RULES.own, **HISTORIES.own}.items()}
    text += [f"| `{name}` | {reason.fate} | {reason.meaning} |" for name, reason in {**REASONS, **rules}.items()]
    return "\n".join(text) + "\n"


def metrics_reference() -> str:
    """Return docs/metrics.md: every metric with its unit, kind and meaning."""
    text = [
        "# Metrics",
        "",
        "Generated from `cluster/telemetry/metrics.py`, the one table of names and units.",
        "",
        "[W&B and TensorBoard](wandb.md) show a metric under its name, Prometheus (`telemetry.prometheus: true`) under",
        "that in the second column, with the labels `run` and `label`; a histogram as `_bucket`, `_sum`, `_count`. A",
        "name may carry a label behind a slash: `bits_per_byte/news/2026-11`. `metrics.jsonl` holds the run's events,",
        "one JSON object a line, from which these figures come (`ray_jobs/driver/meter.py`). `mfu` needs a known GPU.",
        "",
        "In Prometheus every counter is there from a driver's first second, documents by every reason, most at 0, and",
        "gauges stay as long as the driver lives, so that an idle run looks idle and not gone.",
        "",
        "Alerts and a dashboard over them are in `cluster/observability/`.",
        "",
        "| metric | in Prometheus | unit | kind | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, metric in METRICS.items():
        shown = prometheus_names(name)[0].removesuffix("_bucket")
        text.append(f"| `{name}` | `{shown}` | {metric.unit} | {metric.kind} | {metric.help} |")
    return "\n".join(text) + "\n"


def write(folder: str) -> None:
    """Write the tables into a folder of documents, and the schema to its place."""
    Path(folder, "configuration.md").write_text(reference(), encoding="utf-8")
    Path(folder, "metrics.md").write_text(metrics_reference(), encoding="utf-8")
    Path(folder, "reasons.md").write_text(reasons_reference(), encoding="utf-8")
    PLACE.write_text(schema_text(SOURCES.own), encoding="utf-8")


def _blocks(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The nested blocks of a model, by name."""
    for name, info in model.model_fields.items():
        inner = _model_of(info.annotation)
        if inner is not None:
            yield name, inner


def _own(model: type[BaseModel], prefix: str) -> list[Key]:
    """The keys of a model that are no blocks."""
    fields = [(info.alias or name, info) for name, info in model.model_fields.items()]
    return [_key(f"{prefix}{name}", info) for name, info in fields if _model_of(info.annotation) is None]


def _all(model: type[BaseModel], prefix: str) -> list[Key]:
    """The keys of a model and of the blocks inside it."""
    keys = _own(model, prefix)
    for name, inner in _blocks(model):
        keys += _all(inner, f"{prefix}{name}.")
    return keys


def _key(path: str, info: FieldInfo) -> Key:
    metadata = [*info.metadata, *_inner_metadata(info.annotation)]
    unit = next((UNITS[n] for m in metadata if (n := _reader(m)) in UNITS), None)
    unit = "duration" if path == "reservoir.half_life" else unit
    if info.is_required():
        default = "required"
    else:
        default = _shown(info.get_default(call_default_factory=True), unit)
    return Key(path, _kind(info.annotation, unit), default, _bounds(info, unit), info.description or "")


def _reader(metadata: object) -> str:
    return getattr(getattr(metadata, "func", None), "__name__", "")


def _inner_metadata(annotation: object) -> list[Any]:
    """What stands inside an annotation such as `Size | None`."""
    parts = [part for part in get_args(annotation) if get_origin(part) is Annotated]
    return [metadata for part in parts for metadata in part.__metadata__]


def _bounds(info: FieldInfo, unit: str | None) -> str:
    """The tightest bounds that are declared, lower before upper."""
    given = {name: [v for m in info.metadata if (v := getattr(m, name, None)) is not None] for name in SIGNS}
    low = max(((v, name) for name in ("ge", "gt") for v in given[name]), default=None)
    high = min(
        ((v, name) for name in ("lt", "le") for v in given[name]), key=lambda b: (b[0], b[1] == "le"), default=None
    )
    found = [f"{SIGNS[b[1]]} {_shown(b[0], unit)}" for b in (low, high) if b and abs(b[0]) <= LARGEST_PLAIN]
    found += [f"matches `{p}`" for m in info.metadata if (p := getattr(m, "pattern", None))]
    return ", ".join(found)


def _kind(annotation: Any, unit: str | None) -> str:
    """A type as a person would name it."""
    if get_origin(annotation) is Literal:
        return " \\| ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_kind(part, unit) for part in get_args(annotation) if part is not type(None)]
        return " \\| ".join(dict.fromkeys(parts))
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0], unit)
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)
        return f"[{', '.join('...' if part is Ellipsis else _kind(part, unit) for part in inner)}]"
    if get_origin(annotation) is dict:
        return "map"
    names = {int: "integer", float: "number", str: "text", bool: "true \\| false"}
    if unit and annotation in (int, float):
        return unit
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _shown(value: Any, unit: str | None) -> str:
    """A value as it would be written in YAML."""
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        inner = ", ".join("none" if part is None else _shown(part, unit) for part in value)
        return f"[{inner}]"
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    if unit == "duration":
        return _in(value, {name: SECONDS[name] for name in ("d", "h", "m", "s", "ms")})
    if unit == "size":
        return _in(value, {name: BYTES[name] for name in ("GiB", "MiB", "KiB", "B")})
    if isinstance(value, int | float) and float(value).is_integer():
        return f"{int(value):_}" if value >= GROUPED_FROM else f"{int(value)}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in(value: float, units: dict[str, float] | dict[str, int]) -> str:
    """A number in the largest unit that leaves it whole."""
    for name, size in units.items():
        if value and value % size == 0:
            return f"{value / size:g}{name}"
    return f"{value:g}"


def _model_of(annotation: object) -> type[BaseModel] | None:
    """The block behind an annotation: a model, or a model or nothing."""
    parts = [annotation, *get_args(annotation)] if get_origin(annotation) is not dict else []
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _table(keys: list[Key]) -> list[str]:
    lines = ["| key | type | default | bounds | meaning |", "|---|---|---|---|---|"]
    for key in keys:
        description = _sentence(key)
        default = f"`{key.default}`" if key.default not in ("absent", "required") else key.default
        bounds = key.bounds.replace("|", "\\|")
        lines.append(f"| `{key.path}` | {key.kind} | {default} | {bounds} | {description} |")
    return lines


def _sentence(key: Key) -> str:
    """The description with a capital, unless it begins with a value of the key, and a full stop."""
    text = key.description
    if text.split()[0].strip(",:") not in key.kind.split(" \\| "):
        text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."
