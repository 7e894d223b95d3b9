"""What did a living run show: champions, freshness, and the bits of its calm twin?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos.living.run import CALM, RECIPE, RUN, Kill, Living, bits_of, calm_twin, rounds_of
from tests.support.runs import finish, start

FRESH_S = 10.0  # within which a document should be trained


def compared(living: Living, calm: Path) -> dict[str, Any]:
    """Verify the run, let its twin train, and judge them; a twin is judged too where rounds or tokens say when."""
    audit = finish(start(living.folder, recipe=RECIPE, command="verify"), 300)[1]
    twin = [f"judge.every={living.every}", f"judge.candidate={living.candidate}"] if " " in living.every else []
    calm_twin(calm, living.folder / "lake", *twin)
    return verdict(living, calm, audit)


def verdict(living: Living, calm: Path, audit: dict[str, Any]) -> dict[str, Any]:
    """Put everything together; `wrong` names what broke a promise."""
    lake = living.folder / "lake"
    ours, theirs = bits_of(lake, RUN), bits_of(calm / "lake", CALM)
    judged = [event for event in living.events if event["event"] == "judged"]
    champions = [event for event in judged if event["promoted"]]
    outages = outages_of(living.done, living.events)
    waited = waits(living.events, outages)
    both = sorted(ours.keys() & theirs.keys())
    result = {
        "starts": living.starts,
        "kills": [f"{kill.what} {f'behind {kill.behind}' if kill.behind else 'at any moment'}" for kill in living.done],
        "steps": max(event["step"] for event in living.events if event["event"] == "step" and not event["branch"]),
        "rounds": len(rounds_of(lake, RUN)),
        "judgements": sum(event["event"] == "candidate" for event in living.events),
        "verdicts": [f"{event['checkpoint']} {event['verdict']}: {event['reasons'][0]}" for event in judged],
        "champions": len(champions),
        "event_to_gradient_s": _quantiles(waited["all"]),
        "event_to_gradient_caught_up_s": _quantiles(waited["calm"]),
        "event_to_champion_s": [_quantiles(event["to_champion_s"].get("wire", [])) for event in champions],
        "training_again_s": [round(again - at, 1) for at, again, _ in outages],
        "caught_up_s": [round(fresh - at, 1) for at, _, fresh in outages],
        "verify": {key: audit[key] for key in ("read", "trained", "pending", "held_out", "lost", "repeated", "ok")},
        "compared": both,
        "same_bits": [name for name in both if ours[name] == theirs[name]],
        "same_rounds": rounds_of(lake, RUN) == rounds_of(calm / "lake", CALM),
    }
    return {**result, "wrong": _wrong(result)}


def outages_of(kills: Sequence[Kill], events: Sequence[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """The start and each kill: when, when a step was trained again, and when what had gathered meanwhile was trained.

    That is the first step whose documents all waited less than `FRESH_S`.
    """
    steps = [event for event in events if event["event"] == "step" and not event["branch"]]
    found = []
    for at in [events[0]["time"], *(kill.at for kill in kills)]:
        later = [step for step in steps if step["time"] > at]
        again = later[0]["time"] if later else at
        fresh = [step["time"] for step in later if max(step["to_gradient_s"].get("wire", [0.0])) < FRESH_S]
        found.append((at, again, fresh[0] if fresh else steps[-1]["time"]))
    return found


def waits(events: Sequence[dict[str, Any]], outages: Sequence[tuple[float, float, float]]) -> dict[str, list[float]]:
    """Seconds from the event to the gradient of all documents, and of those trained while nothing was caught up on.

    A step that was trained again counts where it was trained last.
    """
    last = {event["step"]: event for event in events if event["event"] == "step" and not event["branch"]}
    found: dict[str, list[float]] = {"all": [], "calm": []}
    for step in last.values():
        waited = step["to_gradient_s"].get("wire", [])
        found["all"] += waited
        if not any(begins < step["time"] < ends for begins, _, ends in outages):
            found["calm"] += waited
    return found


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not len(values):
        return {}
    p50, p95 = np.quantile(values, [0.5, 0.95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "n": len(values)}


def _wrong(result: dict[str, Any]) -> list[str]:
    """What was promised and is not so."""
    wrong = []
    if not result["verify"]["ok"]:
        wrong.append(f"verify: {result['verify']}")
    if not any(name.startswith("main") for name in result["compared"]):
        wrong.append("the twins end at different steps")
    if result["same_bits"] != result["compared"]:
        wrong.append(f"other bits: {sorted(set(result['compared']) - set(result['same_bits']))}")
    if not result["same_rounds"]:
        wrong.append("other rounds")
    return wrong
