"""How does an editor know our keys? By the JSON schema of the configuration, made from the models.

`headrace schema` prints it; ray_jobs/config/headrace.schema.json holds the same for the kinds of sources of this
project, and recipes name it in their first line (yaml-language-server). A number may be written as people write it
(`30s`, `25%`, `2_000_000`): the schema lets such a text pass and leaves its units to the models.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, JsonValue
from pydantic.json_schema import models_json_schema

from data_ops.sources.kinds import SOURCES
from data_ops.sources.protocol import SourceConfig
from ray_jobs.config.schema import Config

PLACE = Path(__file__).with_name("headrace.schema.json")
WRITTEN_NUMBER = r"^\s*(none|[-+]?[0-9][0-9_]*(\.[0-9]+)?([eE][-+]?[0-9]+)?\s*[A-Za-z%]*)\s*$"
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def schema_text(kinds: Iterable[str] | None = None) -> str:
    """Return the schema as JSON text; kinds: of sources, absent: those of this project and of installed packages."""
    configs: list[type[SourceConfig]] = [SOURCES[kind].CONFIG for kind in (SOURCES if kinds is None else kinds)]
    models: list[type[BaseModel]] = [Config, *configs]
    names, whole = models_json_schema([(model, "validation") for model in models])
    root, definitions = names[(Config, "validation")], whole["$defs"]
    top = definitions.pop(root["$ref"].rpartition("/")[2])
    top["properties"]["sources"]["additionalProperties"] = {"anyOf": [names[(m, "validation")] for m in configs]}
    definitions.pop("SourceConfig", None)
    text = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Headrace configuration",
        **_for_people(top),
        "$defs": {name: _for_people(definition) for name, definition in sorted(definitions.items())},
    }
    return json.dumps(text, indent=1) + "\n"


def _for_people(node: dict[str, JsonValue], *, names: bool = False) -> dict[str, JsonValue]:
    """Return a node without generated titles, with numbers as people write them.

    names: the keys of this node are those of the configuration, not words of JSON schema.
    """
    found: dict[str, JsonValue] = {}
    for key, value in node.items():
        if names or key != "title":
            found[key if names else BOUNDS.get(key, key)] = _inside(value, key == "properties" and not names)
    if not names and found.get("type") in ("integer", "number"):
        found |= {"type": [str(found["type"]), "string"], "pattern": WRITTEN_NUMBER}
    return found


def _inside(value: JsonValue, names: bool) -> JsonValue:
    if isinstance(value, list):
        return [_inside(item, False) for item in value]
    return _for_people(value, names=names) if isinstance(value, dict) else value
