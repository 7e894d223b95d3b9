"""Does a text stay a text in Markdown, whatever it holds?"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.readable import visible
from ray_jobs.cards.blocks import Card, CardPart, Code, Grid, Points, Words
from ray_jobs.cards.markdown import markdown, plain

markdown_it = pytest.importorskip("markdown_it")
SIGNS = st.text(st.sampled_from(list("ab 1\\`*_[](){}<>#+-.!|~$&;:/@=\"'\n\t\x1b\u202eé")), max_size=40)


@settings(max_examples=50)
@given(SIGNS)
@example("[a](javascript:x)")
@example("<b>http://a.b www.a.b</b>")
@example("- a")
@example("&amp; &#60;")
def test_a_paragraph_shows_the_text_and_nothing_else(text: str) -> None:
    words = f"it says {text} here"
    tokens = markdown_it.MarkdownIt("commonmark").parse(plain(words))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    inline = tokens[1].children
    assert {token.type for token in inline} <= {"text", "text_special"}
    assert "".join(token.content for token in inline) == visible(words)


@settings(max_examples=20)
@given(SIGNS, SIGNS)
def test_a_cell_stays_in_its_table(first: str, second: str) -> None:
    grid = Grid(("name", "figure"), [(f"x{first}x", f"y{second}y")], 1)
    card = Card("k", "t", "s", [], [CardPart("p", [grid, Words("w"), Points(["i"]), Code("sh", ["c"])])])
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(markdown(card).partition("\n---\n")[2])
    kinds = [token.type for token in tokens]
    assert kinds.count("td_open") == 2 and kinds.count("tr_open") == 2 and kinds.count("fence") == 1
    assert "html_block" not in kinds
