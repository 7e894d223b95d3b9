"""Is what a history answers a function of the lake and a window, for every member, ours or a stranger's?"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_ops.curation.config import HISTORIES, CurateConfig
from data_ops.curation.history.history import HistoryRule
from data_ops.curation.reasons import meaning_of, reasons
from data_ops.documents.document import DOCUMENT_SCHEMA, document_ids
from data_ops.ingest.seen import Histories, drop_repeats, sketches_of
from data_ops.kernels.arrays import Bools, ids_to_array
from tests.support.lakes import add_window, make_documents, make_lake

NAMES = (*HISTORIES, "same_start")


class SameStart(HistoryRule):
    """Drop texts that start with the same word as one that was kept before."""

    columns: ClassVar[tuple[str, ...]] = ("text", "source")
    letters: int = 4

    def sketch(self, documents: pa.Table) -> pa.Table:
        return pa.table({"start": pc.utf8_slice_codeunits(documents["text"], 0, self.letters)})

    def open(self) -> "Starts":
        return Starts()


class Starts:
    """The beginnings of all texts."""

    def __init__(self) -> None:
        self.starts: set[str] = set()

    def add(self, sketches: pa.Table) -> Bools:
        new = []
        for start in sketches["start"].to_pylist():
            new.append(start not in self.starts)
            self.starts.add(start)
        return np.array(new, bool)

    def look(self, sketches: pa.Table) -> Bools:
        return np.array([start in self.starts for start in sketches["start"].to_pylist()], bool)


@pytest.fixture(autouse=True)
def _stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A history that a stranger added by one line joins all others."""
    monkeypatch.setitem(HISTORIES.own, "same_start", SameStart)
    yield


def documents(texts: list[str], source: str = "mine") -> pa.Table:
    ids = document_ids(pa.array(texts, pa.string()))
    return pa.table({"id": ids, "text": pa.array(texts, pa.string()), "source": pa.repeat(source, len(texts))})


def rule_of(name: str) -> HistoryRule:
    config = CurateConfig(histories=() if name == "duplicate" else ({"kind": name},))
    return CurateConfig.model_validate_json(config.model_dump_json()).remembered[name]


TEXTS = st.lists(st.sampled_from(["water", "watery", "wheel", "mill", "millrace", "race", "水车", "é"]), max_size=9)
ALIKE = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None, "max_examples": 30}


@pytest.mark.parametrize("name", NAMES)
class TestEveryHistory:
    @pytest.mark.slow
    @given(TEXTS, TEXTS, st.randoms(use_true_random=False))
    @settings(**ALIKE)
    def test_answers_by_what_was_added_in_whatever_order_calls_and_batches(self, name, texts, probes, rnd):
        rule, probe = rule_of(name), documents(probes)
        whole, pieces = rule.open(), rule.open()
        whole.add(rule.sketch(documents(texts)))
        rnd.shuffle(texts)
        for text in texts:
            pieces.add(rule.sketch(documents([text])))
        answer = whole.look(rule.sketch(probe)).tolist()
        assert answer == pieces.look(rule.sketch(probe)).tolist()
        assert answer == [bool(whole.look(rule.sketch(probe.slice(i, 1)))[0]) for i in range(len(probe))]
        assert answer == whole.look(rule.sketch(probe)).tolist(), "looking remembers nothing"

    @given(TEXTS)
    @settings(**ALIKE)
    def test_of_what_is_added_the_first_of_each_kind_is_new_and_is_known_from_then_on(self, name, texts):
        rule = rule_of(name)
        history, rows = rule.open(), rule.sketch(documents(texts))
        one_by_one = rule.open()
        assert history.add(rows).tolist() == [bool(one_by_one.add(rows.slice(i, 1))[0]) for i in range(len(texts))]
        assert history.look(rows).all() and not history.add(rows).any()
        assert not rule.open().look(rows).any()

    def test_reads_columns_of_the_lake_and_sketches_row_by_row(self, name):
        rule, rows = rule_of(name), documents(["water", "wheel", "mill"])
        assert set(rule.columns) <= set(DOCUMENT_SCHEMA.names)
        whole = rule.sketch(rows.select(list(rule.columns)))
        assert whole.num_rows == 3 and whole.equals(pa.concat_tables([rule.sketch(rows.slice(i, 1)) for i in range(3)]))

    def test_has_a_reason_with_a_meaning_and_no_rule_has_it(self, name):
        assert reasons()[name].fate == "dropped" and 10 < len(meaning_of(name)) < 120
        assert (HISTORIES[name].__doc__ or "").startswith("Drop ")

    @pytest.mark.slow
    def test_rebuilt_from_the_lake_it_answers_as_one_that_followed(self, name, tmp_path):
        lake, rules = make_lake(tmp_path), {name: rule_of(name)}
        followed, probes = Histories(lake, rules), make_documents(9, ["kept"] * 3, 100)
        for number in range(4):
            add_window(lake, make_documents(number, ["kept", "dropped", "held_out", "quarantined"], 10 * number))
            followed.advance(number)
        for window in range(5):
            rows = lake.documents(0, 9, fates=["kept", "held_out"])
            rows = pa.concat_tables([rows, probes.cast(rows.schema)])
            rebuilt = Histories(lake, rules)
            rebuilt.advance(window - 1)
            early = Histories(lake, rules)
            answers = [h.look(window, rows["id"], sketches_of(rows, rules)).to_pylist() for h in (rebuilt, early)]
            assert answers[0] == answers[1]
        assert followed.look(4, rows["id"], sketches_of(rows, rules)).to_pylist() == answers[0]
        assert name in answers[0]


def test_in_a_window_the_first_document_stays_and_the_others_carry_the_reason():
    rows = make_documents(0, ["kept", "kept", "dropped", "kept"], 0)
    twice = pa.concat_tables([rows, rows])
    rules = {"duplicate": rule_of("duplicate"), "same_start": rule_of("same_start")}
    fates = drop_repeats(twice, rules)
    living = [row["fate"] == "kept" for row in fates.to_pylist()]
    assert living == [True] + [False] * 7
    assert fates["reason"].to_pylist()[4:6] == ["duplicate"] * 2 and fates["reason"].to_pylist()[1] == "same_start"


def test_the_first_history_decides_and_the_forgotten_come_before_all(tmp_path):
    lake = make_lake(tmp_path)
    add_window(lake, make_documents(0, ["kept"] * 3, 0))
    rows = lake.documents(0, 0)
    rules = {"duplicate": rule_of("duplicate"), "same_start": rule_of("same_start")}
    probe = rows.append_column("x", pa.nulls(3))
    seen = Histories(lake, rules)
    assert seen.look(1, probe["id"], sketches_of(probe, rules)).to_pylist() == ["duplicate"] * 3
    lake.forget(ids_to_array(rows["id"].slice(0, 1)))
    seen = Histories(lake, rules)
    assert seen.look(1, probe["id"], sketches_of(probe, rules)).to_pylist() == ["forgotten", *["duplicate"] * 2]


def test_exact_duplicates_always_go_and_a_mistake_is_one_sentence():
    assert list(CurateConfig().remembered) == ["duplicate"] and CurateConfig().histories == ()
    with pytest.raises(ValueError, match="there is no history 'duplicat'; did you mean 'duplicate'"):
        CurateConfig(histories=("duplicat",))
    with pytest.raises(ValueError, match="names a rule twice"):
        CurateConfig(histories=("duplicate",))
    with pytest.raises(ValueError, match="the rule same_start has no key 'word'"):
        CurateConfig(histories=({"kind": "same_start", "word": 1},))
