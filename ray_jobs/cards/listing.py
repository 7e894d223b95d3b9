"""What do `headrace registry list`, `show` and `diff` tell, as values and as lines?"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypedDict

from cluster.readable import many, seconds, short, signed, whole
from ray_jobs.cards.comparing import Changed, Difference, mixture_words
from ray_jobs.cards.facts import CheckpointFacts
from ray_jobs.evaluation.decision import SliceRow
from ray_jobs.registry.ancestry import Ancestry
from ray_jobs.registry.champions import ServiceTime

SLICES_SHOWN, REASON_CHARS = 24, 100


class ChampionRow(TypedDict):
    """A checkpoint's time in service; since, until: ISO 8601, None: not kept, or still."""

    number: int
    checkpoint: str
    how: str
    since: str | None
    until: str | None
    in_service: bool
    reason: str
    tokens: int | None
    slices: list[SliceRow]
    tasks: dict[str, SliceRow]  # at which it was compared with the champion before it: each as a whole


class CheckpointRow(TypedDict):
    """What is known of a checkpoint; last_window: -1 where it was trained on none."""

    checkpoint: str
    champion: ChampionRow | None
    committed: str | None
    kept: bool
    run: str
    branched_at: int | None
    begins_with: str | None
    rounds: int
    last_window: int
    tokens: int | None
    sample_fingerprint: str | None
    weights_sha256: str | None
    mixture: str | None
    forgotten_epoch: int
    forgotten_ids: int
    forgotten_ids_since: int


def champion_row(one: ServiceTime, ancestry: Ancestry) -> ChampionRow:
    """Tell of a time in service."""
    state = ancestry.state(one.name)
    return {
        "number": one.number,
        "checkpoint": one.name,
        "how": str(one.how),
        "since": iso(one.entry.decided),
        "until": iso(one.until_s),
        "in_service": one.until_s is None,
        "reason": one.reason,
        "tokens": state.position.tokens if state else None,
        "slices": (one.decision or {}).get("slices", []),
        "tasks": {task: rows[0] for task, rows in ((one.decision or {}).get("tasks") or {}).items() if rows},
    }


def checkpoint_row(facts: CheckpointFacts, champion: ChampionRow | None) -> CheckpointRow:
    """Tell of a checkpoint."""
    forgetting = facts.forgetting
    return {
        "checkpoint": facts.name,
        "champion": champion,
        "committed": facts.committed.isoformat() if facts.committed else None,
        "kept": facts.is_kept,
        "run": facts.main,
        "branched_at": facts.branched_at,
        "begins_with": facts.origin.named if facts.origin else None,
        "rounds": facts.rounds,
        "last_window": facts.last_window,
        "tokens": facts.tokens,
        "sample_fingerprint": facts.sample,
        "weights_sha256": facts.weights_sha256,
        "mixture": mixture_words(facts.mixture),
        "forgotten_epoch": forgetting.epochs - forgetting.epochs_since,
        "forgotten_ids": forgetting.ids - forgetting.ids_since,
        "forgotten_ids_since": forgetting.ids_since,
    }


