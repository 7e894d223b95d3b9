"""What does a store say happened, and can it be true?

A second implementation, on purpose simple: rows of the Delta tables and lines of the original corpus in plain lists and
dicts, no code of the ledger or the account. `check` recomputes what must have become of every record of the corpus
(spelling, id, held out or not, repeat or not) and compares: every record in exactly one final state, every text in the
lake as it stands in the corpus, rounds without gap, every kept document fresh in one round, every ledger entry at a
place that exists, the last one behind everything.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from deltalake import DeltaTable

Row = dict[str, Any]
WORD = (1 << 64) - 1
SALT = 0x9E6C63D0876A9A35  # of held_out, as data_ops/documents/document.py documents it


@dataclass
class History:
    """The tables of a store and the checkpoints of one run, row by row."""

    windows: list[Row]
    documents: list[Row]
    rounds: list[Row]  # of the main line: fresh, replay, shed and what `plan` holds
    ledger: list[Row]
    checkpoints: list[Row]  # manifests that are there now, oldest first
    branches: list[tuple[Row, int]]  # checkpoints of decay branches, each with the steps its branch was planned for
    aside: list[int]  # steps of checkpoints that were found damaged
    steps: list[Row]  # step events of the main line, as told
    skips: list[int]  # steps told of the main line with skipped ones among them or behind them
    store: Path


@dataclass
class Verdict:
    """What the checker found; `states` counts every record of the corpus once."""

    lost: int = 0
    repeated: int = 0
    states: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing repeated, nothing pending, nothing that cannot be true."""
        return not (self.lost or self.repeated or self.problems or self.states["pending"])


def read_history(store: Path, run: str) -> History:
    """Read everything; nothing is judged yet."""
    table = {name: _rows(store / name) for name in ("windows", "documents", "rounds", "ledger")}
    rounds = [{**json.loads(row["plan"]), **row} for row in table["rounds"] if row["run"] == run]
    folder = store / "runs" / run
    manifests = sorted((folder / "checkpoints").glob("*.json"))
    aside = sorted(int(path.name.partition(".")[0]) for path in (folder / "checkpoints").glob("*.damaged*"))
    planned = {row["run"]: json.loads(row["plan"])["steps"] for row in table["rounds"] if "@" in row["run"]}
    branches = [_parsed(p.read_text()) for p in sorted((store / "runs").glob(f"{run}@*/checkpoints/*.json"))]
    told = [_parsed(line) for line in (folder / "metrics.jsonl").read_text(errors="replace").splitlines()]
    return History(
        windows=sorted(table["windows"], key=lambda row: row["window"]),
        documents=sorted(table["documents"], key=lambda row: (row["window"], row["position"])),
        rounds=sorted(rounds, key=lambda row: row["round"]),
        ledger=sorted((row for row in table["ledger"] if row["run"] == run), key=lambda row: row["sequence"]),
        checkpoints=[json.loads(path.read_text()) for path in manifests],
        branches=[(commit, planned.get(commit["run"], 0)) for commit in branches],
        aside=aside,
        steps=[e for e in told if e.get("event") == "step" and not e.get("branch")],
        skips=[e["step"] for e in told if e.get("event") == "step" and not e.get("branch") and e["skipped_steps"]],
        store=store,
    )


def check(history: History, corpus: Path, seed: int, held_out: float, min_chars: int) -> Verdict:
    """Compare a history with the corpus it must have come from, for a run that drained it."""
    verdict = Verdict()
    found = verdict.problems
    records = read_corpus(corpus)
    by_place: dict[tuple[str, int], list[Row]] = {}
    for row in history.documents:
        by_place.setdefault((row["partition"], row["offset"]), []).append(row)
    verdict.lost += len(records.keys() - by_place.keys())
    verdict.repeated += sum(len(rows) - 1 for rows in by_place.values())
    found += [f"{place} is in the lake and not in the corpus" for place in by_place.keys() - records.keys()]
    known: set[bytes] = set()
    for row in history.documents:  # in the order of the log: the first of several equal texts is the one that counts
        if (row["partition"], row["offset"]) in records:
            raw = records[row["partition"], row["offset"]]
            found += _check_document(row, raw, known, seed, held_out, min_chars)
    _check_windows(history, found)
    _check_rounds(history, verdict)
    _check_ledger(history, found)
    _check_checkpoints(history, found)
    return verdict


