"""Are texts of dropped records read again only where the source still has them, and does each rule judge alone?"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from data_ops.curation.config import CurateConfig
from data_ops.documents.place import Place
from data_ops.ingest.config import IngestSettings, WindowConfig
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Span
from data_ops.sources.quarantine import read_span
from data_ops.survey.rereading import Alone, dropped_alone, texts_again
from data_ops.survey.samples import records_at
from tests.support.lakes import make_lake
from tests.support.log_without_ray import plan_window, run_window

pytestmark = pytest.mark.slow

TEXTS = ["short", "0123456789 0123456789 0123456789", "the river turns the wheel of the mill", "12", "!" * 60]


@pytest.fixture
def ingested(tmp_path: Path) -> tuple[Lake, IngestSettings, Path]:
    """Five records in two windows: two of them too short, one of them and another one all digits, one kept."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    sources = {"wire": FilesConfig(kind="files", path=str(path))}
    settings = IngestSettings(sources, WindowConfig(max_documents=3), CurateConfig(), 0, 0.0)
    lake = make_lake(tmp_path / "lake")
    seen = Histories(lake, settings.curate.remembered)
    while (window := plan_window(lake, settings)) is not None:
        lake.commit_window(*run_window(lake, settings, window, seen))
    return lake, settings, path


def read(settings: IngestSettings, label: str, span: Span) -> Iterator[pa.RecordBatch]:
    return read_span(open_source(label, settings.sources[label]), span)


def test_texts_of_dropped_records_come_back_from_their_places(ingested: tuple[Lake, IngestSettings, Path]) -> None:
    lake, settings, _ = ingested
    places = [Place(0, 0), Place(0, 1), Place(1, 0), Place(1, 1)]
    records = records_at(lake, places)
    assert {place: record.reason for place, record in records.items()} == {
        Place(0, 0): "too_short",
        Place(0, 1): "few_letters",
        Place(1, 0): "too_short",
        Place(1, 1): "few_letters",
    }
    found = texts_again(lake, records.values(), partial(read, settings))
    assert found == dict(zip(places, [TEXTS[0], TEXTS[1], TEXTS[3], TEXTS[4]], strict=True))


def test_a_text_that_is_another_one_now_is_not_shown(ingested: tuple[Lake, IngestSettings, Path]) -> None:
    lake, settings, path = ingested
    records = records_at(lake, [Place(0, 0)])
    path.write_text(path.read_text().replace("short", "shirt"))
    assert texts_again(lake, records.values(), partial(read, settings)) == {}
    path.unlink()
    assert texts_again(lake, records.values(), partial(read, settings)) == {}


def test_each_rule_judges_every_record_by_itself(ingested: tuple[Lake, IngestSettings, Path]) -> None:
    lake, settings, path = ingested
    rules = {"wire": settings.curate.chain_of("wire")}
    found = {one.reason: one for one in dropped_alone(lake, rules, partial(read, settings))}
    assert list(found) == list(rules["wire"])
    assert found["too_short"] == Alone("wire", "too_short", 5, 2)
    assert found["few_letters"] == Alone("wire", "few_letters", 5, 3), "in sequence it gets two of them"
    path.unlink()
    assert dropped_alone(lake, rules, partial(read, settings)) == []
