"""What comes of a driver's training: a verdict, a summary, a report?"""

from cluster.storage.state import write_json
from data_ops.audit.account import account
from data_ops.lake.untaken import told_of
from ray_jobs.config.schema import Config
from ray_jobs.ingest.opening import OpenStore
from ray_jobs.registry.task_history import task_history
from ray_jobs.report.data import Summary
from ray_jobs.report.gather import gather
from ray_jobs.report.page import render_run
from ray_jobs.report.summary import Judged, summarise
from ray_jobs.report.terminal import Display
from ray_jobs.store.paths import run_path
from ray_jobs.training.events import read_events


def write_down(config: Config, opened: OpenStore, result: Judged, display: Display) -> Summary:
    """Audit the run, and write summary and report; returns the summary."""
    store, name = opened.store, config.name
    audit = account(opened.lake, name)
    events = read_events(store, name)
    summary = summarise(name, config.engine, events, opened.lake.windows()[0], audit, result)
    summary["measure"] = config.model.learns.measure
    if result.decision is not None:
        display.slices(summary["bits_per_byte"], summary["measure"])
    display.ledger(audit.to_dict())
    for sentence in told_of(store):
        display.note(sentence)
    write_json(store, run_path(name, "summary.json"), summary)
    decision = result.decision.to_dict() if result.decision else None
    page = render_run(
        gather(config, opened.lake, events, summary, decision, task_history(store, summary["checkpoint"]))
    )
    store.write(run_path(name, "report.html"), page.encode())
    display.report(f"{config.store}/{run_path(name, 'report.html')}")
    return summary
