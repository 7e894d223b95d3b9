"""Is every committed row in the lake once, and the cursor in the same commit, whoever is killed meanwhile?"""

import json
from collections import Counter
from pathlib import Path

import pytest

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import next_window
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA
from data_ops.sources.protocol import LossError
from data_ops.sources.sql import connections
from ray_jobs.commands.doctor import look_at_sources
from ray_jobs.commands.verify import verify_command
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.ingest.settings import ingest_settings
from tests.data_ops.sources.sql.killing import TABLE, Writers, committed
from tests.support.log_without_ray import run_window
from tests.support.runs import RECIPE, end_all, finish, kill, start, wait_until
from tests.support.sql.postgres import Postgres

pytestmark = pytest.mark.slow

WIRE = """sources: {wire: {kind: files, path: "corpus/*.jsonl", text: body, time: at}}"""


@pytest.fixture(autouse=True)
def _empty_table(server: Postgres):
    """An empty table, and nothing that goes on reading it."""
    server.execute("drop table if exists docs", *TABLE)
    yield
    end_all()
    connections._OPEN.clear()


def text_of(number: int) -> str:
    return f"Document {number} tells of the wheel, of the mill and of the water that turns them."


def config_of(folder: Path, server: Postgres, **keys: str) -> Config:
    live = {"kind": "sql", "url": server.url(), "table": "docs", "text": "body", **keys}
    given = [f"store={folder}/store", f"sources.live={json.dumps(live)}", "held_out=0", "tokenizer.kind=bytes"]
    return read_config([], [*given, "window.max_documents=25"])


class CrashError(Exception):
    """A process that ended here."""


def take_in(config: Config, dies_before: str = "") -> None:
    """Take in what there is with a new process's objects, and end before a step of the first window."""
    settings, lake = ingest_settings(config, None), Lake(Store.open(config.store))
    lake.create()
    seen, context = Histories(lake, settings.curate.remembered), IngestContext(lake, settings)
    while planned := next_window(context):
        for step in ("read", "documents", "windows"):
            if step == dies_before:
                raise CrashError
            if step == "read":
                done, rows = run_window(lake, settings, planned, seen)
            elif step == "documents":
                lake._append("documents", "documents", done.window, rows.cast(STORED_DOCUMENT_SCHEMA))
            else:
                lake.commit_window(done, rows)
                context.progress.take(done)


@pytest.mark.parametrize("step", ["read", "documents", "windows"])
def test_a_process_that_ends_at_any_step_loses_and_repeats_nothing(tmp_path: Path, server: Postgres, step: str):
    config = config_of(tmp_path, server)
    for first in (0, 40):
        server.execute(*(f"insert into docs (body) values ('{text_of(n)}')" for n in range(first, first + 40)))
        with pytest.raises(CrashError):
            take_in(config, step)
    take_in(config)
    lake = Lake(Store.open(config.store))
    texts = lake.documents(0, lake.last_window(), ["text"], ["kept"])["text"].to_pylist()
    assert sorted(texts) == sorted(committed(server))
    audit = account(lake, "headrace")
    assert (audit.read, audit.lost, audit.repeated, audit.problems) == (80, 0, 0, [])


def test_a_loss_stops_in_a_sentence_and_is_told_by_verify_once_it_is_accepted(tmp_path: Path, server: Postgres):
    server.execute(f"insert into docs (body) values ('{text_of(0)}')")
    config = config_of(tmp_path, server)
    take_in(config)
    server.execute("drop table docs", *TABLE, f"insert into docs (body) values ('{text_of(1)}')")
    with pytest.raises(LossError, match=r"^sources.live: docs was deleted and made again after "):
        take_in(config)
    take_in(config_of(tmp_path, server, on_loss="continue"))
    audit = verify_command(config, sources=False, every=False, deep=False, as_json=True).to_dict()
    assert (audit["ok"], audit["read"], audit["lost"], audit["repeated"], audit["gone"]) == (True, 2, 0, 0, 0)
    assert audit["losses"] == [
        "source live: records of docs went with a topic or table that was deleted and created again before they were "
        "read; accepted in window 1 by on_loss=continue"
    ]


def test_a_row_is_shown_as_it_will_be_read(tmp_path: Path, server: Postgres):
    server.execute(f"insert into docs (body) values ('{text_of(0)}')")
    (check,) = look_at_sources(config_of(tmp_path, server).sources)
    assert (check.name, check.state) == ("source live", "ok")
    assert check.found == f"docs: no time, id 1, text '{text_of(0)[:60]}...'"
    (check,) = look_at_sources(config_of(tmp_path, server, table="dosc").sources)
    assert check.state == "fail" and "the database has no such table that we may see" in check.found
    assert check.mend.startswith("did you mean docs?")


@pytest.mark.ray
@pytest.mark.long  # a minute; the processes above end at the same steps, and test_killing.py kills a reader
def test_an_ingest_that_is_killed_while_others_write_and_roll_back_has_every_row_once(tmp_path: Path, server: Postgres):
    keys = {"kind": "sql", "url": server.url(), "table": "docs", "text": "body"}
    recipe = RECIPE.replace(WIRE, f"sources: {{live: {json.dumps(keys)}}}")
    recipe = recipe.replace("window: {max_documents: 60}", "window: {max_documents: 1000, max_seconds: 0.5}")
    store = Store.open(str(tmp_path / "lake"))

    def taken() -> int:
        if not store.exists("store.json"):
            return 0
        return sum(window.num_records for window in Lake(store).windows(whole=False)[0])

    writers = Writers(server, 4, 1500)
    for enough in (200, 1500):
        running = start(tmp_path, "--follow", recipe=recipe, command="ingest")
        wait_until(lambda enough=enough: taken() > enough, 200, lambda: f"{taken()} records")
        kill(running)
    writers.join()
    code, told = finish(start(tmp_path, recipe=recipe, command="ingest"), timeout_s=200)
    assert code == 0, told
    lake = Lake(store)
    documents = lake.documents(0, lake.last_window(), ["text", "fate", "reason"]).to_pylist()
    expected = sorted(committed(server))
    fates = Counter((row["fate"], row["reason"]) for row in documents)
    assert sorted(row["text"] for row in documents) == expected and len(expected) >= 5000, fates
    assert fates.keys() == {("kept", None), ("held_out", None)}, "no rule drops these texts, and none is there twice"
    audit = account(lake, "small")
    assert (audit.read, audit.lost, audit.repeated, audit.problems) == (len(expected), 0, 0, [])
