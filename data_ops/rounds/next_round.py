"""What is the next round? A run, a sweep and the feed of somebody else's loop all ask here.

Whether there is enough to cut it, from which sample of old text replay is drawn, and which documents it has: a pure
function of the log, of where the run stands, and of the mixture in force. Without a mixture the log is one line, and a
round a stretch of it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Place
from data_ops.lake.lake import Lake
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.mixed_cut import Before, Looked, cut_mixed
from data_ops.mixing.versions import MixtureVersion
from data_ops.rounds.cut import END, cut_round
from data_ops.rounds.draw import circle_places, ties_of
from data_ops.rounds.manifest import Manifest, Planning
from data_ops.rounds.plan import Behind, PlanInput, Ruled, plan_mixed, plan_round
from data_ops.sampling.shard import Sample
from data_ops.steering.drift import Alarm, Watch, watch_windows
from data_ops.steering.repeats import Limited, Repeats, limits_of


class NothingLeft(NamedTuple):
    """The run has no further round: nothing waits that may be trained, and nothing comes."""

    last_window: int


class Drifted(NamedTuple):
    """The text of sources has changed that the mixture wants paused then: write such a version, and plan anew."""

    alarms: Sequence[Alarm]


def next_round(
    plan: Planning,
    number: int,
    behind: Behind,
    looked: Looked,
    version: MixtureVersion | None,
    sample: Callable[[Frontier], Sample],
) -> Manifest | NothingLeft | Drifted | None:
    """Plan round `number`; None: wait for more.

    version: of the run's mixture; None where it never had one. sample: the reservoir as of a frontier of whole windows.
    """
    if version is None:
        return _of_one_line(plan, number, behind.frontier.base, looked, sample)
    rule, rounds = version.rule, plan.rounds
    if rule.replay_share is not None:
        rounds = rounds.model_copy(update={"replay_share": rule.replay_share})
    turn = cut_mixed(rule, behind.before, looked, rounds.fresh_tokens)
    if turn is None:
        return None
    if turn.closed == END:
        return NothingLeft(looked.last_window)
    watched = _watch(rule, plan.seed, behind.before, looked.log, turn.window)
    if watched and (alarms := version.unanswered(watched.alarms)):
        return Drifted(alarms)
    upto = sampled_at(behind.frontier, looked.log, turn.window)
    drawn = sample(upto).without(rule.removed)
    limited = _limited(rule, plan.seed, behind.before, drawn, upto)
    given = PlanInput(rounds, plan.shape, plan.seed, drawn.documents, drawn.fingerprint, limited)
    planned = plan_mixed(given, number, behind, looked.log, turn, Ruled(version.version, watched))
    if turn.closed == "starved" and not planned.steps and not len(planned.shed):
        return None  # nothing may be replayed any more: a round of nothing would follow another for ever
    return planned


def _watch(rule: MixtureConfig, seed: int, before: Before, log: pa.Table, window: int) -> Watch | None:
    """What is known of the sources' text up to a window; None where nobody asked."""
    if rule.drift is None:
        return None
    log = log.filter(pc.invert(pc.is_in(log["source"], pa.array(rule.removed, pa.string()))))
    return watch_windows(before.watch or Watch(before.window), log, window, ties_of(seed))


def _limited(rule: MixtureConfig, seed: int, before: Before, drawn: Sample, upto: Frontier) -> Limited | None:
    """How often the documents of a sample may still be replayed; None where the mixture says nothing of it."""
    if rule.max_repeats is None:
        return None
    documents, labels = drawn.documents, sorted(set(drawn.sources.tolist()))
    repeats = before.repeats or Repeats()
    limits = limits_of(rule.max_repeats, sorted({*labels, *repeats.known}))
    places = circle_places(documents.ids, seed)
    return Limited(repeats, limits, drawn.sources, documents.windows, places, documents.lengths, upto)


def _of_one_line(
    plan: Planning, number: int, start: Place, looked: Looked, sample: Callable[[Frontier], Sample]
) -> Manifest | NothingLeft | None:
    log, last = looked.log, looked.last_window
    cut = cut_round(log, last, plan.rounds.fresh_tokens, drained=looked.drained, is_late=looked.is_late)
    if cut is None:
        return None
    if cut.closed == END:
        return NothingLeft(last)
    drawn = sample(Frontier.through(cut.sampled_window))
    given = PlanInput(plan.rounds, plan.shape, plan.seed, drawn.documents, drawn.fingerprint)
    return plan_round(given, number, start, log, cut.closed)


def sampled_at(stands: Frontier, log: pa.Table, window: int) -> Frontier:
    """Up to where, source by source, replay may be drawn from: whole windows of which everything is planned.

    It never goes back from round to round, so that the reservoir only ever takes in more.
    """
    count = int(np.searchsorted(log["window"].to_numpy(), window, side="right"))
    names = log["source"].combine_chunks().slice(0, count).dictionary_encode()
    numbers, first = np.unique(names.indices.to_numpy(), return_index=True)
    windows, labels = log["window"].to_numpy()[first].tolist(), names.dictionary.to_pylist()
    places = {label: Place(at.window + (at.position > 0)) for label, at in stands.ahead.items()}
    places |= {labels[number]: Place(at) for number, at in zip(numbers.tolist(), windows, strict=True)}
    base = min(places[labels[number]] for number in numbers.tolist()) if len(numbers) else Place(window + 1)
    return Frontier.of_places(max(base, Place(stands.base.window)), places)


def behind_round(lake: Lake, run: str, manifest: Manifest, version: MixtureVersion | None) -> Behind:
    """Where a run stands behind a round of it; trained tokens are counted anew where that round had no mixture."""
    if version is None or manifest.mix is not None:
        return Behind.of(manifest)
    table = lake.rounds(run)
    manifests = [Manifest.from_row(table, row) for row in range(min(manifest.round + 1, table.num_rows))]
    trained = sum(int(m.documents.lengths.sum()) for m in manifests)
    return Behind(manifest.ends, Before(tokens=trained))
