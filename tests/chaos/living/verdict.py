"""What did a living run show: champions, freshness, and the bits of its calm twin?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos.living.run import CALM, RECIPE, RUN, Kill, Living, bits_of, calm_twin, rounds_of
from tests.support.runs import finish, start


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
        "event_to_gradient_outside_recoveries_s": _quantiles(waited["calm"]),
        "event_to_champion_s": [_quantiles(event["to_champion_s"].get("wire", [])) for event in champions],
        "recoveries_s": [round(ends - begins, 1) for begins, ends in outages],
        "verify": {key: audit[key] for key in ("read", "trained", "pending", "held_out", "lost", "repeated", "ok")},
        "compared": both,
        "same_bits": [name for name in both if ours[name] == theirs[name]],
        "same_rounds": rounds_of(lake, RUN) == rounds_of(calm / "lake", CALM),
    }
    return {**result, "wrong": _wrong(result)}


def outages_of(kills: Sequence[Kill], events: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """From each kill to the first step of the main line behind it."""
    steps = [event["time"] for event in events if event["event"] == "step" and not event["branch"]]
    return [(kill.at, next((at for at in steps if at > kill.at), kill.at)) for kill in kills]


def waits(events: Sequence[dict[str, Any]], outages: Sequence[tuple[float, float]]) -> dict[str, list[float]]:
    """Seconds from the event to the gradient of all documents, and of those that no recovery held up.

    A step that was trained again counts where it was trained last.
    """
    last = {event["step"]: event for event in events if event["event"] == "step" and not event["branch"]}
    found: dict[str, list[float]] = {"all": [], "calm": []}
    for step in last.values():
        for wait in step.get("to_gradient_s", {}).get("wire", []):
            found["all"].append(wait)
            born = step["time"] - wait
            if not any(born < ends + 1 and step["time"] > begins for begins, ends in outages):
                found["calm"].append(wait)
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
