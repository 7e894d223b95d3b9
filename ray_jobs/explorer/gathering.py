"""From where do the figures of the explorer come: which runs, which rules, and the sources or not?"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from cluster.readable import visible
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.audit.account import read_stand
from data_ops.curation.config import CurateConfig
from data_ops.curation.reasons import meaning_of
from data_ops.ingest.config import IngestSettings
from data_ops.lake.lake import Lake
from data_ops.survey.corpus import survey
from data_ops.survey.rereading import Read, dropped_alone
from ray_jobs.config.schema import Config
from ray_jobs.explorer.counting import explored
from ray_jobs.explorer.figures import AloneFigures, Explored
from ray_jobs.explorer.sampling import samples_of
from ray_jobs.ingest.again import read_again
from ray_jobs.ingest.settings import ingest_settings
from ray_jobs.outcome import ConfigError
from ray_jobs.report.losses import reason_order
from ray_jobs.store.frozen import read_frozen
from ray_jobs.store.paths import run_path


class KeptSettings(msgspec.Struct):
    """Of the settings that a run wrote down: its rules."""

    curate: dict[str, object] = {}


@dataclass(frozen=True)
class Exploration:
    """What to look at: the weights of one run (None: of any), how many samples of each kind, and the sources or not."""

    run: str | None = None
    samples: int = 3
    again: IngestSettings | None = None  # sources and rules, where texts are to be read again


def gather_figures(store: Store, looked: Exploration) -> Explored:
    """Count the corpus and read the samples."""
    lake, runs = Lake(store), chosen_runs(store, looked.run)
    frozen = read_frozen(store)
    corpus = survey(lake, {run: read_stand(lake, run) for run in runs}, looked.samples, frozen.seed if frozen else 0)
    name = store.uri.rstrip("/").rpartition("/")[2]
    figures = explored(corpus, name, runs, reason_order(_rules(store, runs)))
    read = None if looked.again is None else partial(read_again, looked.again.sources)
    samples = samples_of(lake, corpus, figures.sites, read)
    return msgspec.structs.replace(figures, samples=samples, alone=_alone(lake, looked.again, read))


def _alone(lake: Lake, settings: IngestSettings | None, read: Read | None) -> list[AloneFigures]:
    if settings is None or read is None:
        return []
    texts = [label for label, source in settings.sources.items() if source.conversations is None]
    rules = {label: settings.curate.chain_of(label) for label in texts}
    return [
        AloneFigures(visible(one.source), one.reason, meaning_of(one.reason), one.records, one.dropped)
        for one in dropped_alone(lake, rules, read)
    ]


def settings_again(config: Config, store: Store) -> IngestSettings:
    """The sources and rules to read texts again by; ConfigError where no source is configured."""
    settings = ingest_settings(config, read_frozen(store))
    if not settings.sources:
        raise ConfigError("--sources reads the sources again, and none is configured; give -c with those of the run")
    return settings


def _rules(store: Store, runs: Sequence[str]) -> CurateConfig | None:
    """The rules of the first run whose settings can be read; the page depends on the store alone."""
    for run in runs:
        with suppress(FileNotFoundError, ValueError):
            return CurateConfig.model_validate(read_json(store, run_path(run, "config.json"), KeptSettings).curate)
    return None


def chosen_runs(store: Store, run: str | None) -> list[str]:
    """The run that is named, else all of the store; branches are no runs of their own."""
    runs = sorted(name for name in Lake(store).runs() if "@" not in name)
    if run is not None and runs and run not in runs:
        raise ConfigError(f"store {store.uri} has no run name={run} with rounds; it has {', '.join(runs) or 'none'}")
    return [name for name in runs if run in (None, name)]
