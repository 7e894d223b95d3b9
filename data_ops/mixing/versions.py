"""Which mixture is in force? The newest version whose round has come; every version is a file that is written once.

A version is of a run: `runs/RUN/mixture/00000003.json`. A writer takes the next number, so of two who change the
mixture in the same moment one writes version 3 and the other, looking again, version 4. The planner reads them when
it plans a round and names the version in the round's manifest, so a change never touches a round that is planned.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from data_ops.mixing.config import MixtureConfig
from data_ops.steering.drift import Alarm

MEND = "restore the file from a copy; without it the run cannot know which mixture is in force"


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the file has it."""

    version: int
    from_round: int
    by: Literal["configuration", "command", "drift"]
    written_s: float
    why: str
    mixture: dict[str, Any] | None
    drifted: dict[str, int] = {}


@dataclass(frozen=True, kw_only=True)
class MixtureVersion:
    """One state of a run's mixture. mixture: None where the configuration has none any more: the order of the log."""

    version: int
    mixture: MixtureConfig | None
    from_round: int = 0  # the first round that it may be in force in
    by: Literal["configuration", "command", "drift"] = "command"
    written_s: float = 0.0  # unix
    why: str = ""  # in words, what was changed
    drifted: Mapping[str, int] = field(default_factory=dict)  # source -> window of the last alarm that paused it

    @property
    def rule(self) -> MixtureConfig:
        """The mixture by which rounds are cut."""
        return self.mixture or MixtureConfig()

    def unanswered(self, alarms: Sequence[Alarm]) -> list[Alarm]:
        """The alarms for which a source is still to be paused; one that was is not paused again behind a resume."""
        if self.rule.drift != "pause":
            return []
        going = [one for one in alarms if one.source not in self.rule.paused]
        return [one for one in going if self.drifted.get(one.source, -1) < one.window]


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
        drifted=dict(version.drifted),
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
            drifted=there[-1].drifted if there else {},
        )
        if publish_version(store, run, version):
            return version


def pause_drifted(store: Store, run: str, alarms: Sequence[Alarm], number: int) -> MixtureVersion:
    """Let the sources of these alarms wait from round `number` on, until somebody resumes them; what is in force then.

    Versions that are declared for a later round follow, with the same sources paused.
    """
    while True:
        in_force = version_for(store, run, number)
        assert in_force is not None, "the alarms are of a version"
        due = in_force.unanswered(alarms)
        if not due:
            return in_force
        there = versions(store, run)
        for offset, old in enumerate([in_force, *(one for one in there if one.version > in_force.version)]):
            paused = dict.fromkeys([*old.rule.paused, *(one.source for one in due)])
            version = MixtureVersion(
                version=len(there) + offset,
                mixture=old.rule.model_copy(update={"paused": tuple(paused)}),
                from_round=max(old.from_round, number),
                by="drift",
                why="; ".join(one.words for one in due),
                drifted={**old.drifted, **{one.source: one.window for one in due}},
            )
            if not publish_version(store, run, version):
                break  # somebody else has changed it: look again


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
        drifted=found.drifted,
    )


def _path(run: str, number: int) -> str:
    return f"runs/{run}/mixture/{number:08d}.json"


def _paths(store: Store, run: str) -> list[str]:
    return sorted(path for path in store.list(f"runs/{run}/mixture") if path.endswith(".json"))
