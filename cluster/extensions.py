"""Which members do installed packages add to an extension point, without a fork of this one?

A package names them in its pyproject (`[project.entry-points."headrace.rules"]`), and every process whose Python path
has the package sees them: the driver and all workers. Names are read from the packages' metadata; a member is imported
when it is first asked for by name, so that what nobody uses costs nothing and breaks nothing.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


class ExtensionError(ValueError):
    """A package adds a member that cannot be used; the message names package, group and mend."""


def members(group: str) -> dict[str, object]:
    """Import all members that installed packages add to a group, by name."""
    return {name: _load(group, name) for name in _entries(group)}


class Members(Mapping[str, T], Generic[T]):
    """The members of one extension point: our own ones, then those of installed packages, by name.

    fits: whether a member of a package is what the extension point takes, which `wanted` says in words.
    """

    def __init__(self, group: str, own: dict[str, T], fits: Callable[[object], bool], wanted: str) -> None:
        self.group, self.own, self._fits, self._wanted = group, own, fits, wanted

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *_entries(self.group)]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            return self.own[name]
        member = _load(self.group, name)
        if not self._fits(member):
            entry = _entries(self.group)[name]
            raise ExtensionError(
                f"{self.group}: {name} = {entry.value} of {_package(entry)} is {member!r}, not {self._wanted}; "
                "mend or uninstall the package"
            )
        return member  # type: ignore[return-value]  # `fits` has just said so

    def named(self, name: str, what: str) -> T:
        """Return a member; ValueError with the nearest name where there is none. what: a noun for the message."""
        if name not in list(self):
            close = difflib.get_close_matches(name, list(self), n=1, cutoff=0.4)
            hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(self)}"
            raise ValueError(f"there is no {what} {name!r}; {hint}")
        return self[name]


def configured(model: type[S], what: str, values: Mapping[str, object]) -> S:
    """Make a member's settings; ValueError, in one sentence, for keys and values that do not fit. what: its name."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            raise ValueError(f"{what} has no key {key!r}; use some of {list(model.model_fields)}") from None
        if mistake["type"] == "missing":
            raise ValueError(f"{what} has no {key}; give it: {model.model_fields[key].description}") from None
        if mistake["type"] == "value_error":
            raise ValueError(f"{what}: {mistake['ctx']['error']}") from None
        raise ValueError(f"{what} has {key}={mistake['input']!r}: {mistake['msg']}; mend it") from None


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        other = entries.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ExtensionError(
                f"{group}: {entry.name} is added by {_package(other)} ({other.value}) and by {_package(entry)} "
                f"({entry.value}); uninstall one of them"
            )
    return entries


@cache
def _load(group: str, name: str) -> object:
    entry = _entries(group)[name]
    try:
        return entry.load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ExtensionError(
            f"{group}: {name} = {entry.value} of {_package(entry)} cannot be imported ({why}); "
            "mend or uninstall the package"
        ) from error


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
