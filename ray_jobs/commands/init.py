"""What does `headrace init` do? It looks at what holds texts and writes a short configuration that runs.

Files are told apart by their suffix, a source a kind; of a database each table with texts that can be read exactly is
one, and so are topics of Kafka. Which field holds the text, the time and the id is tried out on the first records, read
by the source itself: what is written down was read once. Sizes of model, batch and warm-up follow from how much text
there is, so that a small corpus learns something.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from cluster.readable import many, short, size
from data_ops.sources.dataset.guess import DatasetGuess, guess_dataset
from data_ops.sources.delta.guess import DeltaGuess, guess_delta
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.formats.content import LINE_SUFFIXES, PACKED_SUFFIXES, TABLES, kind_suffix
from data_ops.sources.files.listing import WILD, list_files
from data_ops.sources.files.notified.guess import guess_queue
from data_ops.sources.files.walk import FileState
from data_ops.sources.kafka.guess import SCHEME, guess_topics
from data_ops.sources.kinds import open_source
from data_ops.sources.sql.config import POSTGRES, SQLITE
from data_ops.sources.sql.guess import guess_tables, told_guess
from ray_jobs.outcome import ConfigError

TEXTS = ("text", "body", "content", "message", "article", "document", "markdown", "description", "abstract", "code")
TIMES = ("time", "date", "timestamp", "published_at", "published", "created_at", "created", "updated_at", "datetime")
IDS = ("id", "uuid", "doc_id", "document_id", "url", "key", "sha", "name")
NAMES = (TEXTS, TIMES, IDS)
PROSE_UNASKED = (
    ".txt",
    ".md",
    ".rst",
    ".text",
    ".html",
)  # code and settings are read where a configuration asks for them
KINDS = ("jsonl", "csv", "tsv", "parquet", "text")
DATABASES = (*(f"{scheme}://" for scheme in POSTGRES), SQLITE)
KEYS = ("path", "text", "time", "id")  # of a source, that are written down
Sources = dict[str, dict[str, object]]  # label -> keys, as they are written down
LOOKED_AT = 100  # records
FILES_LOOKED_AT = 20
ENOUGH = 0.8  # share of the records in which a field has to make sense
BYTES_A_TOKEN = 4
TRAINED_SMALL = 20_000_000  # tokens up to which the model for trying things out is proposed


@dataclass(frozen=True)
class Guess:
    """One source: a glob, how much it matches, and the fields that make sense."""

    label: str
    path: str | list[str]  # a glob, or one a suffix
    num_files: int
    num_bytes: int
    text: str | None
    time: str | None
    id: str | None
    sample: str


@dataclass(frozen=True)
class Proposal:
    """A configuration as text, and lines that say what was found."""

    text: str
    lines: list[str]


def propose(path: str) -> Proposal:
    """Look at a file, a folder, a glob, a bucket, a database or topics; ConfigError where there is nothing to read."""
    if path.startswith(DATABASES):
        return _propose_tables(path)
    if path.startswith(SCHEME):
        return _propose_topics(path)
    try:
        if not WILD.search(path) and (folder := guess_delta(path, *NAMES) or guess_dataset(path, *NAMES)):
            return _propose_one(path, folder)
        files = list_files((path,))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be listed: {error}; check the path and the rights") from None
    if not files:
        raise ConfigError(f"{path} matches no file; give a folder, a file, a glob, s3://... or gs://...")
    kinds = {kind: [file for file in files if kind_by_suffix(file.partition) == kind] for kind in KINDS}
    passed = Counter(Path(f.partition).suffix or "no suffix" for f in files if kind_by_suffix(f.partition) is None)
    of_a_kind = {kind: group for kind, group in kinds.items() if group}
    if not of_a_kind:
        there = ", ".join(f"{suffix} {count}" for suffix, count in passed.most_common(5))
        known = " ".join((*LINE_SUFFIXES, *TABLES, *PROSE_UNASKED))
        packed = " ".join(PACKED_SUFFIXES)
        raise ConfigError(
            f"{path} holds no file of a kind that is read ({there}); kinds are {known}, all but Parquet also {packed}"
        )
    found = [guess(path, kind, group, alone=len(of_a_kind) == 1 and not passed) for kind, group in of_a_kind.items()]
    lines = [f"{f.label}: {many(f.num_files, 'file')}, {size(f.num_bytes)}; {f.sample}" for f in found]
    if passed:
        told = ", ".join(f"{suffix} {count}" for suffix, count in passed.most_common(5))
        lines.append(f"passed over {many(passed.total(), 'file')}: {told}")
    sources: Sources = {s.label: {k: v for k, v in vars(s).items() if k in KEYS and v} for s in found}
    if path.startswith("s3://"):
        lines += _add_queue(path, sources)
    return Proposal(_written(path, sources, sum(source.num_bytes for source in found)), lines)


def _add_queue(path: str, sources: Sources) -> list[str]:
    """Write down the queue that a bucket notifies, where there is one source to read it; what to say of it."""
    guess = guess_queue(path.partition("*")[0])
    if guess.queue is None:
        return [guess.told]
    if len(sources) > 1:
        return [f"{guess.told}, and one source alone; add it where you want it (docs/buckets.md)"]
    (source,) = sources.values()
    source["notifications"] = {"queue": guess.queue}
    return [guess.told]


def _propose_tables(url: str) -> Proposal:
    """Look at a database; ConfigError where none of its tables can be read exactly."""
    try:
        found = guess_tables(url, TEXTS, TIMES)
    except ValidationError as error:
        raise ConfigError(f"the URL: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    except OSError as error:
        raise ConfigError(str(error)) from None
    if not found.tables:
        why = "\n".join(found.refused)
        there = f"no table with rows has one of the columns {', '.join(TEXTS)}; write a configuration by hand"
        raise ConfigError(why or there)
    configs = [guess.config for guess in found.tables]
    given = [
        config.model_dump(include={"kind", "url", "table", "text", "time"}, exclude_none=True) for config in configs
    ]
    labels = [_label(config.table) for config in configs]
    lines = [f"{label}: {told_guess(guess)}" for label, guess in zip(labels, found.tables, strict=True)]
    lines += [f"passed over: {sentence}" for sentence in found.refused]
    sources = dict(zip(labels, given, strict=True))
    return Proposal(_written(url, sources, sum(guess.num_bytes for guess in found.tables)), lines)


def _propose_topics(url: str) -> Proposal:
    """Look at topics of Kafka; ConfigError where they hold nothing that is understood."""
    try:
        found = guess_topics(url, *NAMES)
    except ValidationError as error:
        raise ConfigError(f"{url}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    except OSError as error:
        raise ConfigError(str(error)) from None
    config = found.config
    keys = {"kind": "kafka", "servers": ",".join(config.servers), "topics": ",".join(config.topics)}
    mapped = {key: value for key in ("format", "text", "time", "id") if (value := getattr(config, key))}
    source = {**keys, **mapped, **({"registry": config.registry.url} if config.registry else {})}
    label = _label(config.topics[0])
    return Proposal(_written(url, {label: source}, found.num_bytes), [f"{label}: {found.told}"])


def _propose_one(path: str, found: DeltaGuess | DatasetGuess) -> Proposal:
    """Write down a folder that is one source by itself."""
    label = _label(Path(path).name)
    source = {"kind": found.config.kind, **found.config.model_dump(include={*KEYS, "split"}, exclude_none=True)}
    return Proposal(_written(path, {label: source}, found.num_bytes), [f"{label}: {found.told}"])


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "mine"


def kind_by_suffix(partition: str) -> str | None:
    """Tell the kind of a file by its suffix; None for one that is not read unasked.

    >>> kind_by_suffix("a/b.jsonl.gz"), kind_by_suffix("a/b.CSV"), kind_by_suffix("a/b.PNG")
    ('jsonl', 'csv', None)
    """
    suffix = kind_suffix(partition)
    if suffix in LINE_SUFFIXES:
        return "jsonl"
    return TABLES.get(suffix) or ("text" if suffix in PROSE_UNASKED else None)


def guess(path: str, kind: str, files: list[FileState], *, alone: bool) -> Guess:
    """Try the fields out on the first records of some files of a kind; ConfigError if none holds text."""
    globs = path if alone else _globs(path, files)
    stride = max(1, len(files) // FILES_LOOKED_AT)
    some = tuple(file.partition for file in files[::stride][:FILES_LOOKED_AT])
    text = "text" if kind == "text" else _best(kind, some, "text", TEXTS)
    if text is None:
        raise ConfigError(
            f"{path}: no record of the kind {kind} has text in one of the fields {', '.join(TEXTS)}; "
            "write a configuration by hand and name the field, for example sources.mine.text=field; for conversations, "
            "sources.mine.objective=instruct"
        )
    time = None if kind == "text" else _best(kind, some, "time", TIMES, text)
    name = None if kind == "text" else _best(kind, some, "id", IDS, text)
    rows = _rows(kind, some, text=text, time=time, id=name)
    first = next(row for row in rows if row["error"] is None)
    when = f"{first['event_time']:%Y-%m-%d}, " if first["event_time"] else "no time, so as old as its file, "
    words = " ".join(str(first["text"]).split())[:60]
    label = _label(Path(path.partition("*")[0].rstrip("/")).name.partition(".")[0])
    total = sum(file.size for file in files)
    sample = f"the first record: {when}'{words}…'"
    return Guess(label if alone else f"{label}-{kind}", globs, len(files), total, text, time, name, sample)


def _globs(path: str, files: Iterable[FileState]) -> str | list[str]:
    """What matches these files and none of another kind: a glob for each suffix, with a star where more follows it."""
    behind: dict[str, bool] = {}
    for file in files:
        at = file.partition.lower().rfind(kind_suffix(file.partition))
        suffix = file.partition[at : at + len(kind_suffix(file.partition))]
        behind[suffix] = behind.get(suffix, False) or not file.partition.endswith(suffix)
    if WILD.search(path) and not path.endswith("*"):
        return path
    stem = path if path.endswith("*") else f"{path.rstrip('/')}/**/*"
    globs = [f"{stem}{suffix}{'*' * more}" for suffix, more in sorted(behind.items())]
    return globs[0] if len(globs) == 1 else globs


def _best(kind: str, files: tuple[str, ...], key: str, candidates: tuple[str, ...], text: str = "text") -> str | None:
    """The candidate that makes sense in most records, the earlier one where two are alike; None if none does."""
    shares = {}
    for candidate in candidates:
        fields = {"text": text} | {key: candidate}
        rows = _rows(kind, files, **fields)
        column = {"text": "text", "time": "event_time", "id": "external_id"}[key]
        good = sum(row["error"] is None and bool(row[column]) for row in rows)
        shares[candidate] = good / max(len(rows), 1)
    best = max(candidates, key=lambda candidate: shares[candidate])
    return best if shares[best] >= (ENOUGH if key != "text" else 0.01) else None


def _rows(kind: str, files: tuple[str, ...], **fields: str | None) -> list[dict[str, object]]:
    """The first records of some files, as a source with these fields reads them."""
    config = FilesConfig(path=tuple(map(_literal, files)), format=kind, settle=0, **fields)
    source, rows = open_source("mine", config), list[dict[str, object]]()
    for span in source.discover({}, LOOKED_AT).spans:
        for batch in source.read(span):
            rows += batch.slice(0, LOOKED_AT - len(rows)).to_pylist()
    return rows


def _literal(partition: str) -> str:
    """A pattern that means one file, whatever its name."""
    return re.sub(r"([*?\[])", r"[\1]", partition)


def _written(path: str, sources: Sources, num_bytes: int) -> str:
    tokens = num_bytes // BYTES_A_TOKEN
    for source in sources.values():
        if source["text"] == "text":
            del source["text"]  # as it is anyway
    block = yaml.safe_dump({"sources": sources}, sort_keys=False, default_flow_style=None, width=1000)
    small = tokens < TRAINED_SMALL
    warmup = max(tokens // 20, 4096)
    return f"""\
# yaml-language-server: $schema=headrace.schema.json
# Written by `headrace init {path}`; about {short(tokens)} tokens. All keys: docs/configuration.md.
# For an editor that completes keys: headrace schema > headrace.schema.json
name: {next(iter(sources))}            # a new name is a new run, an old one resumes
store: ./lake         # everything is kept here: a folder, s3://... or gs://...
{block}held_out: 5%          # never trained on; by it a new checkpoint is judged
round: {{tokens: {131_072 if small else 1_048_576}, replay_share: 25%}}     # a quarter of each round is old text
{_model(small)}
optim: {{lr: {"3.0e-3" if small else "6.0e-4"}, schedule: {{warmup_tokens: {warmup}}}}}     # a twentieth of the text
"""


def _model(small: bool) -> str:
    if small:
        return (
            "tokenizer: {vocabulary: 4096}\n"
            "model: {layers: 4, width: 128, heads: 4, row_tokens: 256}     # to try things out; from random weights\n"
            "engine: {workers: 1, batch_tokens: 4096}"
        )
    return (
        "model: {layers: 12, width: 768, heads: 12, row_tokens: 1024}     # from random weights\n"
        "engine: {workers: 1, batch_tokens: 65536}"
    )
