"""Is every message in the lake once, and its offset in the same commit, whoever is killed while it is taken in?"""

import json
import signal
import threading
from pathlib import Path

import confluent_kafka as ck
import pytest

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import next_window
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA
from data_ops.sources.protocol import LossError
from ray_jobs.commands.doctor import look_at_sources
from ray_jobs.commands.verify import verify_command
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.driver.preflight import check_sources
from ray_jobs.ingest.settings import ingest_settings
from tests.support.kafka.mock import MockKafka, produce
from tests.support.log_without_ray import run_window
from tests.support.runs import RECIPE, end_all, finish, kill, start, wait_until

pytestmark = pytest.mark.slow

COUNT, PARTITIONS = 240, 3
WIRE = """sources: {wire: {kind: files, path: "corpus/*.jsonl", text: body, time: at}}"""


@pytest.fixture
def broker():
    """A cluster with one topic of three partitions."""
    broker = MockKafka()
    broker.create("docs", PARTITIONS)
    yield broker
    end_all()
    broker.close()


def text_of(number: int) -> str:
    return f"Document {number} tells of the wheel, of the mill and of the water that turns them."


def publish(broker: MockKafka, first: int, last: int, pause_s: float = 0.0) -> None:
    """Append documents to the partitions in turn, as a service does."""
    stopped = threading.Event()
    for number in range(first, last):
        produce(broker.servers, "docs", [{"body": text_of(number)}], number % PARTITIONS)
        stopped.wait(pause_s)


def recipe_of(broker: MockKafka, **more: str) -> str:
    keys = {"kind": "kafka", "servers": broker.servers, "topics": "docs", "text": "body", "group": "watchers", **more}
    window = "window: {max_documents: 30, max_seconds: 0.3}"
    recipe = RECIPE.replace(WIRE, f"sources: {{live: {json.dumps(keys)}}}")
    return recipe.replace("window: {max_documents: 60}", window)


def taken(folder: Path) -> int:
    """How many records the committed windows hold."""
    store = Store.open(str(folder / "lake"))
    if not store.exists("store.json"):
        return 0
    return sum(window.num_records for window in Lake(store).windows(whole=False)[0])


