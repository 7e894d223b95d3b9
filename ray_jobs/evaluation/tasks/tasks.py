"""Which tasks are there, and which of them does a store judge its candidates by?"""

from collections.abc import Sequence

from pydantic import JsonValue

from cluster.extensions import Members, configured
from cluster.storage.store import Store
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.evaluation.tasks.held_out_bits import HeldOutBits
from ray_jobs.evaluation.tasks.lm_eval import LmEval
from ray_jobs.evaluation.tasks.task import Task

BITS = "bits_per_byte"  # always judged: what is fresh and what is old is told by held-out text

#: The one place where a task is made known; the key is its name in decisions and reports.
TASKS: Members[type[Task]] = Members(
    "headrace.tasks",
    {BITS: HeldOutBits, "lm_eval": LmEval},
    lambda member: isinstance(member, type) and issubclass(member, Task),
    "a subclass of ray_jobs.evaluation.tasks.task.Task",
)


def further_tasks(config: EvaluateConfig) -> dict[str, Task]:
    """Return what `evaluate.tasks` names besides held-out text; ValueError, in one sentence, for a mistake."""
    found: dict[str, Task] = {}
    for entry in config.tasks:
        settings = {"kind": entry} if isinstance(entry, str) else dict(entry)
        kind = settings.pop("kind", None)
        if not isinstance(kind, str):
            raise ValueError(f"evaluate.tasks: {entry} has no kind; write {{kind: NAME, ...}}")
        task = configured(TASKS.named(kind, "task"), f"the task {kind}", settings)
        name = task.called or kind
        if BITS in (kind, name) or name in found:
            mend = "give one another name" if task.called else "name each other once"
            raise ValueError(f"evaluate.tasks names {name} twice; {BITS} is always judged, {mend}")
        found[name] = task
    return found


def pinned(config: EvaluateConfig, store: Store) -> EvaluateConfig:
    """Return the same settings with tasks that nothing outside the store can change."""
    entries: list[str | dict[str, JsonValue]] = []
    for entry, task in zip(config.tasks, further_tasks(config).values(), strict=True):
        now = task.pinned(store)
        if now is task or isinstance(entry, str):
            entries.append(entry)
        else:
            entries.append({"kind": entry["kind"], **now.model_dump(mode="json", exclude_unset=True)})
    return config.model_copy(update={"tasks": tuple(entries)})


def only_tasks(config: EvaluateConfig, names: Sequence[str]) -> EvaluateConfig:
    """Return settings with the named tasks alone: of `evaluate.tasks`, or task files, or tasks brought along."""
    known = dict(zip(further_tasks(config), config.tasks, strict=True))
    entries = [known.get(name) or (name if name in TASKS else {"kind": "lm_eval", "file": name}) for name in names]
    return config.model_copy(update={"tasks": tuple(entries)})
