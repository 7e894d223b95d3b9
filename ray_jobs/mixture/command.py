"""What does `headrace mix` do? It looks at the mixture of a run, or writes its next version."""

from collections.abc import Sequence

from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.mixture.asking import Action, Asking
from ray_jobs.mixture.changes import STAGE, change_asked, write_version
from ray_jobs.mixture.standing import standing
from ray_jobs.mixture.telling import planned, planned_lines, shown, shown_lines, version_row

FIELDS = set(Config.model_fields)


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part what is said of the mixture from `key.path=value` settings, such as store=./lake.

    >>> split_arguments(["web=0.7", "store=./lake", "by_time"])
    (['web=0.7', 'by_time'], ['store=./lake'])
    """
    settings = [
        word
        for word in arguments
        if "=" in word and not STAGE.fullmatch(word) and word.lstrip("-").partition("=")[0].split(".")[0] in FIELDS
    ]
    return [word for word in arguments if word not in settings], settings


def mix_command(config: Config, asked: Asking) -> tuple[list[str], dict[str, object]]:
    """Do it; the lines for people, and the same as JSON values."""
    store, run = Store.open(config.store), config.name
    found = standing(store, run)
    if asked.action is Action.SHOW:
        return shown_lines(found), shown(found)
    if asked.action is Action.PLAN:
        told = planned(store, run, found)
        return planned_lines(found, told), told
    version = write_version(store, run, change_asked(asked, found), asked)
    begins = max(found.num_rounds, version.from_round)
    line = f"version {version.version} of the mixture is in force from round {begins} on, or the first planned after it"
    return [line], {**version_row(version), "run": run, "planned_rounds": found.num_rounds}
