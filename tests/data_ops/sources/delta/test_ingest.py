"""Is every row of a Delta table in the lake once, whoever is killed meanwhile, and is a loss told?"""

import json
import threading
from pathlib import Path

import pytest

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from data_ops.sources.files.formats.parquet import row_groups
from data_ops.sources.protocol import LossError
from ray_jobs.commands.doctor import look_at_sources
from ray_jobs.commands.verify import verify_command
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.ingest.settings import ingest_settings
from tests.data_ops.sources.delta.writing import append, table_at, vacuum
from tests.data_ops.sources.delta.writing import rows as plain_rows
from tests.support.log_without_ray import plan_window, run_window
from tests.support.runs import RECIPE, end_all, finish, kill, start, wait_until

pytestmark = pytest.mark.slow

WIRE = """sources: {wire: {kind: files, path: "corpus/*.jsonl", text: body, time: at}}"""


@pytest.fixture(autouse=True)
def _ends_all():
    yield
    end_all()


def rows(first: int, last: int):
    """Rows whose texts no rule drops."""
    table = plain_rows(first, last)
    texts = [
        f"Document {n} tells of the wheel, of the mill and of the water that turns them." for n in range(first, last)
    ]
    return table.set_column(1, "text", [texts])


def config_of(folder: Path, **keys: str) -> Config:
    live = {"kind": "delta", "path": f"{folder}/table", **keys}
    given = [f"store={folder}/store", f"sources.live={json.dumps(live)}", "held_out=0", "tokenizer.kind=bytes"]
    return read_config([], [*given, "window.max_documents=7"])


def take_in(config: Config) -> Lake:
    """Take in what there is, without Ray."""
    settings, lake = ingest_settings(config, None), Lake(Store.open(config.store))
    lake.create()
    seen = Histories(lake, settings.curate.remembered)
    while planned := plan_window(lake, settings):
        lake.commit_window(*run_window(lake, settings, planned, seen))
    return lake


def test_copies_of_rows_are_dropped_as_duplicates_so_that_a_change_adds_what_is_new(tmp_path: Path):
    append(tmp_path / "table", rows(0, 10))
    config = config_of(tmp_path)
    take_in(config)
    table_at(tmp_path / "table").update(predicate="id = 5", updates={"text": "concat(text, ' Anew.')"})
    lake = take_in(config)
    documents = lake.documents(0, lake.last_window(), ["text", "fate", "reason"]).to_pylist()
    kept = [row["text"] for row in documents if row["fate"] == "kept"]
    assert len(kept) == 11 and sum(text.endswith(" Anew.") for text in kept) == 1
    assert [row["reason"] for row in documents if row["fate"] == "dropped"] == ["duplicate"] * 9


def test_a_loss_stops_in_a_sentence_and_is_told_by_verify_once_it_is_accepted(tmp_path: Path):
    path = tmp_path / "table"
    append(path, rows(0, 10))
    config = config_of(tmp_path)
    take_in(config)
    append(path, rows(10, 14))
    table_at(path).optimize.compact()
    vacuum(path)
    row_groups.cache_clear()
    with pytest.raises(LossError, match=r"^sources.live: part-.* was removed before its 4 rows were read"):
        take_in(config)
    append(path, rows(14, 16))
    take_in(config_of(tmp_path, on_loss="continue"))
    audit = verify_command(config, sources=False, every=False, deep=False, as_json=True).to_dict()
    assert (audit["ok"], audit["read"], audit["lost"], audit["repeated"], audit["gone"]) == (True, 12, 0, 0, 4)
    assert audit["losses"] == [
        f"source live: 4 records (0 to 3) of {path} went with a file that was removed from its table before they were "
        "read; accepted in window 2 by on_loss=continue"
    ]


def test_files_that_were_vacuumed_since_they_were_read_cannot_be_compared_and_are_no_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for first in (0, 5):
        append(tmp_path / "table", rows(first, first + 5))
    config = config_of(tmp_path)
    take_in(config)
    audit = verify_command(config, sources=True, every=True, deep=False, as_json=False)
    assert audit.ok and "10 records of 3 spans are in the lake as the sources hold them now" in capsys.readouterr().out
    table_at(tmp_path / "table").optimize.compact()
    vacuum(tmp_path / "table")
    assert verify_command(config, sources=True, every=True, deep=False, as_json=False).ok
    assert "10 records could not be compared: their files are gone or others now" in capsys.readouterr().out


def test_a_row_is_shown_as_it_will_be_read(tmp_path: Path):
    append(tmp_path / "table", rows(0, 3))
    (check,) = look_at_sources(config_of(tmp_path, id="id").sources)
    assert (check.name, check.state) == ("source live", "ok")
    assert check.found.startswith(f"{tmp_path}/table: no time, id 0, text 'Document 0 tells of the wheel")
    (check,) = look_at_sources(config_of(tmp_path, text="txet").sources)
    assert check.state == "fail" and "it has no column 'txet' for text" in check.found


@pytest.mark.ray
def test_an_ingest_that_is_killed_twice_while_the_table_grows_and_is_compacted_has_every_row_once(tmp_path: Path):
    path, store = tmp_path / "table", Store.open(str(tmp_path / "lake"))
    append(path, rows(0, 200))
    keys = {"kind": "delta", "path": str(path), "on_delete": "stop"}
    recipe = RECIPE.replace(WIRE, f"sources: {{live: {json.dumps(keys)}}}")
    recipe = recipe.replace("window: {max_documents: 60}", "window: {max_documents: 90, max_seconds: 0.5}")

    def taken() -> int:
        if not store.exists("store.json"):
            return 0
        return sum(window.num_records for window in Lake(store).windows(whole=False)[0])

    def grow() -> None:
        for number in range(8):
            append(path, rows(200 + 50 * number, 250 + 50 * number))
            if number % 3 == 2:
                table_at(path).optimize.compact()

    running = start(tmp_path, "--follow", recipe=recipe, command="ingest")
    wait_until(lambda: taken() > 100, 500, lambda: f"{taken()} records")
    writer = threading.Thread(target=grow)
    writer.start()
    kill(running)
    running = start(tmp_path, "--follow", recipe=recipe, command="ingest")
    wait_until(lambda: taken() > 350, 500, lambda: f"{taken()} records")
    kill(running)
    writer.join()
    code, told = finish(start(tmp_path, recipe=recipe, command="ingest"), timeout_s=500)
    assert code == 0, told
    lake = Lake(store)
    documents = lake.documents(0, lake.last_window(), ["text", "fate"]).to_pylist()
    expected = table_at(path).to_pyarrow_table()["text"].to_pylist()
    assert sorted(row["text"] for row in documents) == sorted(expected) and len(expected) == 600
    assert {row["fate"] for row in documents} == {"kept", "held_out"}, "none is there twice"
    audit = account(lake, "small")
    assert (audit.read, audit.lost, audit.repeated, audit.problems) == (600, 0, 0, [])
