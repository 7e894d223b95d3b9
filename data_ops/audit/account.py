"""What became of every record ever read, and does it add up?

Computed from the lake's tables alone, without any counter that the run itself kept. Every record that a window
promised must have exactly one row, every kept row exactly one state: trained, skipped, shed, pending. What is pending
is told by the rounds and the ledger, not by subtraction, so `lost` and `repeated` are found, not inferred; both must
be 0. Tables are read in the order opposite to that in which they are written, so that a run or an ingest at work
beside it makes no false alarm. 1e6 records in 200 windows took 20 s and 0.6 GB on two cores that others used too.
"""

import json
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from data_ops.audit.losses import losses_of
from data_ops.audit.spans import Records, check_windows, read_records
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, place_keys
from data_ops.kernels.arrays import Bools
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake
from data_ops.lake.untaken import read_remainders
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest

Keys = npt.NDArray[np.int64]
PENDING, SHED, SKIPPED, TRAINED = range(4)  # of a document planned twice the last one counts
STATES = ("trained", "pending", "held_out", "shed", "dropped", "quarantined", "forgotten", "skipped", "lost")


@dataclass(frozen=True)
class Account:
    """Where the records are: read is the sum of all STATES; repeated ones are counted besides."""

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
    forgotten: int = 0
    skipped: int = 0  # trained in a step whose update was skipped
    run: str = ""
    waiting: int = 0  # files, at the last look at each source, of which more is read when their writers go on
    abandoned: int = 0  # files that were seen and gone before they were read to their end
    gone: int = 0  # records that were gone at their source before they were read, as `on_loss: continue` accepted
    losses: list[str] = field(default_factory=list)  # a sentence for each stretch of them
    damaged: int = 0  # records whose source says another thing than the lake
    untaken: dict[str, dict[str, dict[str, dict[str, int]]]] = field(default_factory=dict)  # by source, state, reason

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing repeated, nothing abandoned or damaged, nothing that does not add up."""
        return not (self.lost or self.repeated or self.abandoned or self.damaged or self.problems)

    def to_dict(self) -> dict[str, object]:
        """The face of `headrace verify --json`."""
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True)
class Stand:
    """Where the weights stand: (round, steps of it) of the last note in the ledger, and steps that changed nothing."""

    place: tuple[int, int] = (0, 0)
    skipped: frozenset[tuple[int, int]] = frozenset()  # (round, step in it, 0..)
    checkpoint: str = ""  # its name; "" at the beginning


@dataclass(frozen=True)
class Planned:
    """What the rounds say of the kept documents: how many are in each state, and what is wrong."""

    counts: dict[str, int]  # trained, skipped, shed, pending, lost: each kept document in exactly one
    repeated: int
    problems: list[str]


def account(lake: Lake, run: str) -> Account:
    """Audit one run against the whole lake. May run beside an ingest or the run itself."""
    stand = read_stand(lake, run)  # first what is written last: all that it names is in the tables read after it
    written, rounds = lake.num_rounds(run), lake.rounds(run)
    manifests = [Manifest.from_row(rows, i) for rows in [rounds] for i in range(rows.num_rows)]
    windows = [w for last in [lake.last_window()] for w in lake.windows(whole=False)[0] if w.window <= last]
    records = read_records(lake, windows)
    lost, repeated, problems = check_windows(windows, records)
    planned = check_rounds(manifests, records, stand)
    if written > len(manifests):
        problems.append(f"{len(manifests)} rounds are there of {written} that were written down")
    twice = _living_twice(records)
    if twice:
        problems.append(f"{twice} documents were kept or held out twice; deduplication should have dropped them")
    counts = {
        "read": len(records.keys) + lost,
        **{name: int(records.having(name).sum()) for name in ("held_out", "dropped", "quarantined", "forgotten")},
        **planned.counts,
        "lost": lost + planned.counts["lost"],
    }
    if counts["read"] != sum(counts[name] for name in STATES):
        problems.append(f"{counts['read']} records were read, but {counts} do not add up to it")
    remainders, losses = read_remainders(lake.store), losses_of(windows)
    return Account(
        **counts,
        repeated=repeated + planned.repeated + twice,
        problems=problems + planned.problems,
        run=run,
        waiting=sum(remainder.num("waiting", "unreadable") for remainder in remainders.values()),
        abandoned=sum(remainder.num("abandoned") for remainder in remainders.values()),
        gone=sum(loss.num_records for loss in losses),
        losses=[loss.sentence for loss in losses],
        untaken={label: remainder.to_dict() for label, remainder in remainders.items()},
    )


def read_stand(lake: Lake, run: str) -> Stand:
    """Where a run stands, by the last note in the ledger; notes of a driver that had lost the run do not count.

    Every note says by the holder of which lease it was made, and leases are numbered in the order in which the run
    was taken; a note of an older version does not say, and counts.
    """
    newest, stand = 0, Stand()
    for note in lake.ledger(run).select(["round", "step_in_round", "checkpoint", "state"]).to_pylist():
        state = json.loads(note["state"])
        if state.get("noted_by", newest) >= newest:
            newest = state.get("noted_by", newest)
            skipped = frozenset((int(r), int(s)) for r, s in state.get("position", {}).get("skipped", []))
            stand = Stand((note["round"], note["step_in_round"]), skipped, note["checkpoint"])
    return stand


def check_rounds(manifests: list[Manifest], records: Records, stand: Stand) -> Planned:
    """Give every kept document its one state, from the rounds and from where the weights stand.

    A forgotten document may still stand in a round that was planned before; a kept one behind which the rounds
    have gone without taking or shedding it is lost.
    """
    problems = _chain(manifests, stand)
    kept = np.sort(records.keys[records.having("kept")])
    parts = [(m.fresh, states_of(m, stand)[: len(m.fresh)]) for m in manifests]
    parts += [(m.shed, np.full(len(m.shed), SHED)) for m in manifests]
    keys = np.concatenate([np.empty(0, np.int64), *(_keys(documents) for documents, _ in parts)])
    states = np.concatenate([np.empty(0, np.int64), *(states for _, states in parts)])
    where, there = _find(kept, keys)
    forgotten = _find(np.sort(records.keys[records.having("forgotten")]), keys)[1]
    if strangers := int((~there & ~forgotten).sum()):
        problems.append(f"{strangers} planned documents are not kept ones: held out, dropped or unknown")
    if other := _renamed(manifests, records):
        problems.append(f"{other} planned documents have another id in the lake than in their round")
    ordered = np.sort(keys)
    repeated = int((ordered[1:] == ordered[:-1]).sum())
    found = np.full(len(kept), PENDING)
    planned = np.zeros(len(kept), bool)
    np.maximum.at(found, where[there], states[there])
    planned[where[there]] = True
    lost = ~planned & _passed(manifests, records)
    names = {"trained": TRAINED, "skipped": SKIPPED, "shed": SHED, "pending": PENDING}
    counts = {name: int(((found == state) & ~lost).sum()) for name, state in names.items()}
    return Planned({**counts, "lost": int(lost.sum())}, repeated, problems)


def _chain(manifests: list[Manifest], stand: Stand) -> list[str]:
    """Whether the rounds are numbered on, each starts where the one before ended, and the last commit is in one."""
    problems = []
    for number, manifest in enumerate(manifests):
        if manifest.round != number:
            problems.append(f"round {manifest.round} stands where round {number} should")
        if number and manifest.begins != manifests[number - 1].ends:
            before = manifests[number - 1].ends
            problems.append(
                f"round {number} starts at {_told(manifest.begins)}, round {number - 1} ended at {_told(before)}"
            )
    number, step = stand.place
    if number > len(manifests) or step > {m.round: m.steps for m in manifests}.get(number, 0):
        problems.append(f"the last commit is at step {step} of round {number}, which no manifest has")
    return problems


def _told(stands: Frontier) -> str:
    """A frontier in words."""
    return ", ".join([str(tuple(stands.base)), *(f"{label} {tuple(at)}" for label, at in stands.ahead.items())])


def _passed(manifests: list[Manifest], records: Records) -> Bools:
    """Which kept documents, in the order of the log, the rounds have gone behind, each in its own source's log."""
    kept = records.having("kept")
    keys, partitions = records.keys[kept], records.partitions[kept]
    stands = manifests[-1].ends if manifests else Frontier()
    ends = np.zeros(len(records.numbers), np.int64)
    for (source, _), number in records.numbers.items():
        ends[number] = stands.of(source).key
    passed: Bools = (keys < ends[partitions])[np.argsort(keys, kind="stable")]
    return passed


