"""How does a test come by the state of a checkpoint, or by a checkpoint, without training?"""

from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.position import Position, StoredFile, TrainingState


def state_at(step: int = 0, round_: int = 0, step_in_round: int | None = None, **more: object) -> TrainingState:
    """The state of a run at a step; `more`: other fields of the state, and `tokens` of its position."""
    inside = step if step_in_round is None else step_in_round
    position = Position(step=step, round=round_, step_in_round=inside, tokens=int(str(more.pop("tokens", 0))))
    facts = {"probe_loss": 2.5, "precision": "fp32", "model": {}, **more}
    return TrainingState(position=position, **facts)


def commit_at(
    run: str, step: int, round_: int = 0, step_in_round: int = 0, files: tuple[StoredFile, ...] = (), **more: object
) -> Commit:
    """A checkpoint of a run at a step."""
    return Commit(run, step, round_, step_in_round, files, state_at(step, round_, step_in_round, **more))
