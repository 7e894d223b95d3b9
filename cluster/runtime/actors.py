"""How is a Ray actor called with types, and a test's plain object in the same way?

`Remote` wraps Ray's handle, `Local` an object of this process; both are a `Handle`, whose `call` takes a method of the
actor's class and its arguments, so that a wrong name or type is seen before anything runs:

    answer = feed.call(Feed.batch, 3, 17, rank, world)      # Answer[Batch]
    batch = answer.get()
"""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar, TypeVarTuple

import ray
from ray.actor import ActorHandle

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
T_co = TypeVar("T_co", covariant=True)

SERVICE: Mapping[str, object] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}  # starts again for ever


class Answer(Protocol[R_co]):
    """What a call gives, perhaps later."""

    def get(self, timeout_s: float | None = None) -> R_co:
        """Wait for the answer; raises what the method raised, or a TimeoutError after `timeout_s`."""

    def is_there(self) -> bool:
        """Has it come?"""


class Handle(Protocol[T_co]):
    """Something whose methods can be called: an actor elsewhere or an object here."""

    def call(self, method: Callable[[T_co, *Ts], R], /, *arguments: *Ts) -> Answer[R]:
        """Call a method of T; the answer comes later."""


class _Coming(Generic[R]):
    """An answer of Ray's."""

    def __init__(self, reference: ray.ObjectRef) -> None:
        self.reference = reference

    def get(self, timeout_s: float | None = None) -> R:
        answer: R = ray.get(self.reference, timeout=timeout_s)
        return answer

    def is_there(self) -> bool:
        return bool(ray.wait([self.reference], timeout=0)[0])


class Remote(Generic[T_co]):
    """An actor of class T; it pickles, so that others can call the actor too."""

    def __init__(self, actor: ActorHandle) -> None:
        self.actor = actor

    def call(self, method: Callable[[T_co, *Ts], R], /, *arguments: *Ts) -> Answer[R]:
        """Call a method of the actor."""
        return _Coming(getattr(self.actor, method.__name__).remote(*arguments))

    def ready(self) -> Answer[object]:
        """Ask the actor whether it is there."""
        return _Coming(self.actor.__ray_ready__.remote())

    def kill(self, *, restart: bool = False) -> None:
        """End the actor at once."""
        ray.kill(self.actor, no_restart=not restart)


class _Come(Generic[R]):
    """An answer that is there."""

    def __init__(self, answer: R) -> None:
        self.answer = answer

    def get(self, timeout_s: float | None = None) -> R:
        return self.answer

    def is_there(self) -> bool:
        return True


class Local(Generic[T_co]):
    """An object of this process in an actor's place: a call is done when it returns, and raises at once."""

    def __init__(self, instance: T_co) -> None:
        self.instance = instance

    def call(self, method: Callable[[T_co, *Ts], R], /, *arguments: *Ts) -> Answer[R]:
        """Call the object's own method of that name."""
        answer: R = getattr(self.instance, method.__name__)(*arguments)
        return _Come(answer)


def start_actor(kind: Callable[[*Ts], T], options: Mapping[str, object], *arguments: *Ts) -> Remote[T]:
    """Start an actor of a class with Ray's options."""
    return Remote(ray.remote(kind).options(**options).remote(*arguments))


def this_actor() -> Remote[object]:
    """The actor in which this runs."""
    return Remote(ray.get_runtime_context().current_actor)
