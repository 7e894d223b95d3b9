"""Where does real text come from on a machine without a network?

From Python itself: the language reference (`pydoc_data.topics`) and the standard library's source, in top-
level pieces, dated as if one subject had arrived each month of 2026, so that the stream drifts as a real one
does. The same Python gives the same documents; Ray asks for one Python version on a cluster anyway.
"""

import functools
import sysconfig
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import msgspec
import pyarrow as pa

from data_ops.documents.document import TIME, records
from data_ops.sources.protocol import MAX_BATCH_ROWS, Cursor, Discovery, Source, SourceConfig, Span
from data_ops.sources.python_library.config import PythonLibraryConfig
from data_ops.sources.python_library.pieces import cut_lines, cut_source

#: What arrives in which month: modules and packages of the standard library, tests left out.
ERAS: dict[str, tuple[str, ...]] = {
    "topics": (),
    "email": ("email", "mailbox", "smtplib", "imaplib", "poplib", "nntplib", "mimetypes", "quopri"),
    "asyncio": ("asyncio", "concurrent", "threading", "queue", "selectors", "sched", "contextlib"),
    "testing": (
        "unittest",
        "doctest",
        "pdb",
        "bdb",
        "trace",
        "traceback",
        "cProfile",
        "timeit",
        "tracemalloc",
    ),
    "web": ("http", "urllib", "html", "xml", "xmlrpc", "wsgiref", "socketserver", "ssl", "ftplib", "cgi"),
    "numbers": (
        "_pydecimal",
        "fractions",
        "statistics",
        "random",
        "datetime",
        "_pydatetime",
        "calendar",
        "zoneinfo",
    ),
    "files": (
        "tarfile",
        "zipfile",
        "shutil",
        "pathlib",
        "tempfile",
        "csv",
        "sqlite3",
        "dbm",
        "shelve",
        "gzip",
        "os",
    ),
    "language": (
        "ast",
        "inspect",
        "typing",
        "dataclasses",
        "tokenize",
        "dis",
        "importlib",
        "enum",
        "functools",
    ),
    "processes": (
        "multiprocessing",
        "subprocess",
        "logging",
        "ctypes",
        "argparse",
        "optparse",
        "configparser",
    ),
    "text": (
        "json",
        "re",
        "string",
        "textwrap",
        "difflib",
        "locale",
        "gettext",
        "codecs",
        "pickle",
        "pprint",
        "turtle",
    ),
    "windows": ("tkinter", "idlelib", "curses"),
    "packaging": ("lib2to3", "distutils", "ensurepip", "venv", "pydoc", "platform", "sysconfig", "encodings"),
}
YEAR = 2026
TOPIC_CHARS = 1500  # a chapter is cut between paragraphs once so much is together
Document = tuple[str, str]  # name, text


class PythonLibrarySource(Source):
    """One partition per era; the cursor is {partition: records delivered}."""

    CONFIG: ClassVar[type[SourceConfig]] = PythonLibraryConfig

    def __init__(self, label: str, config: PythonLibraryConfig) -> None:
        self.label = label
        self.config = config

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List the next records, era after era."""
        spans: list[Span] = []
        after = dict(cursor)
        left = max_records
        drained = True
        for month, (partition, documents) in enumerate(_eras(self.config.megabytes).items(), start=1):
            first = _delivered(after, partition)
            count = min(left, len(documents) - first)
            if count > 0:
                spans.append(Span(partition, first, count, first, first + count, _month_start(month + 1)))
                after[partition] = first + count
                left -= count
            drained &= _delivered(after, partition) == len(documents)
        return Discovery(spans, after, [], drained)

    def names(self, partition: str) -> bool:
        """Say whether there is such an era."""
        return partition in _eras(self.config.megabytes)

    def size_of(self, span: Span) -> int:
        """Tell how many bytes of text a span holds."""
        documents = _eras(self.config.megabytes)[span.partition][span.start : span.end]
        return sum(len(text.encode()) for _, text in documents)

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read the span; the documents of an era are spread evenly over its month."""
        eras = _eras(self.config.megabytes)
        documents = eras[span.partition]
        month = list(eras).index(span.partition) + 1
        start, stop = _month_start(month), _month_start(month + 1)
        for first in range(span.start, span.end, MAX_BATCH_ROWS):
            numbers = range(first, min(first + MAX_BATCH_ROWS, span.end))
            texts = [documents[i][1] for i in numbers]
            times = [round(1e6 * (start + (i + 0.5) / len(documents) * (stop - start))) for i in numbers]
            rows = {
                "offset": list(numbers),
                "text": texts,
                "event_time": pa.array(times, pa.int64()).cast(TIME),
                "external_id": [documents[i][0] for i in numbers],
                "num_bytes_read": [len(text.encode()) for text in texts],
            }
            yield records(rows)


def _delivered(cursor: Cursor, partition: str) -> int:
    return msgspec.convert(cursor.get(partition, 0), int)


def _month_start(month: int) -> float:
    """Seconds since 1970 at the start of a month of YEAR; month 13 is the next January."""
    return datetime(YEAR + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC).timestamp()


@functools.lru_cache(maxsize=4)
def _eras(megabytes: float) -> dict[str, list[Document]]:
    """Take as much of every era, what a small one leaves from the others: {partition: documents}."""
    sizes = {name: sum(path.stat().st_size for path in _files(name)) for name in ERAS}
    sizes["topics"] = sum(len(text) for _, text in _topics())
    present = [name for name in ERAS if sizes[name]]
    limit = _water_level(sorted(sizes[name] for name in present), megabytes * 1e6)
    eras: dict[str, list[Document]] = {}
    for month, name in enumerate(present, start=1):
        documents = _topics() if name == "topics" else _sources(_files(name))
        eras[f"{YEAR}-{month:02d} {name}"] = _first_bytes(documents, limit)
    return eras


def _water_level(sizes: list[int], total: float) -> float:
    """Find the level at which sizes (ascending) cut to it sum to `total`.

    >>> _water_level([1, 5, 9], 7)
    3.0
    """
    for number, size in enumerate(sizes):
        share = total / (len(sizes) - number)
        if size >= share:
            return share
        total -= size
    return float(sizes[-1])


def _first_bytes(documents: Iterable[Document], limit: float) -> list[Document]:
    taken: list[Document] = []
    size = 0
    for document in documents:
        if size >= limit:
            break
        taken.append(document)
        size += len(document[1].encode())
    return taken


def _topics() -> Iterator[Document]:
    """Yield the chapters of the language reference, long ones cut between paragraphs."""
    from pydoc_data.topics import topics  # 0.7 MB that no other source should load

    for name, text in sorted(topics.items()):
        lines = text.splitlines(keepends=True)
        paragraphs = [number + 1 for number in range(1, len(lines)) if not lines[number - 1].strip()]
        for line, piece in cut_lines(lines, 1, paragraphs, TOPIC_CHARS):
            yield f"topics:{name}:{line}", piece


def _files(era: str) -> list[Path]:
    """List the source files of an era, without tests; modules that this Python lacks are left out."""
    root = Path(sysconfig.get_path("stdlib"))
    files: list[Path] = []
    for module in ERAS[era]:
        single = root / f"{module}.py"
        found = [single] if single.is_file() else sorted((root / module).rglob("*.py"))
        files += [path for path in found if not path.parent.name.endswith(("test", "tests"))]
    return files


def _sources(files: list[Path]) -> Iterator[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in files:
        for line, text in cut_source(path):
            yield f"{path.relative_to(root).as_posix()}:{line}", text
