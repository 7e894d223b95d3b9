"""Which kinds of sources are there, and how is one configured and opened?

One file a kind, one protocol (`Source`), one mapping: a new kind is one file and its line in `SOURCES`. Others add
theirs without a fork, by an entry point in the group `headrace.sources` that names a class of the same protocol.
"""

import difflib
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny
from pydantic_core import PydanticCustomError

from cluster.extensions import Members
from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.source import DatasetSource
from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.source import DeltaSource
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.source import FilesSource
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.source import KafkaSource
from data_ops.sources.protocol import Discovery, Source, SourceConfig, Span
from data_ops.sources.python_library.config import PythonLibraryConfig
from data_ops.sources.python_library.source import PythonLibrarySource
from data_ops.sources.sql.config import SqlConfig
from data_ops.sources.sql.source import SqlSource

UNKNOWN_KIND = "unknown_kind"  # the type of the mistake, in pydantic's words


def _is_source(found: object) -> bool:
    return Source in getattr(found, "__mro__", ()) and issubclass(getattr(found, "CONFIG", object), SourceConfig)


SOURCES: Members[type[Source]] = Members(
    "headrace.sources",
    {
        "dataset": DatasetSource,
        "delta": DeltaSource,
        "files": FilesSource,
        "kafka": KafkaSource,
        "python": PythonLibrarySource,
        "sql": SqlSource,
    },
    _is_source,
    "a class that inherits from data_ops.sources.protocol.Source and has a CONFIG",
)

__all__ = [
    "SOURCES",
    "ConfiguredSource",
    "DatasetConfig",
    "DeltaConfig",
    "Discovery",
    "FilesConfig",
    "KafkaConfig",
    "PythonLibraryConfig",
    "Source",
    "SourceConfig",
    "Span",
    "SqlConfig",
    "open_source",
]


def open_source(label: str, config: SourceConfig) -> Source:
    """Open the source that the config names as `label`; nothing is read yet."""
    return SOURCES[config.kind](label, config)


def _of_its_kind(value: object) -> Any:
    """Read a mapping by the model of its kind, which is `files` where it says none."""
    if not isinstance(value, dict):
        return value
    kind = str(value.get("kind", "files"))
    if kind not in SOURCES:
        near = difflib.get_close_matches(kind, SOURCES, n=1)
        mend = f"did you mean {near[0]}?" if near else f"use {sorted(SOURCES)}"
        raise PydanticCustomError(UNKNOWN_KIND, "{kind} is unknown; {mend}", {"kind": repr(kind), "mend": mend})
    return SOURCES[kind].CONFIG.model_validate({**value, "kind": kind})


#: A source in a configuration: any mapping whose `kind` is known here. It is written with all keys of its kind.
ConfiguredSource = Annotated[SerializeAsAny[SourceConfig], BeforeValidator(_of_its_kind)]
