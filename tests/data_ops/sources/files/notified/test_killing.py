"""Is every record of a bucket in the lake once, though the ingest ends before any step of a window?"""

from pathlib import Path
from random import Random

import pytest

from tests.data_ops.sources.files.notified.killing import STEPS, compare, prove, publish, take_in
from tests.support.notified.bucket import NotifiedBucket


class CrashError(Exception):
    """A process that ended here."""


def crash() -> None:
    raise CrashError


@pytest.mark.slow
def test_an_ingest_that_ends_before_every_step_of_a_window_loses_and_repeats_nothing(
    tmp_path: Path, bucket: NotifiedBucket
):
    texts, random = list[str](), Random(3)
    bucket.send("no notification {")
    for number, step in enumerate(STEPS):
        texts += publish(bucket, random, 10 * number, 4)
        with pytest.raises(CrashError):
            take_in(tmp_path, bucket.queue, step, follow=True, end=crash)
    take_in(tmp_path, bucket.queue, "", follow=False)
    outcome = compare(tmp_path, bucket, texts, len(STEPS))
    assert (outcome.lost, outcome.repeated, outcome.problems) == (0, 0, 0) and outcome.put > 40
    assert outcome.quarantined >= 1


@pytest.mark.long
def test_an_ingest_that_is_killed_before_every_step_of_a_window_loses_and_repeats_nothing(
    tmp_path: Path, bucket: NotifiedBucket
):
    outcome = prove(tmp_path, bucket, STEPS)
    assert (outcome.lost, outcome.repeated, outcome.problems) == (0, 0, 0) and outcome.put > 100


@pytest.mark.slow
def test_an_ingest_that_ends_by_itself_leaves_no_message_and_no_object(tmp_path: Path, bucket: NotifiedBucket):
    texts = publish(bucket, Random(5), 0, 6)
    take_in(tmp_path, bucket.queue, "", follow=False)
    outcome = compare(tmp_path, bucket, texts, 0)
    assert (outcome.lost, outcome.repeated, outcome.problems, outcome.left) == (0, 0, 0, 0)
