"""Is a directive given once, the greatest of those asked for, and STOP for ever?"""

from ray_jobs.training.actors.directives import Mailbox
from ray_jobs.training.directive import Directive

GO, CHECKPOINT, MOVE, STOP = Directive


def test_a_directive_is_taken_once_and_the_greatest_wins() -> None:
    mailbox = Mailbox()
    assert mailbox.take() is GO
    for asked in (CHECKPOINT, MOVE, CHECKPOINT):
        mailbox.put(asked)
    assert [mailbox.take(), mailbox.take()] == [MOVE, GO]


def test_nothing_takes_back_a_stop() -> None:
    mailbox = Mailbox()
    assert not mailbox.is_stopping
    mailbox.put(STOP)
    mailbox.put(MOVE)
    assert mailbox.is_stopping
    assert [mailbox.take(), mailbox.take()] == [STOP, STOP]
