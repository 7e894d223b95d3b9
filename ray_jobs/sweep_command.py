"""What does `headrace sweep` check, show and print?"""

import sys

from ray_jobs.config import Config
from ray_jobs.figures import visible
from ray_jobs.options import finish
from ray_jobs.sweep_plan import asked, check_sweep, said


def sweep_command(config: Config, *, as_json: bool, dry_run: bool) -> None:
    """Check, then run the sweep, or with dry_run print the trials it would start; ends with its exit code."""
    points = check_sweep(config)
    stream = sys.stderr if as_json else sys.stdout

    def say(label: str, line: str) -> None:
        stream.write(f" {label:<8} {visible(line)}\n")
        stream.flush()

    if dry_run:
        sweep = asked(config)
        marks = sweep.mark_tokens(config.model.row_tokens)
        for point in points:
            say("trial", said(point))
        if not points:
            say("trials", f"{sweep.trials}, proposed one by one")
        say("tokens", f"{marks[-1]:,} a trial at most, judged at {', '.join(f'{mark:,}' for mark in marks)}")
        finish(0, {"trials": points, "marks": marks}, as_json)
    from ray_jobs.sweep import sweep as run_sweep  # seconds, for it brings torch: a mistake is answered before

    outcome = run_sweep(config, say)
    finish(outcome.code, outcome.summary, as_json)
