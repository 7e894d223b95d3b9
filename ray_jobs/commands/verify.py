"""What does `headrace verify` prove about a run, from the store alone: that nothing is lost, and nothing damaged?"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from cluster.readable import many
from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.audit.account import Account, account
from data_ops.audit.digests import attempt, windows_without_digest
from data_ops.audit.sources import compare_sources
from data_ops.curation.curate import Provenance, curate
from data_ops.lake.lake import Lake
from data_ops.lake.untaken import told_of
from data_ops.sources.protocol import Span
from ray_jobs.config.schema import Config
from ray_jobs.ingest.again import read_again
from ray_jobs.ingest.settings import ingest_settings
from ray_jobs.outcome import ConfigError
from ray_jobs.report.terminal import Display
from ray_jobs.store.frozen import read_frozen
from ray_jobs.store.paths import runs_of

SAMPLED_SPANS = 50


def verify_command(config: Config, *, sources: bool, every: bool, deep: bool, as_json: bool) -> Account:
    """`headrace verify`: audit the run, read sources or every byte again if that is asked for, and show the outcome."""
    said: list[str] = []
    try:
        audit = verify(config)
    except DamagedError as error:
        audit = Account(0, 0, 0, 0, 0, 0, 0, 0, 0, [str(error)], run=config.name, damaged=1)
    if deep:
        depth = verify_deep(config)
        audit = replace(audit, damaged=audit.damaged + len(depth.damaged), problems=audit.problems + depth.damaged)
        old = depth.windows_without_digest
        said += [f"every byte was compared with its digest: {many(depth.windows, 'window')}, {many(depth.runs, 'run')}"]
        said += [f"{old} windows are of an older version, without a digest"] * bool(old)
    if sources:
        settings = ingest_settings(config, read_frozen(Store.open(config.store)))
        if not settings.sources:
            raise ConfigError(
                "--sources compares with the sources, and none is configured; give -c with those of the run"
            )

        def curated(label: str, span: Span) -> Iterator[pa.Table]:
            for records in read_again(settings.sources, label, span):
                origin = Provenance(label, span.partition, 1.0, span.modified_s, span.modified_s)
                seed, held_out = settings.seed, settings.held_out
                yield curate(records, settings.curate, origin, seed=seed, held_out_share=held_out)

        lake, spans = Lake(Store.open(config.store)), None if every else SAMPLED_SPANS
        again = compare_sources(lake, settings.sources.keys(), curated, spans)
        audit = replace(audit, damaged=audit.damaged + again.differing, problems=audit.problems + again.problems)
        said += [f"{again.same} records of {again.spans} spans are in the lake as the sources hold them now"]
        said += [f"{again.gone} records could not be compared: their files are gone or others now"] * bool(again.gone)
    with Display(json=as_json) as display:
        display.ledger(audit.to_dict())
        for sentence in [*audit.problems, *audit.losses, *said, *told_of(Store.open(config.store))]:
            display.note(sentence)
        display.proof(config.name, config.store, ok=audit.ok)
    return audit


@dataclass(frozen=True)
class Depth:
    """What reading every byte of a store found."""

    damaged: list[str]  # a sentence each, with the file or the window
    windows_without_digest: int  # of an older version: their documents cannot be compared
    windows: int
    runs: int


def verify_deep(config: Config) -> Depth:
    """Compare everything in the store with the digests that were recorded with it."""
    from ray_jobs.registry.damage import damage_of_store  # torch, 2 s: a plain `verify` does without

    store = Store.open(config.store)
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        damaged = damage_of_store(store, Path(scratch))
    lake, unread = Lake(store), list[str]()
    old = attempt(unread, partial(windows_without_digest, lake), "windows") or 0
    last = attempt(unread, lake.last_window, "windows")
    return Depth(damaged, old, 0 if last is None else last + 1, len(runs_of(store)))


def verify(config: Config) -> Account:
    """Audit the run from the lake alone; ConfigError where there is no lake or no such run."""
    store = Store.open(config.store)
    lake = Lake(store)
    if lake.last_window() < 0 and not store.exists("windows"):
        raise ConfigError(f"store {config.store} holds no lake; run `headrace run` or `headrace ingest` first")
    return account(lake, config.name)
