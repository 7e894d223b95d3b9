"""Headrace from Python: run it, look into its store, and train from it with a loop of your own.

    import headrace

    headrace.run("mine.yaml")                                  # the whole loop, as `headrace run -c mine.yaml`
    headrace.open("./lake").documents().pandas()               # or .arrow(), .polars(), .dataset()
    for batch in headrace.feed("./lake", "mine", rank, world): # docs/feed.md
        ...

`import headrace` starts nothing and leaves the names `models` and `tune` to your own packages (docs/decisions/0013).
"""

from collections.abc import Mapping

from ray_jobs.names import LIBRARY, claim

claim(LIBRARY)

from data_ops.audit.account import Account  # noqa: E402 - behind `claim`
from data_ops.documents.document import FATES  # noqa: E402
from ray_jobs.library.feed_config import FeedConfig  # noqa: E402
from ray_jobs.library.jobs import start_command  # noqa: E402
from ray_jobs.library.loop_batch import LoopBatch  # noqa: E402
from ray_jobs.library.loop_feed import LoopFeed  # noqa: E402
from ray_jobs.library.reading import OpenedStore  # noqa: E402
from ray_jobs.library.table import StoreTable  # noqa: E402
from ray_jobs.outcome import ConfigError, Outcome  # noqa: E402

__all__ = [
    "FATES",
    "Account",
    "ConfigError",
    "FeedConfig",
    "LoopBatch",
    "LoopFeed",
    "OpenedStore",
    "Outcome",
    "StoreTable",
    "feed",
    "ingest",
    "open",
    "run",
    "verify",
]


def run(config: str | Mapping[str, object], *, follow: bool = False) -> Outcome:
    """Run the whole loop in a process of its own and wait for its end: ingest, train, judge, promote, report.

    config: the path of a YAML file, the name of a recipe, or the same keys as nested dictionaries; paths in it count
    from the current folder. Returns the exit code (0, or 143 after ^C) and the summary. Raises ConfigError, a
    ValueError, for what you can mend, and RuntimeError where the run failed.
    """
    return start_command("run", config, *["--follow"] * follow)


def ingest(config: str | Mapping[str, object], *, follow: bool = False) -> Outcome:
    """Take documents in without training, in a process of its own; everything else as `run`."""
    return start_command("ingest", config, *["--follow"] * follow)


def verify(store: str, run: str | None = None) -> Account:
    """Prove from the tables alone what became of every document; `.ok` says whether nothing was lost or repeated.

    run: its name; absent for the store's only one. Raises ConfigError where there is no such store or run.
    """
    return OpenedStore(store).verify(run)


def open(store: str) -> OpenedStore:
    """Open a store to look into: a folder, s3://... or gs://... Raises ConfigError where there is none."""
    return OpenedStore(store)


def feed(
    store: str,
    run: str,
    rank: int = 0,
    world: int = 1,
    settings: FeedConfig | Mapping[str, object] | None = None,
    *,
    follow: bool = False,
) -> LoopFeed:
    """Feed a training loop of your own with packed batches, each document exactly once (docs/feed.md).

    run: an old name goes on, a new name is a new training over the same documents. rank, world: of this process;
    every rank iterates, and gets its rows of the same global batch. settings: FeedConfig or the same keys; absent:
    those the run was started with. follow: wait for documents that arrive, for ever. Raises ConfigError for a store
    or a setting that does not fit, and RunIsLiveError where another process feeds or drives the run.
    """
    return LoopFeed(store, run, (rank, world), settings, follow=follow)