def read_corpus(corpus: Path) -> dict[tuple[str, int], bytes]:
    """Every line of every file, by (file, number of the line)."""
    lines: dict[tuple[str, int], bytes] = {}
    for path in sorted(corpus.rglob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1]):
            lines[str(path), number] = line
    return lines


def text_of(raw: bytes) -> str | None:
    """The document's text in its one spelling, None for a record that cannot be read."""
    record = _parsed(raw.decode())
    text = record.get("body") if isinstance(record, dict) else None
    if not isinstance(text, str):
        return None
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "", text)
    return re.sub("[ \t]+\n", "\n", text).strip(" \t\n")


def is_held_out(name: bytes, seed: int, share: float) -> bool:
    """Is this document one of those that are never trained on? One number after another."""
    high, low = int.from_bytes(name[:8], "big"), int.from_bytes(name[8:], "big")
    bits = _mix(_mix(high ^ _mix((seed ^ SALT) & WORD)) ^ low)
    return (bits >> 11) / 2**53 < share


def fresh_texts(history: History) -> Counter[str]:
    """The texts that were trained as fresh, with how often."""
    text = {(row["window"], row["position"]): row["text"] for row in history.documents}
    return Counter(text.get((d["window"], d["position"]), "?") for row in history.rounds for d in row["fresh"] or [])


def _check_document(row: Row, raw: bytes, known: set[bytes], seed: int, held_out: float, min_chars: int) -> list[str]:
    """Recompute what must have become of one record."""
    where = f"{Path(row['partition']).name}:{row['offset']}"
    text = text_of(raw)
    if text is None:
        return [] if row["fate"] == "quarantined" else [f"{where} cannot be read, but is {row['fate']}"]
    name = xxhash.xxh3_128_digest(text.encode())
    if not text or len(text) < min_chars:
        want = "dropped", "too_short" if text else "empty"
    elif name in known:
        want = "dropped", "duplicate"
    else:
        known.add(name)
        want = "held_out" if is_held_out(name, seed, held_out) else "kept", None
    found = []
    if (row["fate"], row["reason"]) != want:
        found.append(f"{where} is {row['fate']} ({row['reason']}), but should be {want[0]} ({want[1]})")
    if row["id"] != name:
        found.append(f"{where} has another id than its text")
    if want[1] is None and row["text"] != text:
        found.append(f"{where} holds {row['text']!r:.60} in the lake and {text!r:.60} in the corpus")
    if want[1] is None and bytes(row["tokens"] or []) != text.encode():
        found.append(f"{where} has tokens that do not spell its text")
    return found


def _check_windows(history: History, found: list[str]) -> None:
    """Numbered 0, 1, 2, ...; planned once, committed once as planned; holding the rows of their spans."""
    planned = [row for row in history.windows if row["event"] == "planned"]
    committed = [row for row in history.windows if row["event"] == "committed"]
    for rows, what in ((planned, "planned"), (committed, "committed")):
        if [row["window"] for row in rows] != list(range(len(rows))):
            found.append(f"windows {what}: {[row['window'] for row in rows]}")
    if [row["spans"] for row in planned] != [row["spans"] for row in committed]:
        found.append("a window was committed with other spans than planned, or never")
    held: dict[int, set[tuple[str, int]]] = {}
    for row in history.documents:
        held.setdefault(row["window"], set()).add((row["partition"], row["offset"]))
    for row in planned:
        spans = [span for spans in json.loads(row["spans"]).values() if isinstance(spans, list) for span in spans]
        promised = {(s["partition"], s["first_record"] + n) for s in spans for n in range(s["num_records"])}
        if held.get(row["window"], set()) != promised:
            found.append(f"window {row['window']} does not hold the records of its spans")


