"""What does a person see while a run goes on?

One line a stage with counts and seconds, and one train line that updates in place where the output is a
terminal; elsewhere plain lines, for training at most one every few seconds. Nothing here decides anything.
With `--json` the lines go to stderr, so that stdout holds the one JSON object.
"""

import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.readable import is_number, many, rate, seconds, share, short, size, visible, whole
from data_ops.ingest.events import Warned, WindowDone
from ray_jobs.evaluation.decision import DecisionRow
from ray_jobs.report.data import Header
from ray_jobs.report.freshness import chain_of, sentences
from ray_jobs.report.progress import Asked, Progress
from ray_jobs.training.events import (
    BranchBegun,
    CandidateJudged,
    Committed,
    Event,
    Fault,
    RoundBegun,
    StepDone,
    StepSkipped,
)

BAR = 22
REDRAW_S = 0.1
LIVE_S = 86_400.0  # text older than a day is of an archive: how old it is says nothing of the run
EIGHTHS = " ▏▎▍▌▋▊▉"
NONE: Mapping[int, int] = {}
GOOD, BAD, SOFT, STRONG = "green", "bold red", "dim", "bold"


class Display:
    """The lines of a run; a context manager, so that the terminal is left clean whatever happens."""

    def __init__(
        self,
        *,
        stream: IO[str] | None = None,
        json: bool = False,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to `stream`, else to stdout, or to stderr with `json`; `every_s` paces plain train lines."""
        self.console = Console(file=stream or (sys.stderr if json else sys.stdout), highlight=False)
        self.every_s, self.clock = every_s, clock
        self._live: Live | None = None
        self._train: tuple[Text, bool] | None = None
        self._last_s = -every_s
        self.progress = Progress(Asked(), {}, 0, clock)

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last train line standing and give the terminal back."""
        if self._live and self._train:
            self._live.update(_row(self._label, self._train[0]), refresh=True)
            self._live.stop()
        elif self._train and not self._train[1]:
            self._line(self._label, self._train[0])
        self._live = self._train = None

    def header(self, facts: Header, asked: Asked | None = None, windows: Mapping[int, int] = NONE) -> None:
        """Tell what runs, on what, and from where it goes on.

        facts: as the driver's header. asked: what rounds should be like; windows: documents kept by each so far.
        """
        self.progress = Progress(asked or Asked(), windows, facts.get("resumed_step") or 0, self.clock)
        parts = [f"headrace {version('headrace')}", visible(facts.get("name", "")), visible(facts.get("store", ""))]
        if facts.get("workers"):
            parts.append(f"{many(facts['workers'], 'worker')} on {many(facts.get('nodes') or 1, 'node')}")
        if "zero_stage" in facts:
            parts.append(f"ZeRO-{facts['zero_stage']} {facts.get('precision', '')}".strip())
        if is_number(facts.get("parameters")):
            whole_model, trained = facts["parameters"], facts.get("trained_parameters", facts["parameters"])
            parts.append(f"{short(whole_model)} parameters" + f", {short(trained)} train" * (trained != whole_model))
        if facts.get("begins_with") and not facts.get("resumed_step"):
            parts.append(f"begins with {visible(facts['begins_with'])}")
        if facts.get("resumed_step"):
            parts.append(f"resumed at step {whole(facts['resumed_step'])} (round {whole(facts.get('resumed_round'))})")
        self.console.print(Text(" · ".join(part for part in parts if part), style=STRONG), soft_wrap=True)

    def event(self, happened: Event) -> None:
        """Show one event of a run in its line; what has no line is left out."""
        match happened:
            case WindowDone():
                self.window(happened)
            case RoundBegun():
                self.round(happened)
            case BranchBegun():
                self.branch(happened)
            case StepDone():
                self.train(happened)
            case Committed(branch=False):
                self._line("commit", Text(f"step {whole(happened.step)}  {size(happened.size_bytes)}"))
            case CandidateJudged():
                self.judged(happened)
            case Warned() | Fault():
                self.note(happened.text)
            case StepSkipped():
                self.note(f"step {happened.step} was skipped: {happened.text}")

    def window(self, done: WindowDone) -> None:
        """Tell what a window took in."""
        self.progress.window(done)
        line = Text(f"window {whole(done.window):<6} read {whole(done.read)}  ")
        line.append(f"kept {whole(done.kept)}", GOOD)
        line.append(f"  dropped {whole(sum(done.dropped.values()))}{_named(done.dropped)}")
        bad = f"  quarantined {whole(done.quarantined)}{_named(done.quarantined_by)}"
        line.append(bad, "yellow" if done.quarantined else "")
        if times := _named({note: n for note, n in done.times.items() if note != "missing"}):
            line.append(f"  times{times}", "yellow")
        self._line("ingest", line.append(f"  {seconds(done.seconds)}", SOFT))

    def round(self, begun: RoundBegun) -> None:
        """Tell what a round trains on."""
        self._finish_train()
        remarks = self.progress.round(begun)
        fresh, replay = begun.fresh_tokens, begun.replay_tokens
        line = Text(f"{self.progress.number(begun):<13} fresh {short(fresh)} tokens ")
        line.append(f"({whole(begun.fresh_documents)} documents)", SOFT)
        line.append(f" + replay {short(replay)} ({share(replay / ((fresh + replay) or 1))})")
        self._line("round", line.append(f"  {many(begun.steps, 'step')}", SOFT))
        if begun.shares:
            parts = ", ".join(f"{visible(label)} {share(part)}" for label, part in begun.shares.items())
            self._line("mixture", Text(f"version {whole(begun.mixture)}  {parts}", SOFT))
        for remark in remarks:
            self.note(remark)

    def branch(self, begun: BranchBegun) -> None:
        """Tell of the decay branch that is trained now."""
        self._finish_train()
        self.progress.branch(begun)
        line = Text(f"step {whole(begun.step):<8} a copy decays on replay {short(begun.tokens)} tokens")
        self._line("branch", line.append(f"  {many(begun.steps, 'step')}", SOFT))

    def train(self, step: StepDone) -> None:
        """Tell how training goes."""
        self.progress.done(step)
        line, done = _train_line(step, self.progress), step.step == self.progress.last
        pace_s = REDRAW_S if self.console.is_terminal else self.every_s
        due = done or self.clock() - self._last_s >= pace_s
        self._train = (line, due)
        if not due:
            return
        self._last_s = self.clock()
        if not self.console.is_terminal:
            self._line(self._label, line)
            return
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        self._live.update(_row(self._label, line), refresh=True)

    def judge(self, decision: DecisionRow) -> None:
        """Tell the gate's verdict, from `gate.Decision.to_dict()`."""
        self._finish_train()
        word = str(decision.get("verdict") or ("promoted" if decision.get("promoted") else "refused"))
        style = GOOD if decision.get("promoted") else SOFT if word == "not asked" else BAD
        reasons = [visible(reason) for reason in decision.get("reasons", [])]
        self._line("judge", Text(f"{word}: ", style).append("; ".join(reasons[:1]), style))
        for reason in reasons[1:4]:
            self._line("", Text(reason, SOFT))

    def judged(self, said: CandidateJudged) -> None:
        """Tell the gate's verdict as it falls, and which checkpoint is the champion from now on."""
        self.judge({"promoted": said.promoted, "verdict": said.verdict, "reasons": list(said.reasons)})
        if said.promoted:
            before = f" (was {visible(said.previous)})" if said.previous else " (the first)"
            name = visible(said.checkpoint) or whole(said.step)
            self._line("promoted", Text(f"checkpoint {name} is the champion", GOOD).append(before, SOFT))
            for line in sentences(chain_of([said]), LIVE_S):
                self._line("", Text(visible(line), SOFT))

    def ledger(self, counts: Mapping[str, object]) -> None:
        """Tell the proof: read, what it is made up of, lost, repeated."""
        self._finish_train()
        found = {
            name: counts.get(name)
            for name in ("trained", "pending", "held_out", "shed", "dropped", "quarantined", "forgotten", "skipped")
        }
        sums = {name: sum(n.values()) if isinstance(n, Mapping) else n for name, n in found.items()}
        shown = [f"{whole(n)} {name.replace('_', ' ')}" for name, n in sums.items() if n or name == "trained"]
        line = Text(f"{whole(counts.get('read'))} read = {' + '.join(shown)} · ")
        for name in ("lost", "repeated"):
            line.append(f"{name} {whole(counts.get(name, 0))}", BAD if counts.get(name) else GOOD)
            line.append(" · " if name == "lost" else "")
        self._line("ledger", line)

    def slices(self, found: Mapping[str, Mapping[str, float | None]], measure: str) -> None:
        """Show held-out bits per byte before and after, slice by slice. measure: what they are called."""
        for name, row in found.items():
            before, after = row.get("before"), row.get("after")
            if is_number(before) and is_number(after):
                line = Text(f"{visible(name):<28} {before:.3f} -> ").append(
                    f"{after:.3f}", GOOD if after < before else BAD
                )
                first, _, rest = measure.partition(" ")
                self._line(first, line.append(f"  {rest}", SOFT) if rest else line)

    def starting(self, address: str | None) -> None:
        """Tell at once what is being started: it takes seconds. address: of the Ray cluster; None: a local Ray."""
        what = f"connecting to Ray at {visible(address)}" if address else "starting Ray on this machine"
        self.console.print(Text(f" {what}, loading torch …", style=SOFT))

    def proof(self, run: str, store: str, *, ok: bool) -> None:
        """Tell in words what the ledger of a run shows."""
        of = f"run {visible(run)} in {visible(store)}: "
        if ok:
            self._line("proved", Text(f"{of}every document read is accounted for, none lost, none repeated", GOOD))
        else:
            self._line("FAILED", Text(f"{of}the tables do not prove it; what is wrong stands above", BAD))

    def report(self, path: str) -> None:
        """Tell where the report lies."""
        self._line("report", Text(visible(path)))

    def done(self, said: str) -> None:
        """Tell, last of all, that the run ended well."""
        self._line("done", Text(visible(said), GOOD))

    def note(self, said: str) -> None:
        """Tell something a person may have to act on."""
        self._line("note", Text(visible(said), "yellow"))

    @property
    def _label(self) -> str:
        return "decay" if self.progress.decays else "train"

    def _finish_train(self) -> None:
        if self._live or self._train:
            self.close()

    def _line(self, label: str, line: Text) -> None:
        if self.console.is_terminal:
            self.console.print(_row(label, line))
        else:
            self.console.print(Text(f" {label:<8} ").append_text(line), soft_wrap=True)


def _named(counts: Mapping[str, int]) -> str:
    """The two largest of some counts by reason, in brackets."""
    most = sorted(((reason, n) for reason, n in counts.items() if n), key=lambda item: -item[1])
    named = ", ".join(f"{visible(reason).replace('_', ' ')} {whole(n)}" for reason, n in most[:2])
    return f" ({named}{', ...' if len(most) > 2 else ''})" if named else ""


def _row(label: str, line: Text) -> Table:
    """Return a line with its label; what is too long hangs under the text, not under the label."""
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=9, no_wrap=True)
    row.add_column()
    row.add_row(Text(f" {label}", SOFT), line)
    return row


