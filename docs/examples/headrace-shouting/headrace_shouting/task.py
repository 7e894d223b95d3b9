"""The task `calm`: does the model expect a calm sentence rather than the same one shouted?"""

import hashlib
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from ray_jobs.evaluation.tasks.task import SCORES, Better, Scorer, Scores, Task


class Calm(Task):
    """Ask for each sentence whether it costs less than the same one in capitals."""

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "calm"
    sentences: tuple[str, ...] = Field(
        ("The water is fine.", "Bread comes from flour.", "The mill stands still."), description="What is asked."
    )

    def run(self, scorer: Scorer) -> Scores:
        """Compare the nats of both; one row a sentence, named by its hash."""
        calm = scorer.nats(self.sentences) < scorer.nats([sentence.upper() for sentence in self.sentences])
        ids = [hashlib.sha256(sentence.encode()).digest()[:16] for sentence in self.sentences]
        columns = [ids, ["sentences"] * len(ids), calm.astype(float), [1.0] * len(ids)]
        return Scores(pa.table(dict(zip(SCORES.names, columns, strict=True)), schema=SCORES), self.better, self.unit)
