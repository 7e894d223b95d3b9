"""What is going on in a store: which runs, who drives them, how far are they, what is in service?

Read from the store alone, so it works beside a live run and on a machine without Ray.
"""

import time
from contextlib import suppress
from typing import TypedDict

import msgspec

from cluster.readable import seconds, visible
from cluster.storage.seal import DamagedError
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from data_ops.mixing.versions import versions
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.config.schema import Config
from ray_jobs.report.freshness import (
    Chain,
    KeptObjectives,
    KeptShare,
    chain_of,
    kept_objectives,
    objective_sentences,
    sentences,
)
from ray_jobs.report.terminal import Display
from ray_jobs.store.lease import Lease, holder, silent_s, unreleased
from ray_jobs.store.paths import fed_path, run_path, runs_of
from ray_jobs.training.events import CandidateJudged, Event, RoundBegun, event_to_row, newest_events, read_events


class Figures(msgspec.Struct):
    """What is told of a run's last summary."""

    loss: dict[str, float | None] = {}
    freshness_s: dict[str, float | None] | None = None


class RunStatus(TypedDict):
    """How a run stands; driver and died: processes, checkpoint: of the last commit, loss and freshness: at its end."""

    name: str
    driver: str | None
    died: str | None
    last_beat_s_ago: float | None
    step: int
    round: int
    tokens: int
    checkpoint: str | None
    committed_s_ago: float | None
    loss: float | None
    freshness_s: dict[str, float | None] | None
    from_event_s: Chain
    slo: dict[str, KeptShare]  # by source, of the newest events
    judged: dict[str, object] | None  # the last verdict, as an event's row
    drift: list[str]  # which sources have changed lately, and which wait for that


class SweepStatus(TypedDict):
    """Has a sweep ended?"""

    name: str
    ended: bool


class StoreStatus(TypedDict):
    """Everything `headrace status` tells; damaged: a sentence each."""

    store: str
    windows: int
    champion: dict[str, object] | None
    runs: list[RunStatus]
    sweeps: list[SweepStatus]
    damaged: list[str]


def status(store: Store) -> StoreStatus:
    """Look at a store and its runs."""
    lake = Lake(store)
    champion, damaged = None, []
    try:
        found = read_champion(store)
        champion = msgspec.to_builtins(found) if found is not None else None
    except DamagedError as error:
        damaged.append(str(error))
    runs = []
    for name in runs_of(store):
        try:
            runs.append(run_status(store, lake, name))
        except (DamagedError, commits.FormatError) as error:
            damaged.append(f"run {name}: {error}")
    sweeps: list[SweepStatus] = [
        {"name": path.split("/")[1], "ended": store.exists(path.replace("question.json", "summary.json"))}
        for path in store.list("runs")
        if path.count("/") == 2 and path.endswith("@sweep/question.json")
    ]
    return {
        "store": store.uri,
        "windows": lake.last_window() + 1,
        "champion": champion,
        "runs": runs,
        "sweeps": sweeps,
        "damaged": damaged,
    }


def run_status(store: Store, lake: Lake, run: str) -> RunStatus:
    """One run: its driver, its last commit and the figures of its last summary."""
    lease, driver = unreleased(store, run), holder(store, run)
    last = commits.newest_readable(store, run)
    notes = lake.ledger(run).select(["step", "round", "checkpoint", "committed"]).to_pylist()
    noted = notes[-1] if notes and store.exists(fed_path(run)) else None  # a loop keeps its checkpoints itself
    try:
        summary = read_json(store, run_path(run, "summary.json"), Figures)
    except (FileNotFoundError, DamagedError):  # it is derived: the next end of the run writes it anew
        summary = Figures()
    newest = newest_events(store, run)
    try:
        wanted = read_json(store, run_path(run, "config.json"), KeptObjectives)
    except (FileNotFoundError, DamagedError):
        wanted = KeptObjectives()
    judged = next((event for event in reversed(newest) if isinstance(event, CandidateJudged)), None)
    return {
        "name": run,
        "driver": _who(driver) if driver else None,
        "died": _who(lease) if lease and not driver else None,
        "last_beat_s_ago": _last_beat(store, lease) if lease else None,
        "step": last.step if last else noted["step"] if noted else 0,
        "round": last.round if last else noted["round"] if noted else 0,
        "tokens": last.state.position.tokens if last else 0,
        "checkpoint": last.name if last else noted["checkpoint"] if noted else None,
        "committed_s_ago": time.time() - notes[-1]["committed"].timestamp() if notes else None,
        "loss": summary.loss.get("last"),
        "freshness_s": summary.freshness_s,
        "from_event_s": chain_of(newest),
        "slo": kept_objectives(newest, wanted),
        "judged": event_to_row(judged) if judged else None,
        "drift": _drift(store, run, newest),
    }


