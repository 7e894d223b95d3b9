"""What is done to a run, and when? A pure function of the seed.

A plan has stages: the corpus grows, `headrace run` drains it, faults come in between. A fault comes at a moment of
progress, never of wall time: so many windows, steps, commits or evaluations after the fault before it, when the run has
branched, or while the recovery from the fault before it is going on. So a schedule means the same on every machine.
"""

import itertools
from dataclasses import dataclass, replace
from random import Random

KILLS = ("driver", "worker", "peer", "feed", "coordinator", "shard", "seen", "ingest", "controller", "raylet", "gcs")
STOPS = ("sigterm", "hang")
POISONS = ("nan", "spike")  # one loss of one rank is not a number, or a thousandfold
DAMAGES = ("flip", "truncate", "manifest")  # what happens to the newest checkpoint while the driver is dead
STORAGE = ("storage_errors", "storage_hang", "storage_cut", "storage_reset")  # weather over a bucket (bucket.py)
FAULTS = (*KILLS, *STOPS, *DAMAGES, *POISONS, *STORAGE, "memory", "clock", "disk_full", "append")
# What is drawn from, each as often as it stands there.
INGESTING = ("ingest", "ingest", "seen", "seen", "feed", "shard", "driver", "raylet")  # before training begins
WITHIN = ("worker", "peer", "memory", "feed", "coordinator", "shard")  # what Ray starts again: seconds, not a minute
WHOLE = (
    "driver",
    "sigterm",
    "sigterm",
    "raylet",
    "gcs",
    "gcs",
    "controller",
    *DAMAGES,
)  # the command has to be started again
RECORDS = 420  # a stage: about 100 steps
FAULTS_PER_STAGE = 6
BUCKETS = 0.25  # how many of the plans have their store in a bucket
STORAGE_FAULTS = 2  # in each of these, at least


@dataclass(frozen=True)
class Moment:
    """When `what` has been told `count` times since the fault before; count is 0 for "recovery" and "branch"."""

    what: str  # window | step | commit | evaluation | recovery | branch
    count: int


@dataclass(frozen=True)
class Fault:
    """What is done, and when."""

    kind: str
    moment: Moment


@dataclass(frozen=True)
class Setting:
    """With what a command is started."""

    workers: int
    zero_stage: int


SETTINGS = (Setting(2, 2), Setting(2, 1), Setting(2, 3), Setting(1, 0))  # of runs that keep theirs


@dataclass(frozen=True)
class Plan:
    """One run: its corpus, its stages with their faults, and the settings that its starts take in turn."""

    seed: int
    corpus: int
    stages: tuple[tuple[Fault, ...], ...]
    settings: tuple[Setting, ...]  # one: the same at every start
    grows: bool  # by appends in the middle of a run, so that windows depend on when they come
    records: int = RECORDS
    bucket: bool = False  # the store is in a bucket, behind weather

    @property
    def faults(self) -> int:
        """How many faults it holds."""
        return sum(map(len, self.stages))


def plan(seed: int, faults: int, hang: bool = False) -> Plan:
    """Decide a run with so many kills and stops; full disks and appends come besides."""
    random = Random(f"plan {seed}")
    sort = ("same", "elastic", "grows")[seed % 3]
    settings: tuple[Setting, ...] = (random.choice(SETTINGS),)
    if sort == "elastic":
        settings = tuple(Setting(random.choice((1, 2)), random.choice((0, 1, 2, 3))) for _ in range(5))
    most = max(1, round(faults / FAULTS_PER_STAGE))
    parts = [faults // most + (n < faults % most) for n in range(most)]
    stages = tuple(_stage(random, count, hang, sort) for count in parts)
    decided = Plan(seed, seed // 3 % 2, stages, settings, sort == "grows")
    other = Random(f"bucket {seed}")  # of its own: all other plans would be the same without buckets
    return _in_a_bucket(decided, other) if other.random() < BUCKETS else decided


def _in_a_bucket(plan: Plan, random: Random) -> Plan:
    """The same plan over a network: what only a disk has becomes bad weather, and so do some kills if need be."""
    every = [fault for stage in plan.stages for fault in stage]
    chosen = [n for n, fault in enumerate(every) if fault.kind in (*DAMAGES, "disk_full")]
    others = [n for n, fault in enumerate(every) if fault.kind in WITHIN]
    chosen += random.sample(others, min(len(others), max(0, STORAGE_FAULTS - len(chosen))))
    kinds = itertools.cycle(random.sample(STORAGE, len(STORAGE)))
    for n in sorted(chosen):
        every[n] = replace(every[n], kind=next(kinds))
    faults = iter(every)
    stages = tuple(tuple(itertools.islice(faults, len(stage))) for stage in plan.stages)
    return replace(plan, stages=stages, bucket=True)


def _stage(random: Random, count: int, hang: bool, sort: str) -> tuple[Fault, ...]:
    """Faults of one stage: first while it ingests, then while it trains, at last when it branches.

    A step that was skipped leaves other weights, so runs of the sort "same" are not poisoned.
    """
    early = random.choice((0, 1, 1, 2)) if count > 2 else 0
    late = int(count > 3 and random.random() < 0.4)
    faults = [Fault(random.choice(INGESTING), Moment("window", random.randint(1, 4))) for _ in range(early)]
    whole = random.choice((0, 1, 1)) if early else 1  # one start more costs most of a minute
    kinds = [random.choice(WITHIN) for _ in range(count - early - late - whole)]
    kinds += [random.choice(WHOLE + (("hang", "hang") if hang else ())) for _ in range(whole)]
    random.shuffle(kinds)
    poisons = [] if sort == "same" else [random.choice(POISONS)]
    besides = ["disk_full", "clock", *poisons]  # they kill nothing, so they come on top
    for kind in besides:
        if random.random() < 0.25:
            kinds.insert(random.randint(0, len(kinds)), kind)
    faults += [Fault(kind, _moment(random, first=n == 0 and not early)) for n, kind in enumerate(kinds)]
    faults += [Fault(random.choice((*WITHIN, "driver", "sigterm")), Moment("branch", 0)) for _ in range(late)]
    if sort == "grows":
        faults.insert(random.randint(0, 1), Fault("append", Moment("window", random.randint(1, 3))))
    return tuple(faults)


def _moment(random: Random, first: bool) -> Moment:
    chance = random.random()
    if chance < 0.2 and not first:
        return Moment("recovery", 0)
    if chance < 0.4:
        return Moment("commit", random.randint(1, 2))
    if chance < 0.55:
        return Moment("evaluation", 1)
    return Moment("step", random.randint(2, 14))
