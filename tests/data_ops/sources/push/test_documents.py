"""Which requests are taken, and what is told of those that are not?"""

import orjson
import pytest

from cluster.http.asgi import RefusedError
from data_ops.sources.push.documents import SpoolLine, lines_of, part_of
from data_ops.sources.push.keys import Keys


def taken(body: bytes, kind: str = "application/json", key: str | None = None) -> list[dict]:
    return [orjson.loads(line.data) for line in lines_of(body, kind, key)]


def test_one_or_many_documents_come_as_json_lines_or_text():
    assert [d["text"] for d in taken(b'{"text": "a"}')] == ["a"]
    assert [d["text"] for d in taken(b'[{"text": "a"}, {"text": "b\\n"}]')] == ["a", "b\n"]
    assert [d["text"] for d in taken(b'{"text": "a"}\n\n{"text": "b"}\n', "application/x-ndjson")] == ["a", "b"]
    assert [d["text"] for d in taken("é\nb".encode(), "text/plain; charset=utf-8")] == ["é\nb"]
    assert all(b"\n" not in line.data for line in lines_of(b"a\nb", "text/plain", None))


def test_an_id_and_a_time_are_given_where_there_is_none():
    (given,) = taken(b'{"text": "a", "id": 7, "time": "2020-01-01", "lang": "de"}')
    assert (given["id"], given["time"], given["lang"]) == ("7", "2020-01-01", "de")
    (made,) = taken(b'{"text": "a"}')
    assert len(made["id"]) == 32 and made["time"].startswith("20")
    assert [d["id"] for d in taken(b'[{"text": "a"}, {"text": "b"}]', key="k")] == ["k/0", "k/1"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (b"{", "application/json", 400, "cannot be read as application/json"),
        (b"[]", "application/json", 400, "hold no document"),
        (b'["a"]', "application/json", 400, "document 0 is no object"),
        (b'[{"text": "a"}, {"text": " "}]', "application/json", 400, "document 1 has no text"),
        (b'{"text": 7}', "application/json", 400, "document 0 has no text"),
        (b'{"text": "a", "_push": 1}', "application/json", 400, "a field _push, which is ours"),
        (b"\xff", "text/plain", 400, "cannot be read as text/plain"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "is not read; use one of application/json"),
        (b"a", "", 415, "content type none"),
    ],
)
def test_a_request_that_is_not_taken_is_told_why(body: bytes, kind: str, status: int, sentence: str):
    with pytest.raises(RefusedError) as caught:
        lines_of(body, kind, None)
    assert caught.value.status == status and sentence in caught.value.sentence


def test_of_a_request_that_a_crash_has_cut_the_missing_parts_are_known_after_a_start():
    lines = lines_of(b'[{"text": "a"}, {"text": "b"}, {"text": "c"}]', "application/json", "k")
    assert part_of(lines[1].data) == ("k", 1, 3, "k/1") and part_of(b'{"text": "\\"_push\\":"}') is None
    keys = Keys([lines[0].data + b"\n", b'{"text": "half', lines[2].data + b"\n"])
    assert keys.missing("k", lines) == [(1, lines[1])]
    keys.add("k", [(1, lines[1])])
    assert keys.missing("k", lines) == [] and keys.ids("k") == ["k/0", "k/1", "k/2"]
    assert len(keys.missing("other", lines)) == 3


def test_the_oldest_keys_are_forgotten():
    keys = Keys(most=2)
    for name in "abc":
        keys.add(name, [(0, SpoolLine(name, b""))])
    assert [keys.ids(name) for name in "abc"] == [[], ["b"], ["c"]]
