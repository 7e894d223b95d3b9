"""Where did a document come from, what happened to it, and which rounds, checkpoints and champion have seen it?

Everything is told by the lake's tables, so it works beside a live run and on a machine without Ray. An id is looked
for in one column of all documents, its rounds in all manifests: seconds at some million documents.
"""

import json
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pyarrow as pa

from cluster.storage.store import Store
from data_ops.audit.account import read_stand
from data_ops.audit.lookup import DocumentRow, find, rows_of_ids
from data_ops.audit.sightings import Sighting, sightings
from data_ops.curation.reasons import meaning_of
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.exposure import ChampionSeen, Exposure, Seen, SeenRow, champion_seen
from ray_jobs.serving.answer_id import AnswerName
from ray_jobs.serving.followed import AnswerOrigin, origin_lines, origin_of

PREVIEW_CHARS = 160
MOST_NAMED = 5
LIVED = ("kept", "held_out", "forgotten")


class DocumentOrigin(TypedDict):
    """Where a document came from; id: 32 hexadecimal digits, times: ISO 8601."""

    id: str | None
    source: str
    partition: str
    offset: int
    external_id: str | None
    window: int
    position: int
    time_note: str | None
    weight: float
    num_bytes: int
    event_time: str | None
    arrived: str | None


class DocumentFate(TypedDict):
    """What became of a document, and of the others with its text; preview: its first characters."""

    fate: str
    reason: str | None
    meaning: str | None
    num_tokens: int
    preview: str | None
    repeats: str | None
    repeated_by: list[str]


RoundStory = TypedDict("RoundStory", {"round": int, "as": str, "steps": list[int]})


class RunStory(TypedDict):
    """What a run made of a document."""

    run: str
    state: str
    rounds: list[RoundStory]
    checkpoints: list[SeenRow]


class DocumentStory(DocumentOrigin, DocumentFate):
    """All that `headrace trace` tells of a document."""

    runs: list[RunStory]
    branches: list[SeenRow]
    champion: ChampionSeen | None


class AnswerStory(AnswerOrigin):
    """All that `headrace trace` tells of an answer; feedback: the documents that were said of it."""

    feedback: list[DocumentStory]


def trace(uri: str, names: list[str]) -> DocumentStory:
    """Tell a document's story; ConfigError unless one name is given, and if it means none or several."""
    if len(names) != 1:
        raise ConfigError(f"trace tells of one document, {len(names)} are named; give one id, external id or place")
    lake = Lake(Store.open(uri))
    return stories(lake, [_one(lake, uri, names[0])])[0]


def trace_answer(uri: str, text: str, answer: AnswerName) -> AnswerStory:
    """Tell where an answer came from, and what became of what was said of it; ConfigError for another store's."""
    lake = Lake(Store.open(uri))
    origin = origin_of(lake, text, answer)
    return {**origin, "feedback": stories(lake, find(lake, text).documents)}


def answer_story_lines(story: AnswerStory) -> list[str]:
    """The same as lines for people."""
    lines = origin_lines(story)
    for document in story["feedback"]:
        lines += ["", *trace_lines(document)]
    return lines if story["feedback"] else [*lines, "feedback   none is in the store"]


def stories(lake: Lake, rows: Sequence[DocumentRow]) -> list[DocumentStory]:
    """Tell the stories of documents; ids, manifests and ledger are read once for all of them."""
    store, named = lake.store, list(dict.fromkeys(row["id"] for row in rows if row["id"] is not None))
    same, exposure = rows_of_ids(lake, named), Exposure(lake.store, lake)
    found = sightings(lake, ids_to_array(pa.array(named, pa.binary(16))))
    told: list[DocumentStory] = []
    for row in rows:
        mine = [one for one in found if row["id"] is not None and named[one.document] == row["id"]]
        checkpoints = exposure.of(mine)
        runs = [_run_story(lake, run, mine, checkpoints) for run in sorted({one.run for one in mine})]
        branches = [seen.row for seen in checkpoints if seen.run not in {run["run"] for run in runs}]
        champion = champion_seen(store, checkpoints)
        fate = _fate(row, same.get(row["id"] or b"", [row]))
        told.append({**_origin(row), **fate, "runs": runs, "branches": branches, "champion": champion})
    return told


def _run_story(lake: Lake, run: str, found: list[Sighting], checkpoints: list[Seen]) -> RunStory:
    rounds: list[RoundStory] = [
        {"round": one.round, "as": one.part, "steps": list(one.steps)} for one in found if one.run == run
    ]
    seen = [one.row for one in checkpoints if one.run == run]
    return {"run": run, "state": _state(lake, run, found), "rounds": rounds, "checkpoints": seen}


