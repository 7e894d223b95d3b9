"""Does the resume matrix find what it looks for? Batches broken on purpose; and two chains of ours, with real kills."""

import json
from collections import Counter

import pytest

from benchmarks.matrix import __main__ as matrix
from benchmarks.matrix.protocol import RESUMES, SHORT, Attempt, Corpus, Difference, compare, consumed, corpora
from benchmarks.matrix.table import page

BATCHES = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "a")]  # a is replayed
NEW = frozenset("gh")
HARDEST = "grown three times, in two sources"


def test_the_same_batches_are_exact_whatever_rank_held_what():
    assert compare([("b", "a"), *BATCHES[1:]], BATCHES, NEW).exact
    assert str(Difference()) == "exact"


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ([("a", "b"), ("d",), ("e", "f"), ("g", "a")], Difference(lost=1, reordered=1)),
        ([("a", "b"), ("c", "d"), ("e", "f"), ("a",)], Difference(unseen=1, reordered=1)),
        ([("a", "b"), ("c", "d"), ("e", "f", "c"), ("g", "a")], Difference(repeated=1, reordered=1)),
        ([("c", "d"), ("a", "b"), ("e", "f"), ("g", "a")], Difference(reordered=2)),
        ([("a", "b"), ("c", "e"), ("d", "f"), ("g", "a")], Difference(reordered=2)),
        (BATCHES[:-1], Difference(lost=1, unseen=1, reordered=1)),  # the end is missing, with a replay
        ([*BATCHES, ("b",)], Difference(repeated=1, reordered=1)),
        ([("a", "b"), ("c", "c"), ("e", "f"), ("g", "a")], Difference(lost=1, repeated=1, reordered=1)),
    ],
)
def test_every_kind_of_difference_is_counted(broken, found):
    assert compare(broken, BATCHES, NEW) == found
    assert not found.exact


def test_what_a_killed_attempt_did_behind_the_next_ones_start_is_discarded():
    lives = [Attempt(0, (("a",), ("b",), ("c",))), Attempt(1, (("b",), ("c",), ("d",))), Attempt(4, (("e",),))]
    assert consumed(lives) == [("a",), ("b",), ("c",), ("d",), ("e",)]
    assert compare(consumed([lives[0], Attempt(3, (("b",),))]), [("a",), ("b",), ("c",)], NEW).repeated == 1


def test_an_attempt_cannot_start_where_nothing_was_trained():
    with pytest.raises(ValueError, match="starts at step 2, but only 1"):
        consumed([Attempt(0, (("a",),)), Attempt(2, (("b",),))])


def test_the_corpora_hold_duplicates_and_short_texts_behind_every_growth():
    grown = corpora()[HARDEST]
    assert {d.source for arrived in grown.growth for d in arrived} == {"a", "b"}
    before: set[str] = set()
    copies = Counter()
    for number, delivery in enumerate(grown.deliveries):
        texts = [json.loads(line)["text"] for line in delivery.lines]
        short = [text for text in texts if text.startswith(SHORT.format(""))]
        assert short and not before & set(delivery.trained)
        assert set(texts) - set(short) - before == set(delivery.trained)
        copies[number] = len(texts) - len(short) - len(delivery.trained)
        before |= set(delivery.trained)
    assert min(copies.values()) >= 1
    assert corpora()["unchanged"].growth == ((), (), ())


def test_a_cell_that_is_not_exact_stands_in_the_table():
    row = {
        "corpus": "c",
        "worlds": "1 → 2",
        "zero_stage": 0,
        "run": "r",
        "ok": True,
        "cells": {"first": "exact", "second": "exact"},
    }
    row |= {"weights_apart": 0.0, "loss_apart": 2e-6, "steps": 9, "starts": [1, 2, 3], "discarded": [3, 3, 3]}
    row |= {"ledger": dict.fromkeys(("trained", "lost", "repeated", "pending"), 0) | {"problems": ["two of it"]}}
    cells = enumerate(("exact", "L0 N0 R2 O1"))
    rows = [{**row, "zero_stage": n, "cells": {**dict.fromkeys(RESUMES, "exact"), "third": cell}} for n, cell in cells]
    part = {"date": "2026-01-01T00:00:00", "seconds": 1, "load_before": [1.0], "load_after": [2.0], "rows": rows}
    raw = {"parts": {"ours": {"c": part}}, "versions": {}, "cpu": "", "cores": 1, "memory_gb": 1, "python": "3"}
    text = page(raw)
    assert "5 of 6 cells exact" in text
    assert "| c | 1 → 2 | third | exact (ZeRO 0); L0 N0 R2 O1 (ZeRO 1) |" in text
    assert "2.0e-06" in text and "two of it" in text


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        matrix.main(["webdataset"])
    assert "'webdataset' is no part" in capsys.readouterr().err


def test_a_changed_mixture_that_is_not_exact_stands_in_the_table():
    row = {"change": "pause", "workers": 2, "killed": "in", "changed_round": 3, "rounds": 9, "start": 20, "steps": 60}
    row |= {"cells": {"in": "L1 N0 R0 O2"}, "weights_apart": 1e-3}
    row |= {"shares": {"before": {"a": 0.5}, "after": {"a": 0.5}}}
    row |= {"ledger": dict.fromkeys(("trained", "shed", "pending", "lost", "repeated"), 0)}
    rows = [row, {**row, "cells": {"in": "failed"}, "trouble": "a rank ended"}]
    part = {"date": "2026-01-01T00:00:00", "seconds": 1, "load_before": [1.0], "load_after": [2.0], "rows": rows}
    raw = {"parts": {"mixture": {"pause at 2": part}}, "versions": {}, "cpu": "", "cores": 1, "memory_gb": 1}
    text = page({**raw, "python": "3"})
    assert "0 of 2 cells exact" in text and "By corpus" not in text
    assert "| pause | 2 | in | 3 | 9 | 20 | 60 | 50.0% | 50.0% | L1 N0 R0 O2 | 1.0e-03 |" in text
    assert "**failed: a rank ended**" in text


@pytest.mark.ray
@pytest.mark.long  # a minute; tests/ray_jobs/mixture/test_live.py is shorter
def test_a_run_whose_mixture_is_changed_is_exact_when_it_is_killed_in_the_change():
    from benchmarks.matrix import mixture

    (row,) = mixture.measure("reweight", 1, ("in",))
    assert row["ok"], row
    assert (row["cells"], row["weights_apart"], row["both_from_the_first"]) == ({"in": "exact"}, 0, True)


@pytest.mark.ray
def test_killed_grown_and_resumed_at_other_worlds_the_same_is_trained():
    from benchmarks.matrix import ours

    grown = corpora()[HARDEST]
    small = Corpus(grown.first, grown.growth[:2])
    rows = ours.measure("grown twice", small, (("1 → 2", 3),), kills=(13, 27))
    assert [(row["cells"], row["ok"]) for row in rows] == [({"first": "exact", "second": "exact"}, True)]
    assert all(discarded >= 3 for discarded in rows[0]["discarded"])
