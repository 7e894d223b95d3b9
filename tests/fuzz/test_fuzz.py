"""Do all parsers answer, or refuse in their own words, whatever they are fed? The long run is a command."""

import random
from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz, outcome, table
from tests.fuzz.mutation import mutated
from tests.fuzz.parsers import PARSERS, Parser


@pytest.mark.slow
def test_a_short_run_finds_nothing():
    counts = fuzz(20 * len(PARSERS), seed=1)
    assert {name: count for name, count in counts.items() if count.total() > count["inputs"]} == {}, table(counts)
    assert {name: count["inputs"] for name, count in counts.items()} == {
        name: 20 * parser.at_once for name, parser in PARSERS.items()
    }


def test_inputs_are_the_same_for_the_same_seed():
    for parser in PARSERS.values():
        one, two = (mutated(parser.seeds[0], random.Random("7:7")) for _ in range(2))
        assert one == two


def test_what_a_parser_must_not_do_is_found(tmp_path: Path, monkeypatch):
    def feed(data, folder):
        raise KeyError(data)

    monkeypatch.setitem(PARSERS, "broken", Parser((b"a",), feed))
    ((kind, text),) = outcome("broken", b"a", tmp_path)
    assert kind == "exceptions" and "KeyError" in text


@pytest.mark.parametrize("number", [20906, 23181, 52418])
def test_a_row_group_with_fewer_rows_than_its_footer_says_gives_a_reason_for_each(number, tmp_path):
    data = PARSERS["parquet"].change(random.Random(f"5:{number}"))
    assert outcome("parquet", data, tmp_path) == []
