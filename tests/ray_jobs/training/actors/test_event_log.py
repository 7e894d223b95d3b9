"""Is every event read once, also when the log is lost or an answer is?"""

from data_ops.ingest.events import Warned
from ray_jobs.training.actors.event_log import EventLog

ONE, TWO, THREE = (Warned(text=text) for text in ("one", "two", "three"))


def test_each_reading_goes_on_where_the_last_one_ended() -> None:
    log = EventLog()
    log.post([ONE, TWO])
    first = log.read("", 0)
    assert first.events == [ONE, TWO]
    log.post([THREE])
    second = log.read(first.life, first.next)
    assert (second.events, second.next) == ([THREE], 3)
    assert log.read(first.life, first.next) == second, "an answer that was lost is given again"
    assert log.read(second.life, second.next).events == []


def test_a_log_that_was_lost_is_read_from_its_own_beginning() -> None:
    old, new = EventLog(), EventLog()
    old.post([ONE, TWO])
    *_, life, following = old.read("", 0)
    new.post([THREE])
    assert new.read(life, following).events == [THREE]
