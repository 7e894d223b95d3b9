"""What became of every record ever read, and does it add up?

Computed from the lake's tables alone, without any counter that the run itself kept: records are counted against the
spans that were planned, documents against the rounds they were planned into, rounds against the last committed
checkpoint. `lost` and `repeated` must be 0; everything else is where documents rightly are.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.lake import Lake, Window
from data_ops.places import Documents
from data_ops.rounds import Layout, Manifest

COLUMNS = ["window", "position", "source", "partition", "offset", "fate", "reason"]
Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Account:
    """Where the records are; read = trained + pending + held_out + shed + dropped + quarantined + lost."""

    read: int
    trained: int
    pending: int
    held_out: int
    shed: int
    dropped: int
    quarantined: int
    lost: int
    repeated: int
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing repeated, nothing that does not add up."""
        return self.lost == 0 and self.repeated == 0 and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The face of `headrace verify --json`."""
        return {**asdict(self), "ok": self.ok}


def account(lake: Lake, run: str) -> Account:
    """Audit one run against the whole lake."""
    windows, _ = lake.windows()
    documents = lake.documents(0, lake.last_window(), COLUMNS)
    lost, repeated, problems = check_windows(windows, documents)
    keys = place_keys(documents["window"].to_numpy(), documents["position"].to_numpy())
    fates = documents["fate"]
    of = {f: keys[pc.equal(fates, f).to_numpy()] for f in ("kept", "held_out", "dropped", "quarantined")}
    manifests = [Manifest.from_row(rows, i) for rows in [lake.rounds(run)] for i in range(rows.num_rows)]
    ledger = lake.ledger(run)
    place = (ledger["round"][-1].as_py(), ledger["step_in_round"][-1].as_py()) if ledger.num_rows else (0, 0)
    trained, shed, planned_twice, lost_in_plan, more = check_rounds(manifests, of["kept"], place)
    found = Account(
        read=documents.num_rows + lost,
        trained=trained,
        pending=len(of["kept"]) - trained - shed - lost_in_plan,
        held_out=len(of["held_out"]),
        shed=shed,
        dropped=len(of["dropped"]),
        quarantined=len(of["quarantined"]),
        lost=lost + lost_in_plan,
        repeated=repeated + planned_twice,
        problems=problems + more,
    )
    parts = ("trained", "pending", "held_out", "shed", "dropped", "quarantined", "lost")
    if found.read != sum(getattr(found, part) for part in parts):
        found.problems.append(f"{found.read} records were read, but {parts} add up to another number")
    return found


def check_windows(windows: list[Window], documents: pa.Table) -> tuple[int, int, list[str]]:
    """Compare the rows of every window with the spans it promised: (lost, repeated, problems)."""
    problems: list[str] = []
    numbers = [w.window for w in windows]
    if numbers != list(range(len(numbers))):
        problems.append(f"windows are numbered {numbers[:5]}..., not 0, 1, 2, ...")
    promised = sum(w.num_records for w in windows)
    names = documents.group_by(["source", "partition", "offset"]).aggregate([([], "count_all")])
    repeated = int(pc.sum(pc.subtract(names["count_all"], 1)).as_py() or 0)
    expected = {(label, span.partition): set() for w in windows for label, spans in w.spans.items() for span in spans}  # type: dict[tuple[str, str], set[tuple[int, int]]]
    for w in windows:
        for label, spans in w.spans.items():
            for span in spans:
                expected[(label, span.partition)].add((span.first_record, span.num_records))
    bounds = documents.group_by(["source", "partition"]).aggregate([("offset", "max"), ("offset", "count_distinct")])
    for row in bounds.to_pylist():
        pieces = sorted(expected.get((row["source"], row["partition"]), ()))
        ends = [first + count for first, count in pieces]
        gaps = [first for (first, _), end in zip(pieces[1:], ends, strict=False) if first != end]
        if not pieces or gaps or pieces[0][0] != 0 or row["offset_max"] >= ends[-1]:
            problems.append(f"{row['source']}: the spans of {row['partition']} leave a gap or overlap")
    short = [w for w in windows if w.counts is not None and w.counts["read"] != w.num_records]
    problems += [f"window {w.window} says it read {(w.counts or {})['read']} of {w.num_records} records" for w in short]
    return max(0, promised - names.num_rows), repeated, problems


def check_rounds(manifests: list[Manifest], kept: Keys, place: tuple[int, int]) -> tuple[int, int, int, int, list[str]]:
    """Compare the rounds with the kept documents: (trained, shed, repeated, lost, problems).

    place: (round, steps of it) of the last committed checkpoint; what lies before it is trained.
    """
    problems: list[str] = []
    fresh, shed, trained = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for number, manifest in enumerate(manifests):
        if manifest.round != number:
            problems.append(f"round {manifest.round} stands where round {number} should")
        if number and manifest.start != manifests[number - 1].end:
            problems.append(f"round {number} starts at {manifest.start}, not where round {number - 1} ended")
        fresh.append(_keys(manifest.fresh))
        shed.append(_keys(manifest.shed))
        if manifest.round < place[0]:
            trained += len(manifest.fresh)
        elif manifest.round == place[0]:
            done = Layout(manifest).last_steps[: len(manifest.fresh)] < place[1]
            trained += int(done.sum())
    if place[0] > len(manifests) or place[1] > {m.round: m.steps for m in manifests}.get(place[0], 0):
        problems.append(f"the last commit is at step {place[1]} of round {place[0]}, which no manifest has")
    all_fresh, all_shed = np.concatenate(fresh), np.concatenate(shed)
    planned = np.concatenate([all_fresh, all_shed])
    repeated = len(planned) - len(np.unique(planned))
    if strangers := int((~np.isin(planned, kept)).sum()):
        problems.append(f"{strangers} planned documents are not kept ones: held out, dropped or unknown")
    end = place_keys(*(np.array([x]) for x in manifests[-1].end))[0] if manifests else 0
    lost = int((~np.isin(kept[kept < end], planned)).sum())
    return trained, len(np.unique(all_shed)), repeated, lost, problems


def place_keys(windows: npt.NDArray[Any], positions: npt.NDArray[Any]) -> Keys:
    """One number per place in the log, in log order."""
    return windows.astype(np.int64) << 32 | positions.astype(np.int64)


def _keys(documents: Documents) -> Keys:
    return place_keys(documents.windows, documents.positions)
