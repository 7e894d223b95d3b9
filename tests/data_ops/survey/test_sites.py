"""Is the site of a record the host of its URL, and else the folder it was read from?"""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.survey.sites import sites_of


def site(external_id: str | None, partition: str = "in/a.jsonl") -> str:
    return sites_of(pa.array([external_id], pa.string()), pa.array([partition]))[0].as_py()


@pytest.mark.parametrize(
    ("external_id", "expected"),
    [
        ("https://www.Example.com/a?b#c", "example.com"),
        ("http://example.com", "example.com"),
        ("http://me:secret@example.com:8080/x", "example.com"),
        ("http://example.com./x", "example.com"),
        ("https://news.bbc.co.uk?q=https://other.org/", "news.bbc.co.uk"),
        ("http://[2001:db8::1]:80/x", "[2001:db8::1]"),
        ("http://www.", "www"),
        ("https://ünï.de/q\nz", "ünï.de"),
        ("4711", "in"),
        (None, "in"),
        ("", "in"),
        ("mailto:a@b.org", "in"),
        ("file:///etc/passwd", "in"),
        ("http://a<script>/", "in"),
        ("http://" + "a" * 254 + "/", "in"),
    ],
)
def test_a_site_is_the_host_of_the_external_id_else_the_folder(external_id: str | None, expected: str) -> None:
    assert site(external_id) == expected


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        ("/data/texts/a.jsonl", "/data/texts"),
        ("s3://b/k/a.gz", "s3://b/k"),
        ("topic/3", "topic"),
        ("public.t", "public.t"),
    ],
)
def test_without_a_url_it_is_the_folder_or_the_log(partition: str, expected: str) -> None:
    assert site("4711", partition) == expected


@settings(max_examples=40)
@given(st.lists(st.tuples(st.none() | st.text(), st.text(min_size=1)), max_size=8))
def test_every_record_has_a_site_whatever_strangers_write(rows: list[tuple[str | None, str]]) -> None:
    found = sites_of(pa.array([r[0] for r in rows], pa.string()), pa.array([r[1] for r in rows], pa.string()))
    assert len(found) == len(rows) and found.null_count == 0
