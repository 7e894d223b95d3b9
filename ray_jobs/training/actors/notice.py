"""What is a worker told of a round before its first batch?"""

from collections.abc import Mapping
from typing import NamedTuple

from data_ops.rounds.manifest import Manifest


class RoundNotice(NamedTuple):
    """What a worker needs to know of a round; steps is -1 when the run has no further round."""

    steps: int
    tokens: int = 0
    fresh_documents: int = 0
    fresh_tokens: int = 0
    replay_tokens: int = 0
    last_window: int = -1
    closed: str = ""
    shed_documents: int = 0
    mixture: int = -1  # version of the mixture that the round was cut by; -1: there is none
    shares: Mapping[str, float] = {}  # of the fresh tokens, by source, as they were
    dry: tuple[str, ...] = ()  # sources that had less than their share, which others took
    drift: Mapping[str, float] = {}  # population stability index of each source that is watched
    drifted: tuple[str, ...] = ()  # what is said of the sources whose text has changed
    drift_alarms: int = 0  # how often that was said in the whole run


def notice_of(manifest: Manifest) -> RoundNotice:
    """What a worker needs to know of a planned round."""
    watched = manifest.mix.watch if manifest.mix else None
    fresh, replay = int(manifest.fresh.lengths.sum()), int(manifest.replay.lengths.sum())
    return RoundNotice(
        steps=manifest.steps,
        tokens=fresh + replay,
        fresh_documents=len(manifest.fresh),
        fresh_tokens=fresh,
        replay_tokens=replay,
        last_window=max(manifest.begins.newest.window, manifest.ends.newest.window),
        closed=manifest.closed,
        shed_documents=len(manifest.shed),
        mixture=manifest.mix.version if manifest.mix else -1,
        shares=manifest.mix.trained_shares if manifest.mix else {},
        dry=manifest.mix.dry if manifest.mix else (),
        drift=watched.psi if watched else {},
        drifted=tuple(alarm.words for alarm in watched.alarms) if watched else (),
        drift_alarms=watched.raised if watched else 0,
    )
