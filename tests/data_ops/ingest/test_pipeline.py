"""Does ingest go on whatever becomes of its sources, and does a store get a tokenizer that was trained on something?"""

import json
import socket
import sys
import threading
from functools import partial
from types import SimpleNamespace

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.exceptions import RayTaskError, UserCodeException

from cluster.runtime.actors import Local
from cluster.storage.store import Store
from data_ops.curation.config import CurateConfig
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.ingest import pipeline
from data_ops.ingest.config import IngestSettings, WindowConfig
from data_ops.ingest.context import IngestContext
from data_ops.ingest.events import Warned, WindowDone
from data_ops.ingest.pipeline import next_window
from data_ops.lake.progress import Reach
from data_ops.sources.files import looking as files
from data_ops.sources.kinds import FilesConfig, Span, open_source
from data_ops.sources.quarantine import read_span
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.ingest import opening
from ray_jobs.ingest import task as ingesting
from ray_jobs.ingest.first_tokenizer import make_tokenizer
from ray_jobs.outcome import ConfigError
from tests.support.lakes import make_lake

TEXT = "A sentence that every rule lets pass, as it is long and made of letters. "


def lines(path, *texts):
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return path


def settings_of(path, **window):
    return IngestSettings({"mine": FilesConfig(path=str(path))}, WindowConfig(**window), CurateConfig(), 0, 0.0)


def curated(settings, label, span):
    """What the body of a Ray task makes of one span, without Ray."""
    seen = Local(SimpleNamespace(look=lambda window, ids, sketches: pa.nulls(len(ids), pa.string())))
    batch = pa.Table.from_pylist([{"piece": 0, "source": label, "span": orjson.dumps(span).decode()}])
    return pa.concat_tables(pipeline._read_spans(batch, settings, byte_tokenizer().to_json(), seen, 0, 0.0))


# what becomes of a planned span


def test_records_of_a_source_that_is_configured_no_more_are_quarantined_place_by_place(tmp_path, monkeypatch):
    span = Span("gone/a.jsonl", 5, 3, 100, 200, 0.0)
    rows = curated(settings_of(tmp_path / "*"), "gone", span).to_pylist()
    assert [(row["source"], row["offset"]) for row in rows] == [("gone", 5), ("gone", 6), ("gone", 7)]
    assert {(row["fate"], row["reason"], row["weight"]) for row in rows} == {("quarantined", "source_removed", 1.0)}


@pytest.mark.parametrize("error", [PermissionError, IsADirectoryError, NotADirectoryError])
def test_what_cannot_be_opened_any_more_is_quarantined_behind_what_was_read(tmp_path, error):
    path = lines(tmp_path / "a.jsonl", *"abc")
    source = open_source("mine", FilesConfig(path=str(path)))
    (span,) = source.discover({}, 9).spans

    class Locked:
        def read(self, span):
            yield next(source.read(span)).slice(0, 1)
            raise error(13, "no longer for you", str(path))

    first, rest = read_span(Locked(), span)
    assert first["error"].to_pylist() == [None]
    assert (rest["offset"].to_pylist(), rest["error"].to_pylist()) == ([1, 2], ["unreadable"] * 2)


@pytest.mark.parametrize("change", ["a folder", "below a file"])
def test_a_file_that_became_something_else_is_unreadable_not_fatal(tmp_path, change):
    folder = tmp_path / "data"
    folder.mkdir()
    path = lines(folder / "a.jsonl", *"abc")
    source = open_source("mine", FilesConfig(path=str(folder / "*")))
    (span,) = source.discover({}, 9).spans
    path.unlink()
    if change == "a folder":
        path.mkdir()
    else:
        folder.rmdir()
        folder.write_text("a file")
    (rows,) = read_span(source, span)
    assert rows["offset"].to_pylist() == [0, 1, 2]
    assert rows["error"].to_pylist() == ["unreadable"] * 3


def test_an_error_that_may_pass_is_raised_and_quarantines_nothing():
    class Away:
        def read(self, span):
            raise OSError("the network is down")

    with pytest.raises(OSError, match="the network is down"):
        list(read_span(Away(), Span("s3://bucket/a.jsonl", 0, 3, 0, 9, 0.0)))


class Elsewhere:
    """Ray Data, as far as a window needs it: one task, on a node from which `hide` takes something away."""

    def __init__(self, hide):
        self.hide = hide

    def from_items(self, items, override_num_blocks):
        self.items = items
        return self

    def map_batches(self, read, fn_kwargs, **how):
        self.read = partial(read, **fn_kwargs)
        return self

    def iter_batches(self, **how):
        bring_back = self.hide()
        yield from self.read(pa.Table.from_pylist(self.items))
        bring_back()


