"""Which mixture is in force? The newest version whose round has come; every version is a file that is written once.

A version is of a run: `runs/RUN/mixture/00000003.json`. A writer takes the next number, so of two who change the
mixture in the same moment one writes version 3 and the other, looking again, version 4. The planner reads them when
it plans a round and names the version in the round's manifest, so a change never touches a round that is planned.
"""

import time
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from data_ops.mixing.config import MixtureConfig

MEND = "restore the file from a copy; without it the run cannot know which mixture is in force"


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the file has it."""

    version: int
    from_round: int
    by: Literal["configuration", "command"]
    written_s: float
    why: str
    mixture: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class MixtureVersion:
    """One state of a run's mixture. mixture: None where the configuration has none any more: the order of the log."""

    version: int
    mixture: MixtureConfig | None
    from_round: int = 0  # the first round that it may be in force in
    by: Literal["configuration", "command"] = "command"
    written_s: float = 0.0  # unix
    why: str = ""  # in words, what was changed

    @property
    def rule(self) -> MixtureConfig:
        """The mixture by which rounds are cut."""
        return self.mixture or MixtureConfig()


def versions(store: Store, run: str) -> list[MixtureVersion]:
    """All versions of a run, oldest first. Raises DamagedError where one is not what was written."""
    return [_read(store, path) for path in _paths(store, run)]


def version_for(store: Store, run: str, number: int) -> MixtureVersion | None:
    """The version that round `number` is planned by, if it is planned now; None: the run has no mixture."""
    for path in reversed(_paths(store, run)):
        version = _read(store, path)
        if version.from_round <= number:
            return version
    return None


def newest(store: Store, run: str) -> MixtureVersion | None:
    """The version that was written last, in force yet or not."""
    paths = _paths(store, run)
    return _read(store, paths[-1]) if paths else None


def publish_version(store: Store, run: str, version: MixtureVersion) -> bool:
    """Write a version; False where that number was written by somebody else."""
    plain = version.mixture.model_dump(mode="json", exclude_defaults=True) if version.mixture is not None else None
    written = _Written(
        version=version.version,
        from_round=version.from_round,
        by=version.by,
        written_s=version.written_s or time.time(),
        why=version.why,
        mixture=plain,
    )
    return publish_json(store, _path(run, version.version), written)


def configure(store: Store, run: str, configured: MixtureConfig | None, first_round: int) -> MixtureVersion | None:
    """Let what the configuration says be in force from a round on, unless it says what it said at the last start.

    So what `headrace mix` has changed since stays, until somebody changes the configuration. Returns the new version.
    """
    while True:
        there = versions(store, run)
        said = next((one.mixture for one in reversed(there) if one.by == "configuration"), None)
        if said == configured:
            return None
        version = MixtureVersion(
            version=len(there),
            mixture=configured,
            from_round=first_round,
            by="configuration",
            why="the configuration says so",
        )
        if publish_version(store, run, version):
            return version


def _read(store: Store, path: str) -> MixtureVersion:
    found = read_json(store, path, _Written, MEND)
    mixture = None if found.mixture is None else MixtureConfig.model_validate(found.mixture)
    return MixtureVersion(
        version=found.version,
        mixture=mixture,
        from_round=found.from_round,
        by=found.by,
        written_s=found.written_s,
        why=found.why,
    )


def _path(run: str, number: int) -> str:
    return f"runs/{run}/mixture/{number:08d}.json"


def _paths(store: Store, run: str) -> list[str]:
    return sorted(path for path in store.list(f"runs/{run}/mixture") if path.endswith(".json"))
