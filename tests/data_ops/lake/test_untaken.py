"""Is what a source did not give counted, named and told from the store alone?"""

import pytest

from cluster.storage.store import Store
from data_ops.lake.untaken import FOLDER, Remainder, read_remainders, remainder_of, told_of, write_remainder
from data_ops.sources.protocol import Untaken

SEEN = [
    Untaken("/in/b.jsonl", "waiting", "half_line", 30),
    Untaken("/in/a.jsonl", "waiting", "half_line", 4),
    Untaken("/in/c.parquet", "waiting", "no_footer", 100),
    Untaken("/in/d.jsonl", "abandoned", "replaced", 7),
]


def test_what_is_written_comes_back_and_is_told_in_a_sentence_a_state(tmp_path):
    store = Store.open(str(tmp_path))
    write_remainder(store, "news", remainder_of(SEEN))
    write_remainder(store, "quiet", Remainder())
    left = read_remainders(store)
    assert left["news"] == remainder_of(SEEN[::-1]) and left["quiet"].num("waiting") == 0
    assert (left["news"].num("waiting", "unreadable"), left["news"].num("abandoned")) == (3, 1)
    assert left["news"].to_dict()["waiting"]["half_line"] == {"files": 2, "bytes": 34}
    waiting, abandoned = sorted(told_of(store), key=lambda sentence: "abandoned" in sentence)
    assert "source news, waiting: half line: 2 files" in waiting and "for example /in/a.jsonl" in waiting
    assert "source news, abandoned: replaced: 1 file" in abandoned


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff", b'{"counts": {"waiting": 3}, "named": []}'])
def test_a_damaged_file_is_named_with_its_mend(tmp_path, content):
    store = Store.open(str(tmp_path))
    store.write(f"{FOLDER}/news.json", content)
    with pytest.raises(ValueError, match=r"untaken/news\.json in .* cannot be read .*; delete it"):
        read_remainders(store)
