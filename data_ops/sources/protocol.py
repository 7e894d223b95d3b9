"""What must a source of documents be able to do?

List what is new (`discover`: cheap, no text) and read a piece again and again with the same result (`read`).
Splitting the two makes a window a short list of spans that any worker can read, and a retry exact; the price
is that every kind of source has to be replayable. All that ingest, the checks before a run and the command line want
to know of a source is asked here, so that a new kind is one file (CONTRIBUTING.md).
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import pyarrow as pa
from pydantic import Field, JsonValue

from cluster.units import Settings
from data_ops.conversations.fields import ConversationFields

MAX_BATCH_ROWS = 4096
MAX_BATCH_BYTES = 16 << 20
Cursor = dict[str, JsonValue]  # how far a source was read, by partition; what a value means is the source's business


class SourceConfig(Settings):
    """What every kind of source can be told; a kind adds its own keys and fixes `kind` to its name."""

    #: Keys that decide which records are found, when, how strongly they pull, and what is told of them; every other key
    #: decides what a planned record says, so that a window is finished only where it is as it was. A kind adds its own.
    FINDS: ClassVar[frozenset[str]] = frozenset({"weight", "license"})
    #: Whether the texts are there to try the system with; the command line then says how to give one's own.
    IS_SAMPLE: ClassVar[bool] = False

    kind: str = Field(description="The kind of source.")
    weight: float = Field(1.0, gt=0, le=1e6, description="How strongly these documents pull in the reservoir.")
    license: str | None = Field(
        None, min_length=1, max_length=200, description="Under which licence the texts are, for cards: cc-by-4.0."
    )

    @property
    def waits(self) -> bool:
        """Whether a run starts though nothing is there yet."""
        return False

    @property
    def conversations(self) -> ConversationFields | None:
        """Where the records keep their conversations; None: they are texts, all of which is learnt."""
        return None

    @property
    def alone(self) -> str | None:
        """What no other source may take from, because each piece of it is given once: a queue; None: nothing."""
        return None

    def describe(self) -> str:
        """Tell where the documents come from, in the words of the configuration."""
        return f"kind={self.kind}"

    def absolute(self) -> Self:
        """Return the same, independent of the working directory."""
        return self


@dataclass(frozen=True)
class Span:
    """A half-open piece of one partition; `asdict` of it is JSON.

    partition: the file's path, the topic and partition number, the era.
    first_record, num_records: the ordinals it covers, first_record .. first_record + num_records.
    start, end: [start, end) in what the source seeks by: bytes of a line file (decompressed bytes of .gz and
    .zst), row numbers of Parquet, 0 and the size of a one-document file. Only the source knows how many bytes that is.
    modified_s: when the partition was last written, seconds since 1970; stands in for a missing event time.
    loss: "", or why [start, end) was gone before it was read; such a span is a record of that loss and holds no
    records.
    doubt: "", or the reason for which all its records are quarantined: the stream that they are packed in is damaged.
    """

    partition: str
    first_record: int
    num_records: int
    start: int
    end: int
    modified_s: float
    mark: str = ""  # fingerprint of the first `marked` bytes as stored: of which file under this name it is a piece
    marked: int = 0
    loss: str = ""
    doubt: str = ""


class Untaken(NamedTuple):
    """Something that was seen and is not in a window; JSON through `_asdict`.

    state: waiting (read when its writer goes on), unreadable (tried again at every look), skipped (never meant to be
    read, by a rule that `reason` names), abandoned (gone before it could be read).
    """

    partition: str
    state: Literal["waiting", "unreadable", "skipped", "abandoned"]
    reason: str
    num_bytes: int


class Discovery(NamedTuple):
    """What is new since a cursor: spans in a deterministic order and the cursor behind them (JSON).

    warnings: one sentence each, naming what a human should look at (a file that is another than before).
    drained: nothing further is there now, or comes without its writer.
    untaken: all that was seen so far and is not read, also at earlier looks.
    num_behind: how many records are there behind these spans; None where a look does not tell.
    """

    spans: list[Span]
    cursor: Cursor
    warnings: list[str]
    drained: bool
    untaken: Sequence[Untaken] = ()
    num_behind: int | None = None


class Source(Protocol):
    """A replayable, partitioned log of documents. Picklable, holds no open handles; nothing is read when it is made.

    CONFIG: what can be configured of this kind. Members inherit from this class, for the answers it gives by default.
    """

    CONFIG: ClassVar[type[SourceConfig]]

    def __init__(self, label: str, config: object) -> None:
        """Open the source that is configured as `label`; config: what CONFIG made of it."""
        ...

    @abstractmethod
    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List at most `max_records` records behind `cursor` ({} at the start).

        Raises LossError where records behind the cursor are gone, unless the source is told to go on: then it lists a
        span of no records for each stretch that is lost.
        """
        ...

    @abstractmethod
    def names(self, partition: str) -> bool:
        """Say whether `discover` would look into this partition if it were there; nothing is touched."""
        ...

    @abstractmethod
    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read exactly `span.num_records` rows of RECORD_SCHEMA, in order, the same at every call.

        ChangedError or FileNotFoundError if the records are no longer there; PermissionError, NotADirectoryError or
        IsADirectoryError if they cannot be had; any other OSError if another try may succeed.
        """
        ...

    def size_of(self, span: Span) -> int:
        """Tell about how many bytes of text a span holds."""
        return span.end - span.start

    def missing(self) -> str | None:
        """Return a sentence with what is wrong and its mend if there is nothing to look into, else None."""
        return None

    def fields_there(self) -> Sequence[str]:
        """Name the fields that the first records have, nested ones as paths; none where records have no fields."""
        return ()

    def begin(self, *, follow: bool) -> None:
        """Be told that an ingest takes what is discovered from now on, so that every cursor that it gives is durable.

        Whoever only looks does not say so, and no look of his may take anything away. follow: the ingest waits for
        more where the source is drained, so nobody asks whether it is. OSError where the source cannot be had.
        """
        return

    def acknowledge(self, cursor: Cursor) -> None:
        """Be told that all before `cursor` is durable in the lake: a hint for logs that keep what nobody has read.

        It may come twice or never, and an older one late; the truth is the cursor that `discover` is given.
        """
        return


class ChangedError(ValueError):
    """A file is no longer what `discover` saw; discover again."""


class LossError(OSError):
    """Records are gone at their source that were never read; whoever configured it decides whether to go on."""