@pytest.mark.ray
def test_an_ingest_that_is_killed_while_messages_come_goes_on_with_the_offset_in_its_last_commit(
    tmp_path: Path, broker: MockKafka
):
    publish(broker, 0, 60)
    producing = threading.Thread(target=publish, args=(broker, 60, COUNT, 0.05))
    first = start(tmp_path, "--follow", recipe=recipe_of(broker), command="ingest")
    producing.start()

    def told() -> str:
        return (tmp_path / "stderr.txt").read_text()[-3000:]

    wait_until(lambda: taken(tmp_path) >= 70, 120, told)
    kill(first)
    assert taken(tmp_path) < COUNT, "it was killed while there was more to read"
    second = start(tmp_path, "--follow", recipe=recipe_of(broker), command="ingest")
    producing.join()
    wait_until(lambda: taken(tmp_path) >= COUNT, 120, told)
    second.send_signal(signal.SIGTERM)
    assert finish(second)[0] in (0, 143), told()

    lake = Lake(Store.open(str(tmp_path / "lake")))
    rows = lake.documents(0, lake.last_window())
    names = [f"docs/{number}/{n}" for number in range(PARTITIONS) for n in range(COUNT // PARTITIONS)]
    assert sorted(rows["external_id"].to_pylist()) == sorted(names)
    assert {row for row in rows["text"].to_pylist() if row} == {text_of(n) for n in range(COUNT)}
    audit = account(lake, "small")
    assert (audit.read, audit.lost, audit.repeated, audit.problems, audit.gone) == (COUNT, 0, 0, [], 0)
    reached = {k: v for _, cursors in lake.cursors() for k, v in cursors["live"].items()}
    ends = {f"docs/{number}": COUNT // PARTITIONS for number in range(PARTITIONS)}
    assert {name: entry[1] for name, entry in reached.items()} == ends, "the offsets are in the windows' own commits"
    watcher = ck.Consumer({"bootstrap.servers": broker.servers, "group.id": "watchers", "log_level": 0})
    told_group = watcher.committed([ck.TopicPartition("docs", number) for number in range(PARTITIONS)], timeout=10)
    watcher.close()
    assert [each.offset for each in told_group] == list(ends.values()), "and the group was told after them"


class CrashError(Exception):
    """A process that ended here."""


def take_in(config: Config, dies_before: str = "") -> None:
    """Take in what there is with a new process's objects, and end before a step of the first window."""
    settings, lake = ingest_settings(config, None), Lake(Store.open(config.store))
    lake.create()
    seen, context = Histories(lake, settings.curate.remembered), IngestContext(lake, settings)
    while planned := next_window(context):
        for step in ("read", "documents", "windows", "acknowledge"):
            if step == dies_before:
                raise CrashError
            if step == "read":
                done, rows = run_window(lake, settings, planned, seen)
            elif step == "documents":
                lake._append("documents", "documents", done.window, rows.cast(STORED_DOCUMENT_SCHEMA))
            elif step == "windows":
                lake.commit_window(done, rows)
            else:
                context.progress.take(done)
                context.sources.opened["live"].acknowledge(context.progress.cursors["live"])


def config_of(folder: Path, broker: MockKafka, **keys: str) -> Config:
    live = {"kind": "kafka", "servers": broker.servers, "topics": "docs", "text": "body", **keys}
    given = [f"store={folder}/store", f"sources.live={json.dumps(live)}", "held_out=0", "tokenizer.kind=bytes"]
    return read_config([], [*given, "window.max_documents=25"])


@pytest.mark.parametrize("step", ["read", "documents", "windows", "acknowledge"])
def test_a_process_that_ends_at_any_step_loses_and_repeats_nothing(tmp_path: Path, broker: MockKafka, step: str):
    config = config_of(tmp_path, broker, group="watchers")
    publish(broker, 0, 40)
    for reached in (60, 75):
        with pytest.raises(CrashError):
            take_in(config, step)
        publish(broker, reached - 20, reached)
    take_in(config)
    lake = Lake(Store.open(config.store))
    texts = lake.documents(0, lake.last_window(), ["text"], ["kept"])["text"].to_pylist()
    assert sorted(texts) == sorted({text_of(n) for n in range(75)})
    audit = account(lake, "headrace")
    assert (audit.read, audit.lost, audit.repeated, audit.problems) == (80, 0, 0, []), "five were published twice"


def test_a_loss_stops_in_a_sentence_and_is_told_by_verify_once_it_is_accepted(tmp_path: Path, broker: MockKafka):
    publish(broker, 0, 30)
    config = config_of(tmp_path, broker)
    take_in(config)
    publish(broker, 30, 90)
    broker.trim("docs", 1, 25)
    with pytest.raises(LossError, match=r"^sources.live: offsets 10 to 24 of docs/1 were removed from the log before"):
        take_in(config)
    take_in(config_of(tmp_path, broker, on_loss="continue"))
    audit = verify_command(config, sources=False, every=False, deep=False, as_json=True).to_dict()
    assert (audit["ok"], audit["read"], audit["lost"], audit["repeated"], audit["gone"]) == (True, 75, 0, 0, 15)
    assert audit["losses"] == [
        "source live: 15 records (10 to 24) of docs/1 were removed from the log before they were read; accepted in "
        "window 2 by on_loss=continue"
    ]


def test_markers_and_tombstones_are_dropped_by_name_and_count_as_read(tmp_path: Path, broker: MockKafka):
    produce(broker.servers, "docs", [{"body": text_of(0)}, None, {"body": text_of(1)}])
    config = config_of(tmp_path, broker)
    take_in(config)
    (window,) = Lake(Store.open(config.store)).windows()[0]
    assert (window.counts or {})["read"] == 3 and (window.counts or {})["dropped"] == {"tombstone": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"topics": "dosc"}, "the cluster has no topic dosc; did you mean docs?"),
        ({"text": "boddy"}, "no record has the field 'boddy'; the fields are body, kafka.key"),
        ({"security": {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "a"}}, "holds no KAFKA_PASSWORD"),
        ({"servers": "127.0.0.1:1"}, "no Kafka broker answers at 127.0.0.1:1 within 10 s"),
    ],
)
def test_a_mistake_is_one_sentence_before_ray_starts(tmp_path: Path, broker: MockKafka, keys: dict, sentence: str):
    publish(broker, 0, 3)
    sessions = tmp_path / "ray"
    sessions.mkdir()
    more = {"RAY_TMPDIR": str(sessions)}
    code, told = finish(start(tmp_path, recipe=recipe_of(broker, **keys), command="run", more=more), timeout_s=100)
    assert code == 2 and sentence in told["error"] and "\n" not in told["error"] and not list(sessions.iterdir())


def test_a_message_is_shown_as_it_will_be_read(tmp_path: Path, broker: MockKafka):
    produce(broker.servers, "docs", [{"body": text_of(0)}], timestamp=1_700_000_000_000)
    (line,) = check_sources(config_of(tmp_path, broker), follow=False)
    said = "source live  docs/0: 2023-11-14 22:13:20 UTC, id docs/0/0, text 'Document 0 tells of the wheel"
    assert line.startswith(said)
    (check,) = look_at_sources(config_of(tmp_path, broker).sources)
    assert (check.name, check.state) == ("source live", "ok") and check.found in line
