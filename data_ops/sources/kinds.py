"""Where do documents come from?

One file per kind, one protocol (`Source`), one dict. A new kind is one file and one line in `SOURCES`
and `SourceConfig`; the contract tests then run over it.
"""

from typing import Annotated, Any

from pydantic import Field

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.source import FilesSource
from data_ops.sources.protocol import Discovery, Source, Span
from data_ops.sources.python_library.config import PythonLibraryConfig
from data_ops.sources.python_library.source import PythonLibrarySource

SOURCES: dict[str, type[Any]] = {"files": FilesSource, "python": PythonLibrarySource}
SourceConfig = Annotated[FilesConfig | PythonLibraryConfig, Field(discriminator="kind")]

__all__ = [
    "SOURCES",
    "Discovery",
    "FilesConfig",
    "PythonLibraryConfig",
    "Source",
    "SourceConfig",
    "Span",
    "open_source",
]


def open_source(label: str, config: FilesConfig | PythonLibraryConfig) -> Source:
    """Open the source that the config names as `label`; nothing is read yet."""
    source: Source = SOURCES[config.kind](label, config)
    return source
