"""What does `headrace sweep` check, show and print?"""

import sys

from cluster.readable import visible
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.config.schema import Config
from ray_jobs.driver.preflight import check_sources
from ray_jobs.ingest.opening import check_store
from ray_jobs.outcome import OK, ConfigError, Outcome
from ray_jobs.store.lease import holder
from ray_jobs.sweep.question import check_points, points, said, sweep_of, sweep_run
from ray_jobs.sweep.start import starting_point, tokens_of
from tune.space import Point


def sweep_command(config: Config, *, as_json: bool, dry_run: bool) -> Outcome:
    """Check, then run the sweep, or with dry_run print the trials it would start."""
    found = check_sweep(config)
    stream = sys.stderr if as_json else sys.stdout

    def say(label: str, line: str) -> None:
        stream.write(f" {label:<8} {visible(line)}\n")
        stream.flush()

    if dry_run:
        sweep = sweep_of(config)
        marks = sweep.mark_tokens(config.model.row_tokens)
        for point in found:
            say("trial", said(point))
        if not found:
            say("trials", f"{sweep.trials}, proposed one by one")
        say("tokens", f"{marks[-1]:,} a trial at most, judged at {', '.join(f'{mark:,}' for mark in marks)}")
        return Outcome(OK, {"trials": found, "marks": marks})
    from ray_jobs.sweep.driver import run_sweep  # seconds to import torch: a mistake is answered before

    return run_sweep(config, say)


def check_sweep(config: Config) -> list[Point]:
    """Raise ConfigError for every mistake that can be seen without a cluster; the points that are known already."""
    sweep = sweep_of(config)
    store = Store.open(config.store)
    store.check_writable()
    check_store(store, config)
    start = starting_point(store, config)
    found = [] if sweep.way == "tpe" else points(config)
    check_points(config, found, tokens_of(start))
    if Lake(store).last_window() < 0:
        check_sources(config, follow=False)
    live = holder(store, sweep_run(config))
    if live is not None:
        raise ConfigError(f"sweep {sweep_run(config)} is being driven by process {live.pid}; wait for it, or stop it")
    return found