def iso(time_s: float | None) -> str | None:
    """A time in seconds since 1970 as ISO 8601; None where there is none."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds") if time_s else None


def moment(time_s: float | None) -> str:
    """The same for people.

    >>> moment(1795982302.9)
    '2026-11-29 19:58'
    """
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M") if time_s else "when is not known"


def span_words(first: datetime | None, last: datetime | None) -> str:
    """From when to when, in days."""
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}" if first and last else "not known"


def list_lines(found: Sequence[ChampionRow], now_s: float) -> list[str]:
    """The champions of a store, one a line, newest last."""
    if not found:
        return ["no checkpoint was in service yet"]
    wide = max(len(row["checkpoint"]) for row in found)
    lines = []
    for row in found:
        began, ended = (datetime.fromisoformat(at).timestamp() if at else None for at in (row["since"], row["until"]))
        served = f"for {seconds(max((ended or now_s) - began, 0.0))}" if began else "how long is not known"
        state = "in service " if row["in_service"] else ""
        tokens = f"{short(row['tokens'])} tokens" if row["tokens"] is not None else "tokens not known"
        name = f"{row['number']:>3}  {row['checkpoint']:<{wide}}  {moment(began)}  {row['how']:<8}"
        reason = row["reason"] if len(row["reason"]) <= REASON_CHARS else row["reason"][:REASON_CHARS] + "…"
        lines += [f"{name}  {state}{served}, {tokens}", f"     {reason}"]
    return lines


def show_lines(row: CheckpointRow) -> list[str]:
    """One checkpoint in full."""
    champion = row["champion"]
    lines = [f"checkpoint   {row['checkpoint']} ({'kept' if row['kept'] else 'retired, its files are gone'})"]
    if champion:
        until = "in service" if champion["in_service"] else f"until {champion['until']}"
        lines.append(f"champion     number {champion['number']}, {champion['how']} {champion['since'] or ''}, {until}")
        lines.append(f"reason       {champion['reason']}")
    else:
        lines.append("champion     never in service")
    branch = f", a branch that left it at step {row['branched_at']:,}" if row["branched_at"] is not None else ""
    windows = f"windows 0 to {row['last_window']}" if row["last_window"] >= 0 else "no window"
    lines += [
        f"run          {row['run']}{branch}" + (f", begun with {row['begins_with']}" if row["begins_with"] else ""),
        f"trained on   {windows}, {many(row['rounds'], 'round')}, {whole(row['tokens'])} tokens",
        f"mixture      {row['mixture'] or 'none: the order of the log'}",
        f"sample       {row['sample_fingerprint'] or 'not recorded'}",
        f"weights      {row['weights_sha256'] or 'not recorded'}",
        f"forgotten    epoch {row['forgotten_epoch']}: {many(row['forgotten_ids'], 'id')} then, "
        f"{whole(row['forgotten_ids_since'])} since",
    ]
    lines += slice_lines(champion["slices"] if champion else [])
    tasks = champion["tasks"] if champion else {}
    return lines + [f"{'task':<12} {task_words(task, row)}" for task, row in tasks.items()]


def slice_lines(slices: Sequence[SliceRow], wide: int = 12) -> list[str]:
    """Figures by slice, old and new; the first so many."""
    lines = [f"{'slice':<{wide}} {slice_words(row)}" for row in slices[:SLICES_SHOWN]]
    return lines + [f"{'':<{wide}} {len(slices) - SLICES_SHOWN} more"] * (len(slices) > SLICES_SHOWN)


def slice_words(row: SliceRow) -> str:
    """One slice in words."""
    bounds = f" [{signed(row['low'], 4)}, {signed(row['high'], 4)}]" if row.get("low") is not None else ""
    before, after = (bits(row.get(name)) for name in ("before", "after"))
    change = signed(row.get("difference"), 4)
    role = f"{row['role']} " if row.get("role") else ""
    return f"{role}{row['name']}: {before} to {after}, {change}{bounds} bits/byte, {many(row['documents'], 'document')}"


def task_words(task: str, row: SliceRow) -> str:
    """One task in words, champion before to this one."""
    bounds = f" [{signed(row['low'], 4)}, {signed(row['high'], 4)}]" if row.get("low") is not None else ""
    before, after = (bits(row.get(name)) for name in ("before", "after"))
    change = f"{signed(row.get('difference'), 4)}{bounds} {row.get('unit', '')}"
    return f"{task}: {before} to {after}, {change}, {many(row['documents'], 'question')}"


def bits(value: object) -> str:
    """Bits per byte; a dash where there is none.

    >>> bits(1.23456), bits(None)
    ('1.2346', '–')
    """
    return f"{value:.4f}" if isinstance(value, float) else "–"


def diff_lines(told: Difference) -> list[str]:
    """Two checkpoints beside each other."""
    lines = [f"{'first':<18} {told['first']}", f"{'second':<18} {told['second']}"]
    lines += [_changed_line("", one) for one in told["changed"]]
    lines += [f"{'figures':<18} {told['compared']}", *slice_lines(told["slices"], 18)]
    lines += [_changed_line("setting ", one) for one in told["settings"]]
    return lines + [f"{'settings':<18} none differs"] * (not told["settings"])


def _changed_line(kind: str, one: Changed) -> str:
    before, after = ("none" if value is None else _plain(value) for value in (one["first"], one["second"]))
    return f"{kind + one['what']:<18} {before} -> {after}"


def _plain(value: object) -> str:
    return whole(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
