"""What happens to feedback? It is taken with consent alone, is on the disk before it is answered, and is counted.

The spool is that of `headrace listen`: requests of two milliseconds are synced together, and a kill loses nothing that
was answered. Without consent a thumb is counted and nothing else: no text, no id, not even that there was a question.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import xxhash

from cluster.http.asgi import RefusedError
from data_ops.sources.push.app import Committer
from data_ops.sources.push.spool import Spool
from ray_jobs.config.blocks import FeedbackConfig
from ray_jobs.outcome import ConfigError
from ray_jobs.serving.feedback.held import HeldAnswer, HeldAnswers
from ray_jobs.serving.feedback.records import Feedback, FeedbackFolder, record_of

logger = logging.getLogger(__name__)
MAX_WAITING_BYTES = 16 << 20  # before the disk, of each folder
Rated = Callable[[HeldAnswer, bool], None]  # on what, was it a thumb up


class Taken(NamedTuple):
    """What became of feedback; stored: it is on the disk; is_new: it was not before."""

    checkpoint: str
    stored: bool
    is_new: bool


class FeedbackDesk:
    """Holds answers, and takes what is said of them."""

    def __init__(
        self, config: FeedbackConfig, rated: Rated | None, part: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        """rated: is told of each first thumb on a choice; None: nobody counts them.

        part: of the folders, this server's own. ConfigError where another server writes into the folder.
        """
        self.config, self._rated = config, rated
        self.held = HeldAnswers(config.hold, config.memory, clock)
        self._stack, self._tasks = ExitStack(), set[asyncio.Task[None]]()
        self._committers: dict[FeedbackFolder, Committer] = {}
        for folder in FeedbackFolder if config.folder else ():
            place = Path(config.folder or "") / folder / part
            try:
                spool = Spool(place)
            except BlockingIOError:
                self._stack.close()
                raise ConfigError(
                    f"another server writes into serve.feedback.folder={config.folder}; name another folder"
                ) from None
            self._stack.callback(spool.close)
            self._committers[folder] = Committer(spool, MAX_WAITING_BYTES)

    @property
    def is_open(self) -> bool:
        """Is feedback taken?"""
        return bool(self._committers) or self._rated is not None

    def close(self) -> None:
        """Give the folders back."""
        self._stack.close()

    def hold(self, answer: HeldAnswer) -> None:
        """Hold an answer that was given; one that may be kept is, if it is of the share."""
        self.held.add(answer)
        if answer.consents and self._committers and is_of_share(answer.id, self.config.share):
            for choice in range(len(answer.texts)):
                task = asyncio.get_running_loop().create_task(self._keep(answer, Feedback(choice)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def take(self, id: str, said: Feedback, consent: bool | None) -> Taken:
        """Take feedback; when this returns it is durable. RefusedError, with what is wrong, where it is not taken.

        consent: None where the feedback says nothing of it; then that of the request counts.
        """
        answer = self.held.find(id)
        if answer is None:
            bounds = f"{self.config.hold:.0f} s, within {self.config.memory:,} bytes of newer ones"
            raise RefusedError(f"answer {id} is not held here; an answer can be spoken of for {bounds}", 404, "id")
        if said.choice >= len(answer.texts):
            raise RefusedError(f"index={said.choice} is beyond the {len(answer.texts)} choices of {id}", 400, "index")
        consents = answer.consents if consent is None else consent
        if said.correction is not None and not consents:
            raise RefusedError(
                "correction is a text of yours, which is kept with consent alone; send consent=true, or leave it out",
                400,
                "consent",
            )
        if said.correction is not None and not self._committers:
            raise RefusedError("correction is not kept here; set serve.feedback.folder", 400, "correction")
        self._count(answer, said)
        if not consents or not self._committers:
            return Taken(answer.checkpoint, stored=False, is_new=False)
        key = (said.choice, said.rating, said.correction, said.comment)
        is_new = key not in answer.stored
        if is_new:
            await self._write(answer, said, "feedback" if consent else "request")
            answer.stored.add(key)
        return Taken(answer.checkpoint, stored=True, is_new=is_new)

    def _count(self, answer: HeldAnswer, said: Feedback) -> None:
        """Let a choice count once, by the first thumb on it, or as down if it was corrected."""
        if self._rated is not None and said.choice not in answer.rated:
            answer.rated.add(said.choice)
            self._rated(answer, said.rating == "up")

    async def _keep(self, answer: HeldAnswer, said: Feedback) -> None:
        try:
            await self._write(answer, said, "request")
        except RefusedError as error:  # nobody waits for it; the answer itself was given
            logger.warning("an answer that may be kept is not: %s", error.sentence)

    async def _write(self, answer: HeldAnswer, said: Feedback, consent: str) -> None:
        await self._committers[said.folder].write([record_of(answer, said, consent)])


def asker_hash(asker: str) -> int:
    """What is remembered of who asked: a hash, in memory alone."""
    return xxhash.xxh3_64_intdigest(asker.encode())


def is_of_share(id: str, share: float) -> bool:
    """Say whether an answer is of the share of those that are kept unrated: by a hash of its id."""
    return xxhash.xxh3_64_intdigest(id.encode()) < share * 2.0**64


def source_lines(folder: str) -> list[str]:
    """The source that reads what people corrected, as lines of YAML, and the one of the model's own words."""
    corrected, own = (str(Path(folder).absolute() / who / "**/*.jsonl") for who in ("person", "model/up"))
    rest = "objective: instruct, time: time, id: id, wait: true"
    return [
        f'corrected: {{kind: files, path: "{corrected}", {rest}}}',
        f'# own_words: {{kind: files, path: "{own}", {rest}}}  # written by the model, liked by people',
    ]
