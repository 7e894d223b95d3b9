"""What has a sweep found: the ranked table, the best configuration, what it cost?

Read from the verdicts in the store alone, so it can be told at any time, also of a sweep that was stopped.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypedDict

import yaml

from cluster.storage.state import read_json
from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.store.paths import run_path
from ray_jobs.sweep.question import ENDING, said, schedule_of, sweep_of
from ray_jobs.sweep.trial.job import MarkVerdict, SweepJob, TrialEnd, end_path, result_path
from tune.critical_batch import CriticalBatch, OfBatch, critical_batch, propose_batches
from tune.policy import ranked
from tune.space import BATCH, RATE, Point

FINISHED, STOPPED, DIVERGED = ENDED = "finished", "stopped", "diverged"  # nothing more to train
WAITING, RUNNING, FAILED = "not started", "unfinished", "failed"
TOO_LARGE, IMPOSSIBLE = REFUSED = "too large", "impossible"  # never started


@dataclass
class TrialResult:
    """One line of the table, and the curve behind it."""

    key: str
    point: Point
    state: str = WAITING
    why: str = ""
    batch_tokens: int = 0
    lr: float = 0.0
    donor: str | None = None  # under pbt: whose weights it went on with
    verdicts: list[MarkVerdict] = field(default_factory=list)

    @property
    def last(self) -> MarkVerdict:
        """The verdict at the furthest mark; IndexError before the first."""
        return self.verdicts[-1]

    @property
    def mark(self) -> int:
        """The furthest mark at which it was judged; 0 before the first."""
        return self.last["mark"] if self.verdicts else 0

    @property
    def score(self) -> float | None:
        """Bits per byte at the furthest mark; None before the first, and of what has diverged."""
        return self.last["score"] if self.verdicts else None

    def line(self, marks: Sequence[int], best: "TrialResult | None") -> str:
        """What is said when it was judged."""
        last = self.last
        score = "diverged" if last["score"] is None else f"{last['score']:.4f} bits/byte"
        leads = "   best so far" if best is self and last["score"] is not None else ""
        return f"{self.key}  {last['tokens']:>12,}/{marks[-1]:,} tokens  {score}  {said(self.point)}{leads}"

    def figures(self) -> tuple[str, ...]:
        """The score, on fresh and on old text, and tokens, as the table shows them."""
        if not self.verdicts:
            return "–", "–", "–", "0"
        last = self.last
        bits = (last["score"], last["fresh"], last["old"])
        return *(f"{value:.4f}" if value is not None else "–" for value in bits), f"{last['tokens']:,}"

    def to_dict(self) -> dict[str, object]:
        """The line as plain values."""
        last: Mapping[str, object] = self.last if self.verdicts else {}
        return {
            **{name: value for name, value in asdict(self).items() if name not in ("verdicts", "point")},
            "config": self.point,
            **{name: last.get(name) for name in ("tokens", "trained", "score", "fresh", "old", "slices")},
            "marks": [[v["tokens"], v["score"]] for v in self.verdicts],
            "train_seconds": sum(v["train_seconds"] for v in self.verdicts),
        }


def read_trial(job: SweepJob, store: Store, key: str, point: Point, batch_tokens: int, lr: float) -> TrialResult:
    """What the store knows of a trial."""
    found = TrialResult(key, point, batch_tokens=batch_tokens, lr=lr)
    for number in range(1, len(job.marks) + 1):
        path = result_path(job.run, key, number)
        if not store.exists(path):
            if found.verdicts:
                break
            continue  # a member of a population begins behind a later mark
        found.verdicts.append(read_json(store, path, MarkVerdict))
    if found.verdicts:
        found.state = RUNNING
    if store.exists(end_path(job.run, key)):
        end = read_json(store, end_path(job.run, key), TrialEnd)
        found.state, found.why = end["state"], end.get("why", "")
    return found


def trials_in_order(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Best first; trials without a verdict at the end, as they were made."""
    judged = {trial.key: trial for trial in trials if trial.verdicts}
    order = ranked([trial.last for trial in judged.values()])
    return [judged[verdict["key"]] for verdict in order] + [t for t in trials if not t.verdicts]


def best_of(trials: Iterable[TrialResult]) -> TrialResult | None:
    """The best trial of those that got furthest; None before the first verdict."""
    judged = [trial for trial in trials if trial.score is not None]
    return trials_in_order(judged)[0] if judged else None


class SweepSummary(TypedDict):
    """What `--json` prints and summary.json keeps."""

    sweep: str
    start: str | None
    marks: tuple[int, ...]
    scheduler: str
    search: str
    seconds: float
    tokens: int
    full_tokens: int
    trials: list[dict[str, object]]
    best: dict[str, object] | None
    history: list[dict[str, object]] | None  # of a population's best
    best_yaml: str | None
    critical_batch: CriticalBatch | None
    noise_scale_tokens: float | None
    proposed_batches: list[int]


