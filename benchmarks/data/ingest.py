"""How many records a second go from files into the lake, and does every one of them arrive where it belongs?

100,000 JSON lines in eight files, 1 % of them broken in eight ways and 2 % repeats, through `ingest` on Ray with
windows of 10,000. After each repeat the lake is compared with what the generator knows, record by record: place, fate,
reason and text. Against: the same reading, curation and tokenising in one process, without Ray and without a lake.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.corpus import LIMIT_BYTES, Line, lines, write
from benchmarks.rows import Goal, Row, paired
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from cluster.storage.store import Store
from data_ops.curation.config import CurateConfig
from data_ops.curation.history.id_history import IdHistory
from data_ops.documents.document import is_held_out
from data_ops.documents.fates import drop_living, living
from data_ops.documents.tokenizer import Tokenizer, train_bpe
from data_ops.ingest.config import IngestSettings, WindowConfig
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import ingest
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Span
from ray_jobs.ingest.first_tokenizer import curated

SENTENCES, NUM_FILES, HELD_OUT = 6, 8, 0.02


def measure(quick: bool) -> list[Row]:
    """Records a second end to end and in one process, in turns, and the number of records in the wrong place."""
    num_records, repeats = (5_000, 2) if quick else (100_000, 3)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        made = list(lines(num_records, SENTENCES))
        places = write(Path(folder) / "corpus", made, NUM_FILES)
        num_bytes = sum(len(line.raw) + 1 for line in made)
        settings, tokenizer = settings_for(Path(folder), max(1000, num_records // 10)), bpe(made)
        ours, bare, wrong, quarantined = [], [], 0, 0
        with connect(ClusterConfig()):
            for repeat in range(repeats + 1):  # the first one starts Ray's worker processes
                lake = Lake(Store.open(f"{folder}/lake-{repeat}"))
                began = time.perf_counter()
                lake.create()
                ingest(IngestContext(lake, settings), tokenizer)
                seconds = time.perf_counter() - began
                table = lake.documents(0, lake.last_window())
                wrong += len(mistakes(table, made, places, settings.seed))
                began = time.perf_counter()
                in_one_process(settings, tokenizer)
                if repeat:
                    ours.append(num_records / seconds)
                    bare.append(num_records / (time.perf_counter() - began))
        quarantined = sum(line.fate == "quarantined" for line in made)
    return rows(num_records, num_bytes, quarantined, repeats, ours, bare, wrong)


def rows(
    num_records: int, num_bytes: int, quarantined: int, repeats: int, ours: list[float], bare: list[float], wrong: int
) -> list[Row]:
    """The lines of the table."""
    per_record = num_bytes / num_records / 1e6
    theirs = "one process, no Ray, no lake"
    raw = {"records": num_records, "bytes": num_bytes, "quarantined": quarantined}
    megabytes = [[per_record * value for value in values] for values in (ours, bare)]
    note = (
        "from lake creation to the last commit, BPE of 2,048 tokens; without starting Ray. A window of one file is one "
        "task, so a second core helps little here."
    )
    what = f"ingest of {num_records:,} JSON lines"
    return [
        Row(what, "records/s", ours, theirs, bare, paired(ours, bare), note=note, raw=raw),
        Row(what, "MB/s", megabytes[0], theirs, megabytes[1], paired(ours, bare)),
        Row(
            f"records of {num_records:,}, {quarantined:,} of them broken in eight ways, in the wrong place",
            "records",
            [float(wrong)],
            goal=Goal(0, at_least=False, of_ratio=False),
            why="A record has another fate, reason, place or text than the generator made it for: a defect.",
            note=f"over {repeats + 1} ingests; compared by place, fate, reason and text.",
        ),
    ]


def settings_for(folder: Path, max_documents: int) -> IngestSettings:
    """Ingest of the files below folder/corpus."""
    source = FilesConfig(path=f"{folder}/corpus/*.jsonl", time="at", max_record_bytes=LIMIT_BYTES)
    return IngestSettings(
        {"made": source}, WindowConfig(max_documents=max_documents), CurateConfig.model_validate({}), 7, HELD_OUT
    )


def bpe(made: list[Line]) -> str:
    """A tokenizer trained on the first texts, as JSON."""
    return train_bpe([line.text for line in made[:2000] if line.text], 2048).to_json()


def mistakes(table: pa.Table, made: list[Line], places: list[tuple[str, int]], seed: int) -> list[str]:
    """Compare a lake with what was made; one sentence for every record that is not what it must be."""
    found: dict[tuple[str, int], list[dict]] = {}
    columns = ["partition", "offset", "fate", "reason", "text", "num_tokens"]
    for row in table.select(columns).to_pylist():
        found.setdefault((row["partition"], row["offset"]), []).append(row)
    alive = table.filter(pa.array(living(table)))
    held = dict(zip(alive["text"].to_pylist(), is_held_out(ids_to_array(alive["id"]), seed, HELD_OUT), strict=True))
    wrong = [f"{place} was never written" for place in found.keys() - set(places)]
    for place, line in zip(places, made, strict=True):
        here = found.get(place, [])
        if len(here) != 1:
            wrong.append(f"{place} is in the lake {len(here)} times")
            continue
        row = here[0]
        fate = line.fate if line.fate != "alive" else "held_out" if held.get(line.text) else "kept"
        same_text = line.fate != "alive" or (row["text"] == line.text and row["num_tokens"] > 0)
        if (row["fate"], row["reason"]) != (fate, line.reason) or not same_text:
            wrong.append(f"{place} is {row['fate']} ({row['reason']}), not {fate} ({line.reason})")
    return wrong


def in_one_process(settings: IngestSettings, tokenizer_json: str) -> int:
    """Read, curate, deduplicate and tokenise everything here; the number of tokens."""
    seen, tokenizer, total = IdHistory(SeenIds()), Tokenizer.from_json(tokenizer_json), 0
    for label, config in settings.sources.items():
        found = open_source(label, config).discover({}, 1 << 40)
        total += sum(process_span(label, span, settings, tokenizer, seen) for span in found.spans)
    return total


def process_span(label: str, span: Span, settings: IngestSettings, tokenizer: Tokenizer, seen: IdHistory) -> int:
    """The work of one span without Ray and lake; the number of tokens."""
    total = 0
    for table in curated(open_source(label, settings.sources[label]), label, span, settings):
        new = seen.add(table.filter(pa.array(living(table))))
        table = drop_living(table, pa.array(np.where(new, None, "duplicate"), pa.string()))
        total += len(tokenizer.encode(table["text"].filter(pa.array(living(table)))).flatten())
    return total
