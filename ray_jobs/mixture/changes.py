"""How is the mixture of a run changed? Each change is a function of the mixture before; its result is a new version.

The version is written once under the next number. Where somebody else was faster, the change is made to their version.
"""

import re
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from cluster.planner.config import parse_count
from cluster.storage.store import Store
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.versions import MixtureVersion, configure, newest, publish_version
from ray_jobs.mixture.asking import Action, Asking
from ray_jobs.mixture.standing import Standing, standing
from ray_jobs.outcome import ConfigError

Change = Callable[[MixtureConfig], dict[str, object]]
ORDERS = {"proportional": "proportional", "by_time": "by_time", "log": None}
SHARE = re.compile(r"(?P<label>[A-Za-z0-9][A-Za-z0-9._-]*)=(?P<part>[0-9.eE+-]+%?)")
STAGE = re.compile(r"(?P<at>\+?[0-9][0-9_.]*[kKMBGT]?):(?P<shares>.+)")


def change_asked(asked: Asking, found: Standing) -> Change:
    """Read what is to be changed; ConfigError for what cannot be understood."""
    action, words = asked.action, asked.words
    if action is Action.SET:
        more = {k: v for k, v in {"floor": asked.floor, "replay_share": asked.replay_share}.items() if v is not None}
        if not words and not more and not asked.max_repeats:
            raise ConfigError("say what to set, for example: headrace mix set web=0.7 wiki=0.3")
        return lambda old: {**old.model_dump(), **_set(words, old), **more, **_limits(asked.max_repeats, old)}
    if not words:
        raise ConfigError(f"say which source, for example: headrace mix {action} {EXAMPLES[action]}")
    if action is Action.SCHEDULE:
        stages = [_stage(word, found.trained) for word in words]
        return lambda old: {**old.model_dump(), "shares": None, "schedule": stages}
    if action is Action.ADD:
        return lambda old: _add(old, words)
    return lambda old: _idle(action, old, words)


EXAMPLES = {"add": "code=0.2", "remove": "code", "pause": "code", "resume": "code", "schedule": "0:web=1 50M:web=1"}


def write_version(store: Store, run: str, made: Change, asked: Asking) -> MixtureVersion:
    """Write the next version; ConfigError where what would come out cannot be."""
    found = standing(store, run)
    if found.recorded.round.max_backlog_tokens is not None:
        raise ConfigError(
            f"run {run} sheds by round.max_backlog_tokens={found.recorded.round.max_backlog_tokens}, which a mixture "
            "cannot do; start it again without"
        )
    if not found.versions and found.recorded.configured is not None:
        configure(store, run, found.recorded.configured, 0)  # what the change is a change of
    while True:
        last = newest(store, run)
        mixture = _checked(made(last.rule if last else found.newest), found)
        version = MixtureVersion(
            version=last.version + 1 if last else 0,
            mixture=mixture,
            from_round=asked.from_round,
            why=" ".join([asked.action.value, *asked.words, *_options(asked)]),
            drifted=last.drifted if last else {},
        )
        if publish_version(store, run, version):
            return version


def _checked(wanted: dict[str, object], found: Standing) -> MixtureConfig:
    try:
        mixture = MixtureConfig.model_validate(wanted)
    except ValidationError as error:
        told = [
            f"{'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}".removeprefix(": ").removeprefix(
                "Value error, "
            )
            for mistake in error.errors()
        ]
        raise ConfigError("\n".join(dict.fromkeys(told))) from None
    if strangers := sorted(mixture.named - found.sources):
        raise ConfigError(
            f"there is no source {', '.join(strangers)}; there are {', '.join(sorted(found.sources)) or 'none yet'}. "
            "Take documents of a new source in first, for example with headrace ingest"
        )
    return mixture


def _set(words: Sequence[str], old: MixtureConfig) -> dict[str, object]:
    if not words:
        return {}
    if len(words) == 1 and words[0] in ORDERS:
        return {"shares": ORDERS[words[0]], "schedule": ()}
    shares = _shares(words)
    back = set(shares)
    removed = tuple(label for label in old.removed if label not in back)
    return {"shares": shares, "schedule": (), "removed": removed}


