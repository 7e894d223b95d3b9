"""Do words stay apart where a control character separates them, and is the spelling settled after one pass?"""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.kernels.normalise import normalise

LINES = ["\f", "\v", "\x85", "\x1c", "\x1d", "\x1e", "\r", "\r\n", "\n"]
FIELDS = {"\x1f": " ", " ": " ", "\t": "\t"}


def clean(text: str) -> str:
    return normalise(pa.array([text]))[0].as_py()


@pytest.mark.parametrize("separator", LINES)
def test_what_separates_lines_pages_and_records_becomes_a_newline(separator):
    assert clean(f"river{separator}field") == "river\nfield"
    assert clean(f"{separator}river {separator}{separator} field{separator}") == "river\n\n field"


@pytest.mark.parametrize("separator", FIELDS)
def test_what_separates_fields_becomes_white_space(separator):
    assert clean(f"river{separator}field") == f"river{FIELDS[separator]}field"
    assert clean(f"{separator}river{separator}\nfield{separator}") == "river\nfield"


@pytest.mark.parametrize("end", ["\0", "\x03", "\x04", "\x07", "\x17", "\x19", "\x1a", "\0" * 99, "\0\x1a\x08\0"])
def test_what_ends_a_string_a_block_a_file_or_a_cell_leaves_one_blank_between_words(end):
    assert clean(f"{end}river{end}field{end}") == "river field"
    assert clean(f"river {end}field{end}\n{end}end") == "river field\nend"


@pytest.mark.parametrize("control", ["\x08", "\x1b", "\x7f", "\x80", "\x9f"])
def test_other_controls_go(control):
    assert clean(f"river{control}field") == "riverfield"


@given(
    st.lists(st.sampled_from([*LINES, *FIELDS, "\0", "a", "é", "\u0301", "\xad", "\u2028"]), max_size=12).map("".join)
)
def test_one_pass_settles_the_spelling_and_keeps_all_words(text):
    once = clean(text)
    assert clean(once) == once
    assert len(once.split()) == len(text.replace("\0", " ").replace("\x1f", " ").split())