def window_read_elsewhere(tmp_path, monkeypatch, hide):
    """The rows of a window of one file, read on a node where `hide` was called."""
    path = lines(tmp_path / "a.jsonl", *"abc")
    settings = settings_of(path)
    given = {"follow": False, "stop": lambda: False, "warned": set(), "report": lambda event: None}
    window = next_window(IngestContext(make_lake(tmp_path / "lake"), settings, **given))
    monkeypatch.setattr(ray, "data", Elsewhere(lambda: hide(path)), raising=False)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    seen = Local(SimpleNamespace(look=lambda window, ids, sketches: pa.nulls(len(ids), pa.string())))
    return pipeline.run_window(window, settings, byte_tokenizer().to_json(), seen)


def unmounted(path):
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    aside = path.rename(elsewhere / path.name)
    return lambda: aside.rename(path)


def stale(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:10] + b" " * (len(whole) - 11) + b"\n")
    return lambda: path.write_bytes(whole)


def barred(path):
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    return lambda: (path.rmdir(), path.with_suffix(".aside").rename(path))


@pytest.mark.parametrize("hide", [unmounted, stale, barred])
def test_a_file_that_only_the_node_of_a_task_cannot_read_stops_the_window(tmp_path, monkeypatch, hide):
    monkeypatch.setattr(socket, "gethostname", lambda: "node-7")
    told = r"a\.jsonl could not be read as planned on node node-7 \(.*\), but can be on node node-7, where .*; make it"
    with pytest.raises(OSError, match=told):
        window_read_elsewhere(tmp_path, monkeypatch, hide)


@pytest.mark.parametrize(
    ("hide", "reasons"),
    [
        (unmounted, ["changed_before_read"] * 3),
        (stale, ["changed_before_read"] * 3),
        (barred, ["unreadable"] * 3),
    ],
)
def test_what_is_gone_on_every_node_is_quarantined(tmp_path, monkeypatch, hide, reasons):
    def for_good(path):
        hide(path)
        return lambda: None

    rows = window_read_elsewhere(tmp_path, monkeypatch, for_good)
    assert rows.schema == pipeline.DOCUMENT_SCHEMA
    assert rows["reason"].to_pylist() == reasons


# how much a window holds


def planned(tmp_path, num_records=7, **window):
    """The windows of a folder, (records, bytes) each."""
    lake, settings = make_lake(tmp_path / "lake"), settings_of(tmp_path / "data" / "*", **window)
    given = {"follow": True, "stop": threading.Event().is_set, "warned": set(), "report": lambda event: None}
    progress, found = Reach(), []
    while sum(n for n, _ in found) < num_records:
        plan = next_window(IngestContext(lake, settings, **given, progress=progress))
        progress.take(plan)
        lake.commit_window(plan, pa.Table.from_pylist([], schema=pipeline.DOCUMENT_SCHEMA))
        found.append((plan.num_records, sum(s.end - s.start for s in plan.spans["mine"])))
    return found


def test_a_window_holds_no_more_bytes_than_it_may_but_always_one_record(tmp_path):
    (tmp_path / "data").mkdir()
    lines(tmp_path / "data" / "a.jsonl", *["x" * 400_000] * 6, "x" * 3_000_000, *["x" * 400_000] * 2)
    found = planned(tmp_path, max_bytes="1MiB", max_seconds=600)  # such a window is full and waits for nothing
    assert [n for n, _ in found] == [2, 1, 1, 2, 1]
    assert all(num_bytes <= 1 << 20 or n == 1 for n, num_bytes in found)


@pytest.mark.slow
def test_a_window_of_parquet_holds_no_more_bytes_either(tmp_path):
    (tmp_path / "data").mkdir()
    texts = [f"{row:06d}" * 50_000 for row in range(10)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "data" / "a.parquet", row_group_size=5, use_dictionary=False)
    rows = [num_records for num_records, _ in planned(tmp_path, 10, max_bytes="1MiB", max_seconds=0.1)]
    assert sum(rows) == 10 and 1 < max(rows) <= 3, "300 kB a row, though a footer counts a row group"


# the tokenizer of a new store


def config_of(tmp_path, *more):
    texts = tmp_path / "texts"
    texts.mkdir(exist_ok=True)
    given = [f"store={tmp_path / 'store'}", f"sources.mine.path={texts}/*.jsonl", "tokenizer.vocabulary=300"]
    return read_config([], [*given, *more]), texts


def test_a_tokenizer_is_not_trained_on_nothing(tmp_path):
    config, texts = config_of(tmp_path)
    lines(texts / "a.jsonl", "short", "too")
    with pytest.raises(ConfigError, match=r"no text that is kept, so tokenizer.kind=bpe cannot be trained; add"):
        opening.open_store(config)
    store = Store.open(config.store)
    assert not store.exists(opening.TOKENIZER)
    assert not store.exists(opening.SETTINGS), "or the mended configuration would be refused"