def _drift(store: Store, run: str, events: list[Event]) -> list[str]:
    """What was said last of sources whose text has changed, or of those that wait for that."""
    there = versions(store, run)
    waiting = sorted({*there[-1].drifted} & {*there[-1].rule.paused}) if there else []
    if waiting:
        why = next(one.why for one in reversed(there) if one.by == "drift")
        return [f"{why}; {', '.join(waiting)} waits for headrace mix resume {' '.join(waiting)}"]
    told = (event.drifted for event in reversed(events) if isinstance(event, RoundBegun) and event.drifted)
    return list(next(told, ()))


def status_lines(found: StoreStatus) -> list[str]:
    """The same as lines for people."""
    champion = found["champion"]["checkpoint"] if found["champion"] else "none yet"
    lines = [f"store     {found['store']}   {found['windows']} windows   champion {champion}"]
    lines += [f"damaged   {sentence}" for sentence in found["damaged"]]
    for run in found["runs"]:
        state = f"live: {run['driver']}" if run["driver"] else "at rest"
        if run["died"]:
            beat = "never" if run["last_beat_s_ago"] is None else f"{seconds(run['last_beat_s_ago'])} ago"
            state = f"died: {run['died']}, last beat {beat}; the same command goes on"
        ago = "no commit yet" if run["committed_s_ago"] is None else f"committed {seconds(run['committed_s_ago'])} ago"
        loss = "" if run["loss"] is None else f"   loss {run['loss']:.3f}"
        if p95 := (run["freshness_s"] or {}).get("p95"):
            loss += f"   freshness p95 {seconds(p95)}"
        lines.append(f"run       {run['name']}   step {run['step']:,} (round {run['round']})   {ago}{loss}   {state}")
        lines += _judged_lines(run)
    lines += [f"sweep     {s['name']}   {'ended' if s['ended'] else 'begun'}" for s in found["sweeps"]]
    return lines


def _judged_lines(run: RunStatus) -> list[str]:
    """The last verdict on a candidate of a run, and how fresh it is, source by source."""
    lines = [f"fresh     {visible(line)}" for line in sentences(run["from_event_s"])]
    lines += [f"drift     {visible(line)}" for line in run["drift"]]
    lines += [f"slo       {visible(line)}" for line in objective_sentences(run["slo"])]
    if run["judged"] is not None:
        judged = msgspec.convert(run["judged"], CandidateJudged)
        ago = seconds(max(0.0, time.time() - judged.time))
        why = f": {judged.reasons[0]}" if judged.reasons else ""
        word = judged.verdict or ("promoted" if judged.promoted else "refused")
        lines.append(f"judged    {judged.checkpoint} {word} {ago} ago{visible(why)}")
    return lines


def _who(lease: Lease) -> str:
    return f"process {lease.pid} on {lease.host.partition(':')[0]}"


def _last_beat(store: Store, lease: Lease) -> float | None:
    with suppress(OSError):  # who may only read the store is not told
        silent = silent_s(store, lease)
        return None if silent is None else max(silent, 0.0)
    return None


POLL_SECONDS, ASK_SECONDS = 0.5, 5.0


def watch(config: Config) -> None:
    """Show a live run's lines as they come, until nobody drives it any more."""
    store, run, seen, asked = Store.open(config.store), config.name, 0, -ASK_SECONDS
    with Display() as display:
        while True:
            events = read_events(store, run)
            for event in events[seen:]:
                display.event(event)
            seen = len(events)
            if time.monotonic() - asked >= ASK_SECONDS:
                asked = time.monotonic()
                if holder(store, run) is None:
                    display.close()  # its last line of training stands above
                    display.note(f"nobody drives run {run} now")
                    return
            time.sleep(POLL_SECONDS)
