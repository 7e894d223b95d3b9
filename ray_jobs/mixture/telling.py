"""What is told of a mixture, as JSON and as lines for people?"""

from datetime import UTC, datetime

from cluster.readable import seconds, share, short, whole
from cluster.storage.store import Store
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.forecast import forecast
from data_ops.mixing.shares import shares_at
from data_ops.mixing.versions import MixtureVersion
from ray_jobs.mixture.standing import Standing
from ray_jobs.training.events import StepDone, newest_events


def version_row(version: MixtureVersion) -> dict[str, object]:
    """A version as plain values."""
    mixture = version.mixture
    return {
        "version": version.version,
        "from_round": version.from_round,
        "by": version.by,
        "written": datetime.fromtimestamp(version.written_s, UTC).isoformat(timespec="seconds"),
        "why": version.why,
        "mixture": None if mixture is None else mixture.model_dump(mode="json", exclude_defaults=True),
    }


def shown(found: Standing) -> dict[str, object]:
    """What `headrace mix show --json` tells."""
    in_force, stated = found.in_force, shares_at(found.newest, found.trained)
    return {
        "in_force": None if in_force is None else in_force.version,
        "planned_rounds": found.num_rounds,
        "planned_tokens": found.trained,
        "kind": found.newest.kind,
        "shares": stated,
        "realised": found.realised(),
        "waiting_tokens": found.waiting,
        "paused": list(found.newest.paused),
        "removed": list(found.newest.removed),
        "replay_share": found.replay_share,
        "max_repeats": found.newest.max_repeats,
        "versions": [version_row(version) for version in found.versions],
    }


def shown_lines(found: Standing) -> list[str]:
    """The same for people."""
    in_force, newest = found.in_force, found.versions[-1] if found.versions else None
    which = "none: fresh text comes in the order of the log" if in_force is None else f"version {in_force.version}"
    lines = [f"mixture   {which}   {whole(found.num_rounds)} rounds planned, {short(found.trained)} tokens"]
    if newest is not None and (in_force is None or newest.version != in_force.version):
        begins = max(found.num_rounds, newest.from_round)
        lines.append(f"waits     version {newest.version} is in force from round {whole(begins)} on: {newest.why}")
    if newest is not None and newest.by == "drift":
        lines.append(f"drift     {newest.why}")
    stated, realised = shares_at(found.newest, found.trained) or {}, found.realised()
    for label in sorted({*stated, *realised, *found.waiting, *found.newest.paused, *found.newest.removed}):
        parts = [f"{label:<20}", f"share {_share(stated.get(label)):>6}", f"trained {_share(realised.get(label)):>6}"]
        parts.append(f"waiting {short(found.waiting.get(label, 0)):>7} tokens")
        lines.append("   ".join(["source    " + parts[0], *parts[1:], *_idle(found.newest, label)]))
    return lines


def planned(store: Store, run: str, found: Standing) -> dict[str, object]:
    """How long each source lasts, if nothing arrives: what `headrace mix plan --json` tells."""
    last = forecast(found.newest, found.waiting, found.trained, found.replay_share)
    rate = next((e.tokens_per_second for e in reversed(newest_events(store, run)) if isinstance(e, StepDone)), 0.0)
    rows = {}
    for label, one in last.items():
        tokens = None if one.until is None else one.until - found.trained
        lasts_s = tokens / rate if tokens is not None and rate > 0 else None
        rows[label] = {**one._asdict(), "tokens": tokens, "seconds": lasts_s}
    replay = {}
    for label, (left, share_of_tokens) in found.repeats.items():
        tokens = round(left / share_of_tokens) if share_of_tokens else None
        lasts_s = tokens / rate if tokens is not None and rate > 0 else None
        replay[label] = {"left": left, "share": share_of_tokens, "tokens": tokens, "seconds": lasts_s}
    return {"planned_tokens": found.trained, "tokens_per_second": rate, "sources": rows, "replay": replay}


def planned_lines(found: Standing, told: dict[str, object]) -> list[str]:
    """The same for people."""
    rows, lines = told["sources"], list[str]()
    assert isinstance(rows, dict)
    for label, row in rows.items():
        line = f"{label:<20} {short(row['waiting']):>7} tokens wait   share {_share(row['share']):>6}   "
        if row["until"] is None:
            line += "is not trained" + "".join(f": {word}" for word in _idle(found.newest, label))
        else:
            line += f"lasts for {short(row['tokens'])} trained tokens"
            line += f", about {seconds(row['seconds'])}" if row["seconds"] is not None else ""
        lines.append(line)
    replay = told["replay"]
    assert isinstance(replay, dict)
    for label, row in replay.items():
        line = f"{label:<20} {short(row['left']):>7} tokens may be replayed   share {_share(row['share']):>6}   "
        tokens = row["tokens"]
        lasts = "was not replayed lately" if tokens is None else f"last for {short(tokens)} trained tokens"
        lines.append(line + lasts + (f", about {seconds(row['seconds'])}" if row["seconds"] is not None else ""))
    return lines or ["nothing waits"]


def _share(value: float | None) -> str:
    return "-" if value is None else share(value)


def _idle(mixture: MixtureConfig, label: str) -> list[str]:
    return ["paused"] * (label in mixture.paused) + ["removed"] * (label in mixture.removed)