def _one(lake: Lake, store: str, name: str) -> DocumentRow:
    found = find(lake, name).documents
    if not found:
        raise ConfigError(
            f"{store} has read no document {name}; give its id, the first digits of it, its external id, or "
            "source:partition:offset"
        )
    if len(found) > 1:
        names = ", ".join(_name(row) for row in found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")
        raise ConfigError(f"{name} may be {len(found)} documents: {names}; name one of them")
    return found[0]


def _name(row: DocumentRow) -> str:
    return row["id"].hex() if row["id"] is not None else _place(row)


def _place(row: DocumentRow) -> str:
    return f"{row['source']}:{row['partition']}:{row['offset']}"


def _origin(row: DocumentRow) -> DocumentOrigin:
    return {
        "id": row["id"].hex() if row["id"] is not None else None,
        "source": row["source"],
        "partition": row["partition"],
        "offset": row["offset"],
        "external_id": row["external_id"],
        "window": row["window"],
        "position": row["position"],
        "time_note": row["time_note"],
        "weight": row["weight"],
        "num_bytes": row["num_bytes"],
        "event_time": row["event_time"].isoformat() if row["event_time"] is not None else None,
        "arrived": row["arrived"].isoformat() if row["arrived"] is not None else None,
    }


def _fate(row: DocumentRow, same: list[DocumentRow]) -> DocumentFate:
    text = row["text"]
    original = next((r for r in same if r["fate"] in LIVED), None)
    is_original = original is not None and _place(row) == _place(original)
    is_repeat = row["reason"] in ("duplicate", "forgotten") and row["fate"] == "dropped"
    return {
        "fate": row["fate"],
        "reason": row["reason"],
        "meaning": meaning_of(row["reason"]) if row["reason"] and row["fate"] != "forgotten" else None,
        "num_tokens": row["num_tokens"],
        "preview": text[:PREVIEW_CHARS] if text is not None else None,
        "repeats": _place(original) if is_repeat and original is not None else None,
        "repeated_by": [_place(r) for r in same if r["fate"] == "dropped"] if is_original else [],
    }


def _state(lake: Lake, run: str, found: list[Sighting]) -> str:
    """What a run made of it so far: trained, pending, shed or only replayed, by the last note in its ledger."""
    mine = [s for s in found if s.run == run]
    stand = read_stand(lake, run)
    fresh = next((s for s in mine if s.part != "replay"), None)
    if fresh is None:
        return "replayed"
    if fresh.part == "shed":
        return "shed"
    last = fresh.round, fresh.steps[-1]
    if last >= stand.place:
        return "pending"
    return "skipped" if last in stand.skipped else "trained"


def trace_lines(story: DocumentStory) -> list[str]:
    """The same as lines for people."""
    why = f"{story['reason']}: {story['meaning']}" if story["meaning"] else story["reason"]
    reason = f" ({why})" if why else ""
    again = f"; the same text as {story['repeats']}" if story["repeats"] else ""
    lines = [
        f"document   {story['id'] or 'no id: it could not be read'}",
        f"from       {story['source']}:{story['partition']}:{story['offset']}",
        f"arrived    {story['arrived']} in window {story['window']}, position {story['position']}",
        f"event time {story['event_time'] or 'unknown'}" + (f" ({story['time_note']})" if story["time_note"] else ""),
        f"fate       {story['fate']}{reason}{again}",
    ]
    if story["external_id"]:
        lines.insert(2, f"external   {story['external_id']}")
    if story["preview"] is not None:
        lines.append(f"text       {json.dumps(story['preview'], ensure_ascii=False)}")
    if story["repeated_by"]:
        lines.append(f"came again {len(story['repeated_by'])} times, dropped: {', '.join(story['repeated_by'][:5])}")
    for run in story["runs"]:
        lines.append(f"run        {run['run']}: {run['state']}")
        for each in run["rounds"]:
            steps = f", steps {_ranges(each['steps'])} of it" if each["steps"] else ""
            lines.append(f"  round    {each['round']} as {each['as']}{steps}")
        lines += [_checkpoint_line(c) for c in run["checkpoints"]]
    lines += [_checkpoint_line(c) for c in story["branches"]]
    if not story["runs"]:
        lines.append("rounds     none has it")
    if story["champion"]:
        has = "has seen it" if story["champion"]["seen"] else "has not seen it"
        lines.append(f"champion   {story['champion']['checkpoint']} {has}")
    return lines


def _checkpoint_line(checkpoint: SeenRow) -> str:
    kept = {True: "kept", False: "retired", None: "of a loop of your own"}[checkpoint["kept"]]
    return f"  seen by  checkpoint {checkpoint['checkpoint']} ({kept}, {checkpoint['committed']})"


def _ranges(steps: list[int]) -> str:
    """Steps as people write them.

    >>> _ranges([0, 1, 2, 5])
    '0-2, 5'
    """
    parts = np.split(np.array(steps), np.flatnonzero(np.diff(steps) != 1) + 1)
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
