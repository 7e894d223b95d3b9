"""`python -m tests.chaos --seed 1 --runs 20 --kills 200`: break real runs, judge what is left, write the result.

Results go to benchmarks/results/<date>-chaos.{jsonl,json,md}, a line a run as it comes; a campaign that was stopped
goes on behind the seeds it has. Exit code 1 if a run failed its checks.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos import result
from tests.chaos.campaign import Campaign
from tests.support.runs import ROOT

FAULTS_PER_RUN = 10


def main(arguments: list[str]) -> int:
    """Run the campaign; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break runs and check what is left.")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; every run takes the next one")
    parser.add_argument("--kills", type=int, default=200, help="faults in all, spread over the runs")
    parser.add_argument("--runs", type=int, help=f"how many runs; default one for {FAULTS_PER_RUN} faults")
    parser.add_argument("--parallel", type=int, default=1, help="runs side by side")
    parser.add_argument("--hang", action="store_true", help="stop ranks too (SIGSTOP); needs the run's watchdog")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results", help="where the result goes")
    parser.add_argument("--folder", type=Path, help="where the runs live; default a new folder in the temporary one")
    given = parser.parse_args(arguments)
    if given.kills < 1 or given.parallel < 1 or (given.runs is not None and given.runs < 1):
        parser.error(f"--kills={given.kills} --runs={given.runs} --parallel={given.parallel}: use 1 or more of each")
    runs = given.runs or max(1, round(given.kills / FAULTS_PER_RUN))
    base = given.results / f"{datetime.now(UTC):%Y-%m-%d}-chaos"
    lines = base.with_suffix(".jsonl")
    done = {run["seed"] for run in result.read(lines)}
    seeds = [seed for seed in range(given.seed, given.seed + runs) if seed not in done]
    folder = given.folder or Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    for needed in (folder, given.results):
        needed.mkdir(parents=True, exist_ok=True)  # now: a result that cannot be written after an hour is lost
    print(
        f"seeds {seeds[:1]}..{seeds[-1:]}, {given.kills // runs} faults each, in {folder}; result {lines}", flush=True
    )
    began, failed = time.monotonic(), False
    campaign = Campaign(folder, lambda line: print(line, flush=True))

    def stop(number: int, frame: object) -> None:
        campaign.abandon()
        os._exit(128 + number)  # threads would go on supervising; every line that is done is written

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for one in campaign.run(seeds, round(given.kills / runs), given.parallel, given.hang):
        failed |= not one["ok"]
        result.append(lines, one)
        write(base, result.read(lines))
    print(f"{len(seeds)} runs in {(time.monotonic() - began) / 60:.1f} min: {base.with_suffix('.md')}", flush=True)
    return int(failed)


def write(base: Path, runs: list[dict[str, Any]]) -> None:
    """Write the summary of all runs so far."""
    summary = result.summarise(runs)
    base.with_suffix(".json").write_text(json.dumps({"machine": machine(), **summary}, indent=1) + "\n")
    base.with_suffix(".md").write_text(result.page(summary, runs, machine()))


def machine() -> str:
    """Where this was measured."""
    python = platform.python_version()
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), Python {python}, no GPU."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