def states_of(manifest: Manifest, stand: Stand) -> Keys:
    """The state of each document of a round, fresh ones first; it is packed again only where that matters."""
    number, skipped = manifest.round, [s for r, s in stand.skipped if r == manifest.round]
    if number != stand.place[0] and not skipped:
        return np.full(len(manifest.fresh) + len(manifest.replay), TRAINED if number < stand.place[0] else PENDING)
    last = Layout(manifest).last_steps
    done = last < (stand.place[1] if number == stand.place[0] else manifest.steps * (number < stand.place[0]))
    return np.where(done, np.where(np.isin(last, skipped), SKIPPED, TRAINED), PENDING)


def _renamed(manifests: list[Manifest], records: Records) -> int:
    """How many planned documents have another id at their place than their round says."""
    order = np.argsort(records.keys, kind="stable")
    keys, wrong = records.keys[order], 0
    for manifest in manifests:
        for documents in (manifest.fresh, manifest.replay, manifest.shed):
            where, there = _find(keys, _keys(documents))
            found = records.ids[order[where[there]]]
            wrong += int((found != documents.ids[there]).any(axis=1).sum())
    return wrong


def _living_twice(records: Records) -> int:
    living = records.having("kept") | records.having("held_out") | records.having("forgotten")
    return int((~SeenIds().add_new(records.ids[living])).sum())


def _find(ordered: Keys, keys: Keys) -> tuple[Keys, Bools]:
    """Where each key stands in an ordered array, and whether it does."""
    where = np.minimum(np.searchsorted(ordered, keys), max(0, len(ordered) - 1))
    there: Bools = ordered[where] == keys if len(ordered) else np.zeros(len(keys), bool)
    return where, there


def _keys(documents: Documents) -> Keys:
    return place_keys(documents.windows, documents.positions)