def _limits(words: Sequence[str], old: MixtureConfig) -> dict[str, object]:
    """Read TIMES, SOURCE=TIMES and none; sources that are not named keep what they have.

    >>> _limits(["web=2"], MixtureConfig(max_repeats={"wiki": 4}))
    {'max_repeats': {'wiki': 4, 'web': 2}}
    """
    if not words:
        return {}
    if len(words) == 1 and "=" not in words[0]:
        return {"max_repeats": None if words[0] == "none" else _times(words[0], words[0])}
    limits: dict[str, int] = dict(old.max_repeats) if isinstance(old.max_repeats, dict) else {}
    for word in words:
        label, has_times, times = word.partition("=")
        if not has_times:
            raise ConfigError(f"--max-repeats {word} stands beside others; write SOURCE=TIMES for each, such as web=4")
        if times == "none":
            limits.pop(label, None)
        else:
            limits[label] = _times(times, word)
    return {"max_repeats": limits or None}


def _times(text: str, word: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--max-repeats {word} is no number of times; write for example 4, web=4 or none")
    return int(text)


def _options(asked: Asking) -> list[str]:
    """What was asked beside words, as it is typed."""
    told = {"--floor": asked.floor, "--replay-share": asked.replay_share}
    return [f"{k} {v}" for k, v in told.items() if v is not None] + [f"--max-repeats {w}" for w in asked.max_repeats]


def _add(old: MixtureConfig, words: Sequence[str]) -> dict[str, object]:
    """Give sources a share of the whole; the others keep their proportions among themselves."""
    if old.schedule:
        raise ConfigError("the shares follow a schedule; write it anew with headrace mix schedule")
    if not isinstance(old.shares, dict):
        back = {word.partition("=")[0] for word in words}
        removed = tuple(label for label in old.removed if label not in back)
        if len(removed) == len(old.removed):
            raise ConfigError("no shares are stated, so every source is in already; state them with headrace mix set")
        return {**old.model_dump(), "removed": removed}
    added = _shares(words)
    if sum(added.values()) >= 1:
        raise ConfigError(
            f"{' '.join(words)} leaves nothing for the others; give shares of the whole, such as code=0.2"
        )
    rest = {label: part for label, part in old.shares.items() if label not in added}
    scale = (1 - sum(added.values())) / (sum(rest.values()) or 1)
    shares = {**{label: part * scale for label, part in rest.items()}, **added}
    removed = tuple(label for label in old.removed if label not in added)
    return {**old.model_dump(), "shares": shares, "removed": removed}


def _idle(action: Action, old: MixtureConfig, labels: Sequence[str]) -> dict[str, object]:
    """Pause, resume or remove sources."""
    new = old.model_dump()
    if action is Action.RESUME:
        if strangers := [label for label in labels if label not in old.paused]:
            raise ConfigError(f"{', '.join(strangers)} is not paused; paused is {', '.join(old.paused) or 'nothing'}")
        return {**new, "paused": tuple(label for label in old.paused if label not in labels)}
    if action is Action.PAUSE:
        return {**new, "paused": tuple(dict.fromkeys([*old.paused, *labels]))}
    new["removed"] = tuple(dict.fromkeys([*old.removed, *labels]))
    new["paused"] = tuple(label for label in old.paused if label not in labels)
    if isinstance(old.shares, dict):
        new["shares"] = {label: part for label, part in old.shares.items() if label not in labels}
        if not sum(new["shares"].values()) > 0:
            raise ConfigError(f"without {', '.join(labels)} nothing is left to train on; pause it, or stop the run")
    return new


def _shares(words: Sequence[str]) -> dict[str, float]:
    shares = {}
    for word in words:
        matched = SHARE.fullmatch(word)
        if not matched:
            raise ConfigError(f"{word!r} is no share; write SOURCE=SHARE, such as web=0.7 or web=70%")
        part = matched["part"]
        try:
            shares[matched["label"]] = float(part.removesuffix("%")) / (100 if part.endswith("%") else 1)
        except ValueError:
            raise ConfigError(f"{word!r}: {part} is no number; write for example web=0.7") from None
    return shares


def _stage(word: str, trained: int) -> dict[str, object]:
    """Read TOKENS:SOURCE=SHARE,...; with a + the tokens count from where the run is planned to.

    >>> _stage("+1M:web=0.5,wiki=0.5", 500_000)
    {'at': 1500000, 'shares': {'web': 0.5, 'wiki': 0.5}}
    """
    matched = STAGE.fullmatch(word)
    if not matched:
        raise ConfigError(f"{word!r} is no stage; write TOKENS:SOURCE=SHARE,..., such as 50M:web=0.5,wiki=0.5")
    at = matched["at"]
    count = parse_count(at.removeprefix("+"))
    assert isinstance(count, int)
    return {"at": count + (trained if at.startswith("+") else 0), "shares": _shares(matched["shares"].split(","))}
