"""Are messages hidden from others for as long as they are held, and no longer?"""

import time

from data_ops.sources.files.notified.messagebox import MOST_HELD, MessageBox
from data_ops.sources.files.notified.sqs import HIDDEN_S, SqsMessage
from tests.support.runs import wait_until


class Letters:
    """A queue in memory, by a clock of the test: what is received is hidden until its time is over."""

    def __init__(self, count: int = 0) -> None:
        self.now, self.received, self.hidden = 0.0, 0, 0
        self.left = {str(number): 0.0 for number in range(count)}  # id -> visible from
        self.fails: list[OSError] = []

    def clock(self) -> float:
        return self.now

    def receive(self, wait_s: int) -> list[SqsMessage]:
        if self.fails:
            raise self.fails.pop()
        names = [name for name, at in self.left.items() if at <= self.now][:10]
        for name in names:
            self.left[name] = self.now + HIDDEN_S
        self.received += len(names)
        return [SqsMessage(name, f"{name} {self.now}", "{}", 0.0) for name in names]

    def hide(self, receipts: list[str], seconds: int) -> None:
        self.hidden += len(receipts)
        for receipt in receipts:
            self.left[receipt.split()[0]] = self.now + seconds

    def delete(self, receipts: list[str]) -> None:
        for receipt in receipts:
            del self.left[receipt.split()[0]]


def test_a_message_that_is_held_is_never_received_again_until_it_is_deleted():
    letters = Letters(25)
    box = MessageBox(letters, letters.clock)
    while box.turn():
        pass
    assert sorted(message.id for message in box.take()) == sorted(letters.left) and not box.take()
    for _ in range(100):
        letters.now += HIDDEN_S / 3
        assert box.turn() == 0
    assert letters.received == 25
    box.delete(["3", "4", "no such"])
    assert "3" not in letters.left and len(letters.left) == 23
    letters.now += 10 * HIDDEN_S
    letters.hidden = 0
    box.turn()
    assert letters.hidden == 23, "what was deleted is not prolonged"


def test_a_message_that_comes_again_is_told_once_and_deleted_by_its_last_receipt():
    letters = Letters(1)
    box = MessageBox(letters, letters.clock)
    box.turn()
    letters.left["0"] = 0.0  # its hiding ended before its time, as may happen
    letters.now = 1.0
    box.turn()
    assert len(box.take()) == 1 and letters.received == 2
    deleted: list[str] = []
    letters.delete = deleted.extend  # type: ignore[method-assign]
    box.delete(["0"])
    assert deleted == ["0 1.0"]


def test_no_more_is_held_than_may_be():
    letters = Letters(2 * MOST_HELD)
    box = MessageBox(letters, letters.clock)
    while box.turn():
        pass
    assert len(box.take()) == MOST_HELD
    box.delete(map(str, range(30)))
    assert [box.turn() for _ in range(4)] == [10, 10, 10, 0]


def test_a_thread_receives_and_gives_back_what_is_held_when_it_ends():
    letters = Letters(3)
    box = MessageBox(letters, time.monotonic)
    box.start()
    wait_until(lambda: letters.received == 3, 20, lambda: "nothing was received")
    box.close()
    wait_until(lambda: set(letters.left.values()) == {letters.now}, 20, lambda: f"still hidden: {letters.left}")


def test_a_refusal_is_kept_for_who_looks_and_a_passing_error_is_not():
    letters = Letters(1)
    letters.fails = [OSError("queue q: AccessDenied: we may not read it"), OSError("AWS Error: Throttling")]
    box = MessageBox(letters, letters.clock)
    box.start()
    wait_until(lambda: box.error is not None, 20, lambda: "the refusal was not told")
    assert "AccessDenied" in str(box.error) and not letters.fails
