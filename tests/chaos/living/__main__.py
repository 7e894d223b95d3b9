"""Let a run live: `python -m tests.chaos.living --minutes 20 [--write benchmarks/results/NAME]`."""

import argparse
import json
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from tests.chaos.living.run import Kill, Living
from tests.chaos.living.verdict import compared
from tests.chaos.living.writer import Writer
from tests.support.runs import end_all

KILLS = (("driver", "branch"), ("worker", ""), ("driver", "candidate"), ("feed", ""), ("driver", ""))


def main() -> int:
    """Let it live, calm and judged; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every", default="2m", help="judge.every")
    parser.add_argument("--candidate", default="decay", help="judge.candidate")
    parser.add_argument("--kills", type=int, default=4, help="how many, evenly spread")
    parser.add_argument("--documents", type=float, default=8.0, help="a second")
    parser.add_argument("--write", type=Path, help="write NAME.json and NAME.md")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="living-") as base:
        try:
            result = live(Path(base), given)
        finally:
            end_all()
    result |= {"seconds": round(time.monotonic() - began), "asked": {**vars(given), "write": None}}
    print(json.dumps(result, indent=1))
    if given.write:
        given.write.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        given.write.with_suffix(".md").write_text(page(result))
    return bool(result["wrong"])


def live(base: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Follow beside a corpus that grows, drain, verify, and compare with the twin."""
    folder, calm = base / "living", base / "calm"
    folder.mkdir()
    calm.mkdir()
    kills = [Kill(*one) for one in islice(cycle(KILLS), given.kills)]
    living = Living(folder, given.every, given.candidate, lambda said: print(said, file=sys.stderr), kills)
    writer = Writer(folder / "corpus/wire.jsonl", given.documents)
    writer.write(400)  # what is there before the first start
    ends = time.monotonic() + 60 * given.minutes
    living.follow(writer, lambda: time.monotonic() < ends, 60 * given.minutes / (given.kills + 1))
    living.drain()
    return {"documents": writer.written, **compared(living, calm)}


def page(result: dict[str, Any]) -> str:
    """The result as a page."""
    asked, verified = result["asked"], result["verify"]
    lines = [
        "# A run that lives",
        "",
        f"`python -m tests.chaos.living --minutes {asked['minutes']:g} --every '{asked['every']}' --candidate "
        f"{asked['candidate']} --kills {asked['kills']}`: {result['documents']:,} real documents, "
        f"{asked['documents']:g} a second, {result['starts']} starts, {result['steps']:,} steps in {result['rounds']} "
        f"rounds, {result['judgements']} judgements, **{result['champions']} champions**.",
        "",
        f"- event to gradient: {_shown(result['event_to_gradient_s'])}; where nothing was caught up on: "
        f"{_shown(result['event_to_gradient_caught_up_s'])}",
        f"- event to champion: {'; '.join(map(_shown, result['event_to_champion_s'])) or 'no champion'} "
        f"(`judge.every` {asked['every']})",
        f"- kills: {', '.join(result['kills']) or 'none'}; after the start and after each, training again in "
        f"{result['training_again_s']} s, caught up in {result['caught_up_s']} s",
        f"- `verify`: read {verified['read']:,}, trained {verified['trained']:,}, held out {verified['held_out']:,}, "
        f"lost {verified['lost']}, repeated {verified['repeated']}, ok: {verified['ok']}",
        f"- bits equal to the calm twin's: {len(result['same_bits'])} of {len(result['compared'])} "
        f"({', '.join(result['compared'])}); the same rounds: {result['same_rounds']}",
        f"- broken promises: {'; '.join(result['wrong']) or 'none'}",
        "",
        "The twin trains the windows of a copy of the lake, planned anew, undisturbed. Rounds close by tokens alone,",
        "so that the same arrivals give the same rounds.",
        "",
        *(f"- {said}" for said in result["verdicts"]),
    ]
    return "\n".join(lines) + "\n"


def _shown(found: dict[str, float]) -> str:
    return f"p50 {found['p50']} s, p95 {found['p95']} s" if found else "–"


if __name__ == "__main__":
    sys.exit(main())
