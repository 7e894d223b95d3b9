"""How is a mistake in a configuration told: which key, the value, and the nearest key where one is unknown?"""

import difflib
import re
import types
from typing import Any, get_args

from pydantic import BaseModel

from data_ops.sources.kinds import SOURCES, UNKNOWN_KIND
from ray_jobs.config.schema import Config

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

GONE = {  # keys of older versions, and why they are not needed
    "gate.min_documents": "small slices are judged in the pool of their source; leave it out",
    "gate.resamples": "the gate's bounds need no resampling; leave it out",
    "gate.seed": "the gate's bounds need no seed; leave it out",
}


def key_of_mistake(error: Any) -> str:
    """The key a mistake is about, without the kinds and types that were tried on its value."""
    loc = [str(part) for part in error["loc"]]
    return ".".join(part for part in loc if not re.fullmatch(r"(str|int|float|tuple|dict|function-\w+)(\[.*\])?", part))


def sentence_of_mistake(error: Any) -> str:
    """One mistake as one sentence: where, what was found, what to do."""
    place = key_of_mistake(error)
    if error["type"] == UNKNOWN_KIND:
        return f"{place}.kind={error['ctx']['kind']} is unknown; {error['ctx']['mend']}"
    if place in GONE:
        return f"{place} is gone: {GONE[place]}"
    if error["type"] == "extra_forbidden":
        label = place.split(".")[1] if place.startswith("sources.") else "<label>"
        known = [f"{prefix}{name}".replace("<label>", label) for prefix, name in _keys(Config)]
        last = place.rpartition(".")[2]
        foreign = [KNOWN_ELSEWHERE_AS[k] for k in difflib.get_close_matches(last, KNOWN_ELSEWHERE_AS, 1, cutoff=0.8)]
        near = foreign or difflib.get_close_matches(place, known, n=1, cutoff=0.5)
        inside = difflib.get_close_matches(last, [k.rpartition(".")[2] for k in known], n=1)
        better = near or [k for k in known if inside and k.endswith("." + inside[0])][:1]
        return f"{place} is unknown" + (
            f"; did you mean {better[0]}?" if better else "; all keys: docs/configuration.md, `headrace schema`"
        )
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        return message if not place or message.startswith((place, "engine.", "round.")) else f"{place}: {message}"
    if error["type"] == "missing":
        return f"{place} is missing; set it"
    return f"{place}={error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}{_mend(error)}"


def _mend(error: Any) -> str:
    """What to do about a word that YAML takes for something else, as 1.10 for 1.1."""
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
        return "; put it in quotes"
    return "; give it a value" if error["input"] is None else ""


def _keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for field, info in model.model_fields.items():
        name = info.alias or field
        found.append((prefix, name))
        for inner in [s.CONFIG for s in SOURCES.values()] if name == "sources" else _models(info.annotation):
            label = f"{prefix}{name}.<label>." if name == "sources" else f"{prefix}{name}."
            found += _keys(inner, label)
    return found


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.GenericAlias | types.UnionType) or get_args(annotation):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []
