"""What is the difference between two champions: text, slices, settings?"""

from collections.abc import Mapping
from typing import TypedDict

import pyarrow as pa

from cluster.readable import share
from cluster.storage.seal import DamagedError
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.rounds.manifest import Mixed
from models.measures.metrics import bits_per_byte
from ray_jobs.cards.facts import CheckpointFacts
from ray_jobs.evaluation.decision import DecisionRow, SliceRow
from ray_jobs.evaluation.scores import read_scores
from ray_jobs.store.paths import run_path

#: Settings that say where and when, not what; they differ between runs without a word about the weights.
ELSEWHERE = ("name", "store", "cluster", "telemetry", "wandb", "plan", "serve", "sweep", "card")
FIGURES = ("", "-judged")  # under which names figures of a checkpoint are kept


class Changed(TypedDict):
    """One thing that is another one in the second; None: it has none."""

    what: str
    first: object
    second: object


class Difference(TypedDict):
    """Two checkpoints beside each other; `slices` say what their figures are of in `compared`."""

    first: str
    second: str
    changed: list[Changed]
    compared: str
    slices: list[SliceRow]
    settings: list[Changed]


def difference(store: Store, first: CheckpointFacts, second: CheckpointFacts) -> Difference:
    """Compare two checkpoints of a store, the older one first."""
    compared, slices = _slices(store, first, second)
    pairs = {name: (_known(first)[name], known) for name, known in _known(second).items()}
    mine, theirs = made_with(store, first), made_with(store, second)
    settings = {name: (mine.get(name), theirs.get(name)) for name in sorted({*mine, *theirs})}
    return {
        "first": first.name,
        "second": second.name,
        "changed": _changed(pairs),
        "compared": compared,
        "slices": slices,
        "settings": _changed(settings),
    }


def _changed(pairs: Mapping[str, tuple[object, object]]) -> list[Changed]:
    return [{"what": what, "first": a, "second": b} for what, (a, b) in pairs.items() if a != b]


def _known(facts: CheckpointFacts) -> dict[str, object]:
    """What is compared of a checkpoint, beside settings and slices."""
    entry = facts.service.entry if facts.service else None
    return {
        "run": facts.main,
        "windows": f"0 to {facts.last_window}" if facts.last_window >= 0 else "none",
        "rounds": facts.rounds,
        "tokens": facts.tokens,
        "begins with": facts.origin.named if facts.origin else None,
        "sample fingerprint": facts.sample,
        "tokenizer": entry.tokenizer if entry and entry.tokenizer else facts.state.tokenizer if facts.state else None,
        "weights": facts.weights_sha256,
        "mixture": mixture_words(facts.mixture),
        "forgotten ids then": facts.forgetting.ids - facts.forgetting.ids_since,
        "forgotten epoch": facts.forgetting.epochs - facts.forgetting.epochs_since,
    }


def mixture_words(mixed: Mixed | None) -> str | None:
    """The mixture that the last round was cut by, in words; None where documents came in the order of the log.

    >>> mixture_words(Mixed(2, 5, 100, {"web": 0.75, "wiki": 0.25}, {}, {}))
    'version 2: web 75 %, wiki 25 %'
    """
    if mixed is None:
        return None
    shares = ", ".join(f"{label} {share(part)}" for label, part in mixed.shares.items())
    return f"version {mixed.version}: {shares or 'in the order of the log'}"


def _slices(store: Store, first: CheckpointFacts, second: CheckpointFacts) -> tuple[str, list[SliceRow]]:
    """The figures of both, and on which documents they are."""
    decision = second.service.decision if second.service else None
    if decision and decision.get("against") == first.name:
        return "as the gate compared them, with its bounds", decision.get("slices", [])
    mine, theirs = _figures(store, first.name), _figures(store, second.name)
    if mine is not None and theirs is not None and (rows := paired(mine, theirs)):
        return "on the documents that both were scored on", rows
    rows = _apart(first.service.decision if first.service else None, decision)
    return ("each on the documents of its own judgement" if rows else "no figures were kept of both"), rows


def _figures(store: Store, name: str) -> pa.Table | None:
    """What was kept of a checkpoint's scores, document by document; None where there is nothing that can be trusted."""
    run, _, step = name.rpartition("/")
    tables = []
    for kind in FIGURES:
        try:
            tables.append(read_scores(store, run, f"{step}{kind}").select(["id", "slice", "num_bytes", "nats"]))
        except (FileNotFoundError, DamagedError):
            continue
    if not tables:
        return None
    whole = pa.concat_tables([table.cast(tables[0].schema) for table in tables])
    once = whole.group_by(["id", "slice"], use_threads=False).aggregate([("num_bytes", "first"), ("nats", "first")])
    return once.rename_columns({"num_bytes_first": "num_bytes", "nats_first": "nats"})


def paired(first: pa.Table, second: pa.Table) -> list[SliceRow]:
    """Bits per byte of two checkpoints by slice, on the documents (id) that both tables have."""
    both = first.join(second.drop_columns(["slice"]), "id", join_type="inner", right_suffix="_second")
    sums = both.group_by("slice").aggregate(
        [("num_bytes", "sum"), ("nats", "sum"), ("nats_second", "sum"), ("id", "count")]
    )
    rows: list[SliceRow] = []
    for row in sums.sort_by("slice").to_pylist():
        before, after = (bits_per_byte(row[nats], row["num_bytes_sum"]) for nats in ("nats_sum", "nats_second_sum"))
        rows.append(_row(row["slice"], row["id_count"], before, after))
    return rows


def _apart(first: DecisionRow | None, second: DecisionRow | None) -> list[SliceRow]:
    """What each had on its own documents."""
    before = {s["name"]: s["after"] for s in (first or {}).get("slices", [])}
    after = {s["name"]: s for s in (second or {}).get("slices", []) if s["name"] in before}
    return [_row(name, s["documents"], before[name], s["after"]) for name, s in after.items()]


def _row(name: str, documents: int, before: float | None, after: float | None) -> SliceRow:
    change = after - before if before is not None and after is not None else None
    return {"name": name, "documents": documents, "before": before, "after": after, "difference": change}


def made_with(store: Store, facts: CheckpointFacts) -> dict[str, object]:
    """The settings that a checkpoint was made and judged by, by dotted name.

    Model, batch and precision are those of the checkpoint, the gate's those of the ask; all others are the last that
    its run wrote down.
    """
    found = flat({key: value for key, value in run_settings(store, facts.main).items() if key not in ELSEWHERE})
    if facts.state is not None:
        state = facts.state
        found |= flat({"model": state.model})
        engine = {"batch_tokens": state.batch_tokens, "precision": state.precision, "zero_stage": state.zero_stage}
        found |= flat({"engine": {key: value for key, value in engine.items() if value is not None}})
    ask = facts.service.ask if facts.service else None
    return found | (flat({"gate": ask.rules.gate, "evaluate": ask.rules.evaluate}) if ask else {})


def run_settings(store: Store, run: str) -> Mapping[str, object]:
    """What a run wrote down of its configuration, without secrets; {} where it did not."""
    try:
        return read_json(store, run_path(run, "config.json"), dict[str, object])
    except FileNotFoundError:
        return {}


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested values by their dotted names.

    >>> flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found