@pytest.mark.parametrize("way", ["follow", "wait"])
def test_the_first_text_is_waited_for(tmp_path, monkeypatch, way):
    config, texts = config_of(tmp_path, f"sources.mine.wait={str(way == 'wait').lower()}", "held_out=0")
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            lines(texts / "a.jsonl", *[TEXT + str(i) for i in range(20)])

    monkeypatch.setattr("ray_jobs.ingest.first_tokenizer.time.sleep", nap)
    assert opening.open_store(config, follow=way == "follow").tokenizer.vocab_size > 257
    assert naps == [0.5, 0.5]


def test_waiting_for_the_first_text_ends_when_it_should_stop(tmp_path):
    config, _ = config_of(tmp_path)
    with pytest.raises(ConfigError, match="stopped before a text"):
        opening.open_store(config, lambda: True, follow=True)


def test_of_two_processes_that_make_a_store_the_second_must_agree_with_the_first(tmp_path, monkeypatch):
    config, texts = config_of(tmp_path, "held_out=0")
    lines(texts / "a.jsonl", *[TEXT + str(i) for i in range(20)])
    other, _ = config_of(tmp_path, "held_out=0", "tokenizer.kind=bytes")
    make = make_tokenizer

    def raced(config, *given, **more):
        if config.tokenizer.kind == "bpe":
            opening.open_store(other)
        return make(config, *given, **more)

    monkeypatch.setattr(opening, "make_tokenizer", raced)
    with pytest.raises(ConfigError, match=r'tokenizer=\{"kind": "bpe"'):
        opening.open_store(config)
    store = Store.open(config.store)
    assert json.loads(store.read(opening.SETTINGS))["tokenizer"]["kind"] == "bytes"
    assert store.read(opening.TOKENIZER).decode() == byte_tokenizer().to_json()


def test_settings_are_there_before_the_tokenizer_is(tmp_path, monkeypatch):
    config, _ = config_of(tmp_path, "tokenizer.kind=bytes")
    published, publish = [], Store.publish
    monkeypatch.setattr(
        Store, "publish", lambda self, path, data: (published.append(path), publish(self, path, data))[1]
    )
    opening.open_store(config)
    assert published == [opening.SETTINGS, opening.TOKENIZER]


def test_where_there_is_no_text_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "look_at", refuse)
    lines(tmp_path / "a.jsonl", TEXT)
    given = {"name": "r", "store": str(tmp_path / "store"), "tokenizer": {"kind": "bpe"}}
    config = Config.model_validate({**given, "sources": {"mine": {"kind": "files", "path": str(tmp_path / "*.jsonl")}}})
    with pytest.raises(ConfigError, match=r"no text that is kept \(file .*a\.jsonl cannot be read .*Permission denied"):
        make_tokenizer(config)


# what becomes of a task whose network is away

AWAY = OSError("AWS Error NETWORK_CONNECTION during ListObjectsV2 operation")


class Clock:
    """A time that passes by sleeping only."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(ingesting, "time", clock)
    return clock


def takes(*ends):
    """An ingest that ends so, one after the other; "window" is a window before the next end."""
    left = list(ends)

    def take_in(report):
        while (end := left.pop(0)) == "window":
            report(WindowDone(window=0))
        if isinstance(end, Exception):
            raise end
        return end

    return take_in


def test_a_network_that_is_away_is_waited_for_and_told_once_a_streak(clock):
    told = []
    ends = [AWAY] * 8 + ["window"] + [AWAY] * 8 + [7]
    assert ingesting.retry_on_network_loss(takes(*ends), told.append, lambda: False) == 7
    assert [type(event) for event in told] == [Warned, WindowDone, Warned]
    assert "begins anew (AWS Error NETWORK_CONNECTION" in told[0].text
    assert clock.now == 2 * (1 + 2 + 4 + 8 + 16 + 30 + 30 + 30)


def test_a_network_that_stays_away_ends_ingest_after_ten_minutes(clock):
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        ingesting.retry_on_network_loss(takes(*[AWAY] * 99), lambda event: None, lambda: False)
    assert 600 <= clock.now < 640


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a defect")])
def test_what_no_network_did_ends_ingest_at_once(error, clock):
    with pytest.raises(type(error)):
        ingesting.retry_on_network_loss(takes(error), lambda event: None, lambda: False)
    assert clock.now == 0


def test_an_error_out_of_a_remote_task_is_known_by_its_text(clock):
    remote = RayTaskError("read", f"Traceback\n  OSError: {AWAY}", UserCodeException("UDF failed"))
    ends = takes(remote.as_instanceof_cause(), remote, 3)
    assert ingesting.retry_on_network_loss(ends, lambda event: None, lambda: False) == 3


def test_a_wish_to_stop_is_heard_while_the_network_is_away(clock):
    assert ingesting.retry_on_network_loss(takes(*[AWAY] * 5, 2), lambda event: None, lambda: True) == 2
    assert clock.now == 0
