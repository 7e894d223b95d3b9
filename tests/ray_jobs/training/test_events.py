"""Is every kind of event told by somebody and read by somebody, and can a broken log break nothing?"""

import ast
import json
import pickle
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.storage.store import Store
from data_ops.ingest.events import Warned, WindowDone
from ray_jobs.store.paths import run_path
from ray_jobs.training.events import (
    Evaluated,
    Event,
    RoundBegun,
    Started,
    StepDone,
    event_kind,
    event_of_line,
    event_to_row,
    final_steps,
    newest_events,
    read_events,
)
from tests.support.root import ROOT

KINDS = {
    "started",
    "fault",
    "branch",
    "round",
    "step",
    "skip",
    "evaluation",
    "checkpoint",
    "commit",
    "candidate",
    "window",
    "judged",
}
OLD_LINES = """{"time":1.5,"event":"started","step":0,"workers":2,"pid":4932,"text":"2 workers at step 0"}
{"time":2.5,"event":"window","window":0,"seconds":2.5,"read":250,"kept":241,"held_out":8,"quarantined":0,"dropped":{"many_symbols":1},"quarantined_by":{},"times":{}}
{"time":3.5,"event":"round","round":0,"steps":25,"tokens":97564,"fresh_documents":219,"fresh_tokens":97564,"replay_tokens":0,"last_window":0,"closed":"tokens"}
{"time":4.5,"event":"step","branch":false,"step":1,"round":0,"tokens":4096,"predictions":4000,"loss":null,"grad_norm":1.5,"learning_rate":0.001,"seconds":0.5,"data_wait_s":0.25,"tokens_per_second":8192.0,"mfu":null,"freshness_s":[1.25],"skipped_steps":0}
{"time":5.5,"event":"evaluation","step":0,"round":0,"slices":{"wire/2026-01":{"bits_per_byte":8.5,"documents":3,"bytes":99}}}"""


def sources() -> dict[str, ast.AST]:
    """The product's files, without those that define the kinds."""
    paths = [path for package in ("data_ops", "ray_jobs") for path in (ROOT / package).rglob("*.py")]
    return {str(path): ast.parse(path.read_text()) for path in paths if path.name != "events.py"}


@pytest.mark.slow
def test_every_kind_is_told_somewhere_and_read_somewhere() -> None:
    told, read = set(), set()
    for node in (node for tree in sources().values() for node in ast.walk(tree)):
        match node:
            case ast.Call(func=ast.Name("isinstance"), args=[_, kinds]):
                read |= {name.id for name in ast.walk(kinds) if isinstance(name, ast.Name)}
            case ast.Call(func=ast.Name(name)):
                told.add(name)
            case ast.Call(func=ast.Attribute(attr="convert"), args=[_, ast.Name(name)]):
                told.add(name)
            case ast.MatchClass():
                read.add(ast.unparse(node.cls))
    kinds = {kind.__name__ for kind in get_args(Event)}
    assert kinds - told == set(), "told by nobody"
    assert kinds - read == set(), "read by nobody"


def test_the_kinds_keep_their_names_in_the_log() -> None:
    assert {str(kind.__struct_config__.tag) for kind in get_args(Event)} == KINDS | {"judged", "warning"}


def test_lines_of_an_older_version_are_read_and_keep_their_keys() -> None:
    for line in OLD_LINES.splitlines():
        event = event_of_line(line.encode())
        assert event is not None, line
        row = event_to_row(event)
        assert list(row)[:2] == ["time", "event"] and event_kind(event) == row["event"]
        old = json.loads(line)
        assert json.loads(json.dumps(row)) | old == json.loads(json.dumps(row)), "nothing else stands under an old key"


def test_an_event_crosses_processes_with_its_time() -> None:
    for event in (Started(step=3, workers=2), Evaluated(step=1, slices={}), WindowDone(window=0)):
        assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301 - how Ray carries it


@pytest.mark.parametrize(
    "spoilt", [b'{"event":"st', b"\xff\xfe\x00", b"", b"[1]", b'{"event":"of tomorrow"}', b"{}" * 9]
)
def test_a_torn_or_foreign_line_is_passed_over_wherever_it_stands(tmp_path: Path, spoilt: bytes) -> None:
    store = Store.open(str(tmp_path))
    first, last = (json.dumps(event_to_row(Warned(text=text))).encode() for text in ("first", "last"))
    store.write(run_path("news", "metrics.jsonl"), b"\n".join([spoilt, first, spoilt + first, spoilt, last, spoilt]))
    kept = read_events(store, "news")
    assert [event.text for event in kept if isinstance(event, Warned)] in (
        ["first", "last"],
        ["first", "first", "last"],
    )


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_no_line_at_all_can_end_a_reader(line: bytes) -> None:
    event_of_line(line)


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["event", "step", "time", "slices", "text", "dropped"]), inner),
        max_leaves=8,
    )
)
def test_no_json_at_all_can_end_a_reader(value: object) -> None:
    for kind in ("step", "window", "evaluation"):
        event_of_line(json.dumps({**value, "event": kind} if isinstance(value, dict) else value).encode())


def test_of_a_step_that_was_trained_again_the_last_one_counts() -> None:
    told = [StepDone(step=1, loss=3.0), StepDone(step=2, loss=2.5), StepDone(step=2, loss=2.25)]
    told += [StepDone(step=3, branch=True)]
    assert [step.loss for step in final_steps([*told, RoundBegun(round=1)])] == [3.0, 2.25]


def test_the_newest_events_cost_no_more_in_an_old_run_and_begin_with_a_whole_line(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    assert newest_events(store, "news") == []
    lines = [json.dumps(event_to_row(Warned(text=f"word {number}"))) for number in range(100)]
    store.write(run_path("news", "metrics.jsonl"), "\n".join(lines).encode() + b"\n")
    assert len(newest_events(store, "news")) == 100
    newest = newest_events(store, "news", 500)
    assert 0 < len(newest) < 10 and newest == read_events(store, "news")[-len(newest) :]
