"""What stands in the spool of one answer that somebody spoke of? Who wrote which text is said of each, always.

A person's words and a model's own lie in different folders, so that they are different sources, and so different labels
of every document, round and figure that comes of them. A text that was rated down has no `completion`: no source of
instruction data can learn from it.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import orjson

from ray_jobs.serving.feedback.held import HeldAnswer


class FeedbackFolder(StrEnum):
    """Who wrote the answer that is there, and what became of it."""

    CORRECTED = "person/corrected"
    UP = "model/up"
    DOWN = "model/down"
    UNRATED = "model/unrated"


class Feedback(NamedTuple):
    """What somebody said of a choice; all absent: nothing, who asked lets the answer be kept."""

    choice: int = 0
    rating: str | None = None  # up or down
    correction: str | None = None
    comment: str | None = None

    @property
    def folder(self) -> FeedbackFolder:
        """Where it is kept."""
        if self.correction is not None:
            return FeedbackFolder.CORRECTED
        return {"up": FeedbackFolder.UP, "down": FeedbackFolder.DOWN}.get(self.rating or "", FeedbackFolder.UNRATED)


def record_of(answer: HeldAnswer, said: Feedback, consent: str) -> bytes:
    """Return the line that is kept, without its newline; consent: with the request, or with the feedback."""
    prompt, text = answer.prompts[said.choice], answer.texts[said.choice]
    whole = {
        "id": answer.id if said.choice == 0 else f"{answer.id}/{said.choice}",
        "time": datetime.now(UTC).isoformat(),
        "answered": datetime.fromtimestamp(answer.given_s, UTC).isoformat(),
        "checkpoint": answer.checkpoint,
        "fingerprint": answer.fingerprint,
        "rating": said.rating,
        "comment": said.comment,
        "consent": consent,
        "prompt": prompt,
    }
    match said.folder:
        case FeedbackFolder.CORRECTED:
            written = {"author": "person", "completion": said.correction, "rejected": text, "rejected_author": "model"}
        case FeedbackFolder.DOWN:
            written = {"author": "model", "rejected": text, "rejected_author": "model"}
        case _:
            written = {"author": "model", "completion": text}
    return orjson.dumps({**whole, **written})
