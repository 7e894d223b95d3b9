"""Does `verify` tell what was seen and not taken, and find where sources say another thing than the lake?"""

import json

import pytest

from cluster.storage.store import Store
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from ray_jobs.commands.verify import verify_command
from ray_jobs.config.reading import read_config
from ray_jobs.ingest.settings import ingest_settings
from tests.support.log_without_ray import plan_window, run_window

TEXT = "A sentence of some length, so that every rule lets it pass, with the number "
FACE = {"run", "read", "trained", "pending", "held_out", "shed", "dropped", "quarantined", "forgotten", "skipped"}
FACE |= {"waiting", "abandoned", "lost", "repeated", "damaged", "ok"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in" / "a.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"text": f"{TEXT}{i}."}) + "\n" for i in range(9)))
    return path


@pytest.fixture
def config(tmp_path, file):
    mine = [f"sources.mine.path={file.parent}/*", "sources.mine.settle=0", "held_out=0", "tokenizer.kind=bytes"]
    return read_config([], [f"store={tmp_path}/store", *mine])


def take_in(config, **window):
    settings, lake = ingest_settings(config, None), Lake(Store.open(config.store))
    lake.create()
    seen = Histories(lake, settings.curate.remembered)
    while planned := plan_window(lake, settings):
        lake.commit_window(*run_window(lake, settings, planned, seen))


def audit(config, **how):
    return verify_command(config, **{"sources": False, "every": False, "deep": False, "as_json": True} | how)


def test_what_waits_is_counted_and_is_no_failure_and_what_is_gone_unread_is(config, file):
    with file.open("a") as half:
        half.write('{"text": "half')
    take_in(config)
    told = audit(config).to_dict()
    assert set(told) >= FACE and (told["read"], told["waiting"], told["abandoned"], told["ok"]) == (9, 1, 0, True)
    assert told["untaken"]["mine"]["waiting"]["half_line"] == {"files": 1, "bytes": 14}
    file.write_text(json.dumps({"text": f"{TEXT} of another file."}) + "\n")
    take_in(config)
    told = audit(config).to_dict()
    assert (told["read"], told["waiting"], told["abandoned"], told["lost"], told["ok"]) == (10, 0, 1, 0, False)


def test_sources_that_say_another_thing_than_the_lake_are_found(config, file, monkeypatch):
    take_in(config)
    assert audit(config, sources=True, every=True).ok
    monkeypatch.setattr("data_ops.sources.files.source.where_it_is", lambda span: span.partition)
    file.write_text(file.read_text().replace("number 3", "number 7"))
    found = audit(config, sources=True)
    assert found.damaged == 1 and not found.ok and "at 1 of 9 places, first at 3" in found.problems[0]


def test_a_file_that_is_gone_says_nothing_of_the_lake(config, file, capsys):
    take_in(config)
    file.unlink()
    assert audit(config, sources=True, every=True).ok
    assert "9 records could not be compared" in capsys.readouterr().err