def summary(
    config: Config,
    job: SweepJob,
    trials: Sequence[TrialResult],
    best: TrialResult | None,
    noise_tokens: float | None,
    seconds: float,
) -> SweepSummary:
    """Sum a sweep up."""
    is_population = sweep_of(config).scheduler == "pbt"
    points: list[OfBatch] = [
        {"tokens": trial.last["tokens"], "score": trial.score, "point": {BATCH: trial.batch_tokens}}
        for trial in trials
        if trial.verdicts
    ]
    critical = None if is_population else critical_batch(points)
    return {
        "sweep": job.run,
        "start": job.start,
        "marks": job.marks,
        "scheduler": sweep_of(config).scheduler,
        "search": sweep_of(config).way,
        "seconds": seconds,
        "tokens": tokens_trained(trials),
        "full_tokens": job.marks[-1] * (sweep_of(config).trials if is_population else len(trials)),
        "trials": [trial.to_dict() for trial in trials],
        "best": best.to_dict() if best else None,
        "history": history(trials, best) if best and is_population else None,
        "best_yaml": f"{config.store}/{job.run_path('best.yaml')}" if best else None,
        "critical_batch": critical,
        "noise_scale_tokens": noise_tokens,
        "proposed_batches": propose_batches(critical, noise_tokens, config.model.row_tokens),
    }


def tokens_trained(trials: Sequence[TrialResult]) -> int:
    """Tokens of all trials together, up to their last mark."""
    return sum(trial.last["trained"] - trial.last["begun"] for trial in trials if trial.verdicts)


def history(trials: Sequence[TrialResult], last: TrialResult) -> list[dict[str, object]]:
    """The way of a member of a population: with which settings its weights were trained up to which tokens."""
    by_key = {trial.key: trial for trial in trials}
    way, here = [last], last
    while here.donor is not None and here.donor in by_key:
        here = by_key[here.donor]
        way.append(here)
    tokens = {t.key: t.last["tokens"] if t.verdicts else None for t in way}
    return [{"tokens": tokens[t.key], "config": t.point, "score": t.score} for t in reversed(way)]


def best_yaml(values: Mapping[str, object], best: TrialResult, run: str) -> str:
    """The best trial's configuration for `headrace run -c`, with what it is in a comment."""
    head = (
        f"# The best trial of sweep {run}: {best.key}, {best.score:.4f} bits per byte of averaged weights\n"
        f"# after {best.last['trained']:,} tokens; {said(best.point)}.\n"
    )
    if told := end_told(values):
        head += f"#{told}\n"
    return head + yaml.safe_dump(_plain(values), sort_keys=False, default_flow_style=None, width=100)


def end_told(values: Mapping[str, object]) -> str:
    """Tell where the learning rate of these settings ends; nothing where it has no end.

    >>> end_told({"optim": {"schedule": {"kind": "cosine", "tokens": 98304}}})
    ' (its schedule ends after 98,304 tokens; for a longer run set optim.schedule.tokens)'
    """
    schedule = schedule_of(values)
    if schedule.get("kind") not in ENDING or not schedule.get("tokens"):
        return ""
    return f" (its schedule ends after {schedule['tokens']:,} tokens; for a longer run set optim.schedule.tokens)"


def table_lines(trials: Sequence[TrialResult], most: int = 20) -> list[str]:
    """The ranked table as lines for people."""
    paths = sorted({path for trial in trials for path in trial.point if path not in (BATCH, RATE)})
    heads = [path.rpartition(".")[2] if path.rpartition(".")[2] != "kind" else "schedule" for path in paths]
    rows = [["", "trial", "bits/byte", "fresh", "old", "tokens", "batch", "lr", *heads, "state"]]
    for place, trial in enumerate(trials[:most], start=1):
        rows.append(
            [
                f"{place}",
                trial.key,
                *trial.figures(),
                f"{trial.batch_tokens:,}",
                f"{trial.lr:.3g}",
                *(str(trial.point.get(path, "–")) for path in paths),
                trial.state + (f": {trial.why}" if trial.why else ""),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    more = [f"  ... and {len(trials) - most} more"] if len(trials) > most else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ] + more


def forget_weights(store: Store, run: str) -> None:
    """Delete a trial's checkpoints; its verdicts stay."""
    store.delete(run_path(run, "checkpoints"))


def _plain(values: object) -> object:
    """Tuples as lists: what safe YAML knows."""
    if isinstance(values, Mapping):
        return {key: _plain(value) for key, value in values.items()}
    return [_plain(value) for value in values] if isinstance(values, list | tuple) else values
