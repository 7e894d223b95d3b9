"""What does a store know of some documents? The answer to a request about somebody's data, in one command.

`headrace forget --report` deletes nothing. It tells of every document that a name means: was it here, from where, what
became of it, is it forgotten and since when, which rounds and checkpoints had it, and which champions have it in their
weights. Texts are left out, so that the answer does not spread what it is about. It costs two looks at the ids of the
lake, one more for each name that is no whole id, and one at all manifests.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypedDict

from cluster.readable import many
from cluster.storage.store import Store
from data_ops.audit.lookup import find_all
from data_ops.lake.lake import Lake
from ray_jobs.commands.tracing import DocumentStory, RunStory, stories
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champions import ServiceTime, champions
from ray_jobs.registry.exposure import SeenRow


class Carrier(TypedDict):
    """A champion that has a document in its weights; kept: False if its files are gone, None: nobody knows."""

    number: int
    checkpoint: str
    in_service: bool
    kept: bool | None


class DocumentAnswer(TypedDict):
    """What is known of a document. forgotten: since when, ISO 8601; copies: the places of its repeats."""

    id: str | None
    place: str
    external_id: str | None
    window: int
    arrived: str | None
    event_time: str | None
    fate: str
    reason: str | None
    forgotten: str | None
    text_is_here: bool
    copies: list[str]
    runs: list[RunStory]
    branches: list[SeenRow]
    champions: list[Carrier]


class NameAnswer(TypedDict):
    """What a name means; no document: the store has no record of it."""

    asked: str
    documents: list[DocumentAnswer]


class Report(TypedDict):
    """The whole answer; told: when, ISO 8601."""

    store: str
    told: str
    answers: list[NameAnswer]


def report_on(uri: str, names: Sequence[str]) -> Report:
    """Answer what is known of each name: an id, the first digits of one, an external id, source:partition:offset.

    Raises ConfigError if none is given.
    """
    if not names:
        raise ConfigError("no document is named; give ids, external ids or source:partition:offset, or --file ids.txt")
    store = Store.open(uri)
    lake, asked = Lake(store), list(dict.fromkeys(names))
    found = find_all(lake, asked)
    rows = [(name, row) for name in asked for row in found[name].documents]
    since, served = _forgotten(lake), champions(store)
    answers: dict[str, NameAnswer] = {name: {"asked": name, "documents": []} for name in asked}
    for (name, _), story in zip(rows, stories(lake, [row for _, row in rows]), strict=True):
        answers[name]["documents"].append(_answer(story, since, served))
    return {"store": uri, "told": datetime.now(UTC).isoformat(timespec="seconds"), "answers": list(answers.values())}


def _forgotten(lake: Lake) -> dict[str, str]:
    """Since when each forgotten document is, by its id."""
    table = lake.tombstones()
    rows = zip(table["id"].to_pylist(), table["forgotten"].to_pylist(), strict=True)
    return {name.hex(): time.isoformat(timespec="seconds") for name, time in rows}


def _answer(story: DocumentStory, since: dict[str, str], served: Sequence[ServiceTime]) -> DocumentAnswer:
    seen = {row["checkpoint"]: row for row in _checkpoints(story["runs"], story["branches"])}
    return {
        "id": story["id"],
        "place": f"{story['source']}:{story['partition']}:{story['offset']}",
        "external_id": story["external_id"],
        "window": story["window"],
        "arrived": story["arrived"],
        "event_time": story["event_time"],
        "fate": story["fate"],
        "reason": story["reason"],
        "forgotten": since.get(story["id"] or ""),
        "text_is_here": story["preview"] is not None,
        "copies": story["repeated_by"],
        "runs": story["runs"],
        "branches": story["branches"],
        "champions": [
            {
                "number": one.number,
                "checkpoint": one.name,
                "in_service": one.until_s is None,
                "kept": seen[one.name]["kept"],
            }
            for one in served
            if one.name in seen
        ],
    }


def _checkpoints(runs: Sequence[RunStory], branches: Sequence[SeenRow]) -> list[SeenRow]:
    """The checkpoints that had seen a document."""
    return [*(row for run in runs for row in run["checkpoints"]), *branches]


def report_lines(told: Report) -> list[str]:
    """The same as lines for people."""
    lines = [f"store      {told['store']}, as of {told['told']}"]
    for answer in told["answers"]:
        lines.append(f"asked      {answer['asked']}")
        for document in answer["documents"]:
            lines += _document_lines(document)
        if not answer["documents"]:
            lines.append("  known    nothing by that name; of a forgotten document only its id is left: ask by that")
    return lines


def _document_lines(told: DocumentAnswer) -> list[str]:
    lines = [
        f"  document {told['id'] or 'no id: it could not be read'}",
        f"  from     {told['place']}" + (f", external id {told['external_id']}" if told["external_id"] else ""),
        f"  arrived  {told['arrived']} in window {told['window']}",
    ]
    if told["forgotten"]:
        lines.append(f"  now      forgotten since {told['forgotten']}: its text is gone from the store")
    else:
        reason = f" ({told['reason']})" if told["reason"] else ""
        here = "its text is in the store" if told["text_is_here"] else "its text is not in the store"
        lines.append(f"  now      {told['fate']}{reason}; {here}")
    if told["copies"]:
        lines.append(f"  again    {many(len(told['copies']), 'time')}, without text: {', '.join(told['copies'][:5])}")
    for run in told["runs"]:
        rounds = ", ".join(f"{one['round']} ({one['as']})" for one in run["rounds"])
        lines.append(f"  run      {run['run']}: {run['state']}; rounds {rounds}")
    checkpoints = _checkpoints(told["runs"], told["branches"])
    kept = [row["checkpoint"] for row in checkpoints if row["kept"] is not False]
    here = f"; still here: {', '.join(kept)}" if kept else ""
    lines.append(f"  weights  {many(len(checkpoints), 'checkpoint')} had it{here}")
    for one in told["champions"]:
        state = "in service" if one["in_service"] else "not in service"
        files = {True: "", False: ", its files are gone", None: ", its files are elsewhere"}[one["kept"]]
        lines.append(f"  champion {one['number']} {one['checkpoint']}: {state}{files}; has it in its weights")
    return lines + ["  champion none has it in its weights"] * (not told["champions"])
