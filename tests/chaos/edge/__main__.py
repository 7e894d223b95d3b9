"""Play the edge schedule: `python -m tests.chaos.edge --seeds 20 [--write benchmarks/results/NAME]`."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.edge.world import NOBODY, STEPS, run


def main() -> int:
    """Play some seeds and say what came of it; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--write", type=Path, help="write NAME.json and NAME.md")
    given = parser.parse_args()
    faults: Counter[str] = Counter()
    wrong: dict[int, list[str]] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        if os.geteuid() == 0:  # permissions mean nothing to root
            os.chown(base, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        for seed in range(given.first, given.first + given.seeds):
            folder = Path(base) / str(seed)
            folder.mkdir()
            met, broken = run(folder, seed, given.steps)
            faults += met
            wrong |= {seed: broken} if broken else {}
            print(f"seed {seed}: {sum(met.values())} faults, {len(broken) or 'nothing'} wrong {broken[:2]}", flush=True)
        if os.getuid() == 0:
            os.seteuid(0)
    result = {
        "seeds": given.seeds,
        "steps": given.steps,
        "faults": dict(sorted(faults.items())),
        "faults_in_all": sum(faults.values()),
        "wrong": wrong,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(result))
    if given.write:
        given.write.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        given.write.with_suffix(".md").write_text(page(result))
    return bool(wrong)


def page(result: dict) -> str:
    """The result as a page."""
    lines = [
        "# The edge of the world",
        "",
        f"`python -m tests.chaos.edge --seeds {result['seeds']}`: {result['faults_in_all']} faults over "
        f"{result['seeds']} seeds in {result['seconds']:.0f} s; seeds with a broken promise: {len(result['wrong'])}.",
        "",
        "Writers and files are real, the clock of quietness is simulated, there is no Ray and no lake: the schedule",
        "tests sources, cursors and spans. Promises: every complete record comes once, bad ones are quarantined, the",
        "ordinals of a file have no gap, nothing waits when all writers have ended. Records of a file that was",
        "truncated without a copy may be gone; those that a look had seen are said to be abandoned.",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in result["faults"].items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
