"""Which tasks are there, and which of them does a store judge its candidates by?"""

from cluster.extensions import Members, configured
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.evaluation.tasks.held_out_bits import HeldOutBits
from ray_jobs.evaluation.tasks.task import Task

BITS = "bits_per_byte"  # always judged: what is fresh and what is old is told by held-out text

#: The one place where a task is made known; the key is its name in decisions and reports.
TASKS: Members[type[Task]] = Members(
    "headrace.tasks",
    {BITS: HeldOutBits},
    lambda member: isinstance(member, type) and issubclass(member, Task),
    "a subclass of ray_jobs.evaluation.tasks.task.Task",
)


def further_tasks(config: EvaluateConfig) -> dict[str, Task]:
    """Return what `evaluate.tasks` names besides held-out text; ValueError, in one sentence, for a mistake."""
    found: dict[str, Task] = {}
    for entry in config.tasks:
        settings = {"kind": entry} if isinstance(entry, str) else dict(entry)
        name = settings.pop("kind", None)
        if not isinstance(name, str):
            raise ValueError(f"evaluate.tasks: {entry} has no kind; write {{kind: NAME, ...}}")
        if name == BITS or name in found:
            raise ValueError(f"evaluate.tasks names {name} twice; {BITS} is always judged, name each other once")
        found[name] = configured(TASKS.named(name, "task"), f"the task {name}", settings)
    return found