def _train_line(step: StepDone, progress: Progress) -> Text:
    first, last, line = progress.first, progress.last, Text()
    before = first if progress.decays else 0  # a branch counts its own steps
    if last > first:
        line.append(_bar((step.step - first) / (last - first)) + " ")
    line.append(whole(step.step - before), STRONG).append(f"/{whole(last - before)}" if last > first else "", SOFT)
    fresh = sorted(step.freshness_s)
    events = sorted(age for ages in step.to_gradient_s.values() for age in ages)
    events = events if events and events[0] >= 0 and events[-1] < LIVE_S else []  # text may also bear a date to come
    for value, write in (
        (step.loss, "loss {:.3f}".format),
        (step.tokens_per_second, lambda v: f"{short(v)} tok/s"),
        (step.mfu, "MFU {:.2f}".format),
        (step.data_wait_s / step.seconds if step.seconds else None, lambda v: f"wait {share(v)}"),
        (step.learning_rate, lambda v: f"lr {rate(v)}"),
        (fresh[int(0.95 * (len(fresh) - 1))] if fresh else None, lambda v: f"freshness p95 {seconds(v)}"),
        (events[int(0.95 * (len(events) - 1))] if events else None, lambda v: f"({seconds(v)} from the event)"),
    ):
        if value is not None:
            line.append(f"  {write(value)}", "" if is_number(value) else BAD)
    left_s = progress.left_s()
    return line.append(f"  {seconds(left_s)} left", SOFT) if left_s else line


def _bar(part: float) -> str:
    eighths = round(min(max(part, 0.0), 1.0) * BAR * 8)
    full, rest = divmod(eighths, 8)
    return "▕" + ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(BAR) + "▏"