def _check_rounds(history: History, verdict: Verdict) -> None:
    """One behind the other, every kept document fresh (or shed) exactly once; counts every document's state."""
    found, end = verdict.problems, [0, 0]
    rows = {(row["window"], row["position"]): row for row in history.documents}
    done: Counter[tuple[int, int]] = Counter()
    shed: set[tuple[int, int]] = set()
    for number, manifest in enumerate(history.rounds):
        if manifest["round"] != number:
            found.append(f"round {manifest['round']} stands where round {number} should")
        if list(manifest["start"]) != end:
            found.append(f"round {number} starts at {manifest['start']}, not at {end}")
        end = list(manifest["end"])
        fresh = [(d["window"], d["position"]) for d in manifest["fresh"] or []]
        gone = [(d["window"], d["position"]) for d in manifest["shed"] or []]
        done.update(fresh + gone)
        shed.update(gone)
        for document in [*(manifest["fresh"] or []), *(manifest["replay"] or []), *(manifest["shed"] or [])]:
            place = document["window"], document["position"]
            row = rows.get(place)
            if row is None or row["fate"] != "kept" or row["id"] != document["id"]:
                found.append(f"round {number} holds {place}, which is no kept document of that id")
            elif row["num_tokens"] != document["num_tokens"]:
                found.append(f"round {number} counts {document['num_tokens']} tokens at {place}: {row['num_tokens']}")
        replayed = [(d["window"], d["position"]) for d in manifest["replay"] or []]
        if len(set(replayed)) < len(replayed) or set(replayed) & set(fresh):
            found.append(f"round {number} replays a document twice, or one that is fresh in it")
        if any(place >= tuple(manifest["start"]) for place in replayed):
            found.append(f"round {number} replays a document from behind its start")
    verdict.repeated += sum(count - 1 for count in done.values())
    for place, row in rows.items():
        if row["fate"] != "kept":
            verdict.states[row["fate"]] += 1
        elif place in shed:
            verdict.states["shed"] += 1
        else:
            behind = place not in done and list(place) < end
            verdict.lost += behind
            verdict.states["trained" if place in done else "lost" if behind else "pending"] += 1


def _check_ledger(history: History, found: list[str]) -> None:
    """Every entry at a place that exists, with the steps of all rounds before; back only from a damaged checkpoint."""
    steps = [manifest["steps"] for manifest in history.rounds]
    before = 0
    for number, entry in enumerate(history.ledger):
        here = entry["round"], entry["step_in_round"]
        if entry["sequence"] != number:
            found.append(f"ledger entry {entry['sequence']} stands where {number} should")
        if here[0] > len(steps) or here[1] > (steps[here[0]] if here[0] < len(steps) else 0):
            found.append(f"ledger entry {number} is at {here}, which no round has")
        elif entry["step"] != sum(steps[: here[0]]) + here[1]:
            found.append(
                f"ledger entry {number} says step {entry['step']} at {here}: {sum(steps[: here[0]]) + here[1]}"
            )
        if entry["step"] <= before and not any(entry["step"] < step for step in history.aside) and number:
            found.append(f"ledger entry {number} goes back to step {entry['step']} and no checkpoint was damaged")
        before = entry["step"]
    last = history.ledger[-1] if history.ledger else {"round": 0, "step_in_round": 0}
    if (last["round"], last["step_in_round"]) != (len(steps), 0):
        place = last["round"], last["step_in_round"]
        found.append(f"the ledger ends at {place}, not behind the last of {len(steps)} rounds")


def _check_checkpoints(history: History, found: list[str]) -> None:
    """The newest checkpoint is the one the ledger ends with and holds what was committed; branches are whole."""
    for commit, steps in history.branches:
        if commit["step_in_round"] != steps:
            found.append(f"branch {commit['run']} was committed with {commit['step_in_round']} of {steps} steps")
    if not history.checkpoints or not history.ledger:
        found.append("there is no checkpoint, or no ledger")
        return
    newest, last = history.checkpoints[-1], history.ledger[-1]
    if any(newest[key] != last[key] for key in ("step", "round", "step_in_round")):
        found.append(f"the newest checkpoint is at step {newest['step']}, the ledger ends with {last['step']}")
    for file in newest["files"]:
        path = history.store / file["path"]
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            found.append(f"{file['path']} does not hold what was committed")


def _rows(path: Path) -> list[Row]:
    rows: list[Row] = DeltaTable(str(path)).to_pyarrow_table().to_pylist()
    return rows


def _parsed(line: bytes | str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return {}


def _mix(word: int) -> int:
    """The splitmix64 finalizer after its increment (Steele, Lea, Flood 2014)."""
    word = (word + 0x9E3779B97F4A7C15) & WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)
