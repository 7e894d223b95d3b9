"""Is an actor called as an object of this process is?"""

import os
import subprocess
import sys

import pytest

from cluster.runtime.actors import Handle, Local, Remote, this_actor
from tests.support.root import ROOT


class Counter:
    """Counts, and knows itself."""

    def __init__(self, first: int) -> None:
        self.count = first

    def add(self, number: int, times: int = 1) -> int:
        """Add a number."""
        if number < 0:
            raise ValueError(f"number={number} is negative")
        self.count += number * times
        return self.count

    def process(self) -> int:
        """The process it lives in."""
        return os.getpid()

    def itself(self) -> Remote[object]:
        """Its own handle."""
        return this_actor()


def use(counter: Handle[Counter]) -> None:
    """What holds of every handle."""
    answer = counter.call(Counter.add, 2, 3)
    assert answer.get() == 16 and answer.is_there()
    assert counter.call(Counter.add, 1, 1).get(30.0) == 17


def test_an_object_of_this_process_answers_at_once() -> None:
    use(Local(Counter(10)))
    with pytest.raises(ValueError, match="number=-1 is negative"):
        Local(Counter(10)).call(Counter.add, -1, 1)


SCRIPT = """
from cluster.runtime.actors import SERVICE, start_actor
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from tests.cluster.runtime.test_actors import Counter, use
with connect(ClusterConfig()):
    counter = start_actor(Counter, SERVICE, 10)
    use(counter)
    counter.ready().get(30.0)
    try:
        counter.call(Counter.add, -1, 1).get()
    except ValueError as error:
        assert "number=-1 is negative" in str(error)
    again = counter.call(Counter.itself).get()
    assert again.call(Counter.add, 1, 1).get() == 18
    before = counter.call(Counter.process).get()
    counter.kill(restart=True)
    while counter.call(Counter.process).get(60.0) == before:
        pass  # Ray's kill is a message: calls may overtake it
    assert counter.call(Counter.add, 1, 1).get(60.0) == 11, "it starts again with what it was made with"
    counter.kill()
print("done")
"""


@pytest.mark.ray
def test_an_actor_answers_later_and_its_handle_travels() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.stdout.endswith("done\n"), ran.stderr[-2000:]
