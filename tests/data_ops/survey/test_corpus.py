"""Are the figures of a survey those of a slow and simple count, and is what was forgotten nowhere to be seen?"""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.storage.store import Store
from data_ops.audit.account import account, read_stand
from data_ops.documents.document import FATES, document_id
from data_ops.documents.place import Place
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from data_ops.survey.corpus import Corpus, blocks_of, survey
from data_ops.survey.samples import records_at
from tests.data_ops.audit.test_account import Story
from tests.support.explored.sites import Row, site_lake

pytestmark = pytest.mark.slow

ROWS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["web", "news"]),
        "external_id": st.sampled_from([None, "4711", "https://a.org/1", "http://www.A.org/2", "ftp://b.net"]),
        "partition": st.sampled_from(["in/a.jsonl", "in/b.jsonl", "topic/0"]),
        "event_time": st.none() | st.datetimes(datetime(1970, 1, 2), datetime(2030, 1, 1), timezones=st.just(UTC)),
        "fate": st.sampled_from([fate for fate in FATES if fate != "forgotten"]),
        "num_bytes": st.integers(0, 5000),
    }
)
SITES = {"https://a.org/1": "a.org", "http://www.A.org/2": "a.org", "ftp://b.net": "b.net"}
OUTCOME = {"kept": "pending"}


def counted(table: pa.Table, *names: str) -> Counter[tuple[object, ...]]:
    found: Counter[tuple[object, ...]] = Counter()
    for row in table.to_pylist():
        found[tuple(row[name] for name in names)] += row["records"]
    return found


def slowly(windows: list[list[Row]]) -> dict[str, Counter[tuple[object, ...]]]:
    """The same counts, one record after the other."""
    found: dict[str, Counter[tuple[object, ...]]] = {
        name: Counter() for name in ("months", "sites", "lengths", "blocks")
    }
    for window, rows in enumerate(windows):
        for row in rows:
            source, outcome = row["source"], OUTCOME.get(str(row["fate"]), row["fate"])
            reason = "too_short" if outcome in ("dropped", "quarantined") else None
            time = row["event_time"]
            month = (
                time.replace(day=1, hour=0, minute=0, second=0, microsecond=0) if isinstance(time, datetime) else None
            )
            site = SITES.get(str(row["external_id"]), str(row["partition"]).rpartition("/")[0])
            size = row["num_bytes"]
            assert isinstance(size, int)
            found["months"][source, month, outcome, reason] += 1
            found["sites"][site, source, outcome] += 1
            found["lengths"][source, outcome, max(size, 1).bit_length() - 1] += 1
            found["blocks"][source, window, outcome, reason] += 1
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(ROWS, min_size=1, max_size=8), min_size=1, max_size=3))
def test_the_figures_are_those_of_a_simple_count(
    tmp_path_factory: pytest.TempPathFactory, windows: list[list[Row]]
) -> None:
    lake = site_lake(tmp_path_factory.mktemp("lake"), windows)
    found, expected = survey(lake, {}, 2, 0), slowly(windows)
    assert counted(found.months, "source", "month", "outcome", "reason") == expected["months"]
    assert counted(found.sites, "site", "source", "outcome") == expected["sites"]
    assert counted(found.lengths, "source", "outcome", "octaves") == expected["lengths"]
    assert counted(found.blocks, "source", "block", "outcome", "reason") == expected["blocks"]
    assert blocks_of(lake) == (found.blocks, found.num_blocks)
    assert sum(found.months["num_bytes"].to_pylist()) == sum(row["num_bytes"] for rows in windows for row in rows)


def everything(found: Corpus) -> list[list[dict[str, object]]]:
    return [
        getattr(found, name).to_pylist() for name in ("months", "sites", "lengths", "blocks", "by_reason", "by_site")
    ]


def test_a_survey_is_the_same_for_every_length_of_a_stretch(tmp_path: Path) -> None:
    rows: list[list[Row]] = [
        [{"external_id": f"http://s{n % 7}.org", "fate": FATES[(n * w) % 4]} for n in range(20)] for w in range(6)
    ]
    lake = site_lake(tmp_path, rows)
    whole = everything(survey(lake, {}, 2, 5))
    assert everything(survey(lake, {}, 2, 5, rows_at_once=21)) == whole
    assert everything(survey(lake, {}, 2, 6)) != whole, "the seed chooses the samples"


def test_outcomes_of_kept_documents_are_those_of_verify(tmp_path: Path) -> None:
    story = Story()
    assert story.account(tmp_path).ok
    lake = Lake(Store.open(str(tmp_path)))
    found, audit = counted(survey(lake, {"r": read_stand(lake, "r")}, 0, 0).months, "outcome"), account(lake, "r")
    names = ("trained", "pending", "held_out", "shed", "skipped", "dropped", "quarantined", "forgotten")
    assert {name: found[(name,)] for name in names} == {name: getattr(audit, name) for name in names}
    assert found[("trained",)] and found[("pending",)]


def test_what_was_forgotten_is_counted_but_neither_its_site_nor_it_nor_a_copy_of_it_is_shown(tmp_path: Path) -> None:
    mine: Row = {"external_id": "http://me.example/private", "text": "mine"}
    copy: Row = {**mine, "fate": "dropped", "reason": "duplicate"}
    again: Row = {**mine, "fate": "dropped", "reason": "forgotten"}
    lake = site_lake(tmp_path, [[mine, {"text": "other"}], [copy, again, {"fate": "dropped", "text": "bad"}]])
    assert "me.example" in survey(lake, {}, 5, 0).sites["site"].to_pylist()
    lake.forget(ids_to_array(pa.array([document_id("mine")], pa.binary(16))))
    found = survey(lake, {}, 5, 0)
    assert "me.example" not in found.sites["site"].to_pylist()
    assert counted(found.months, "outcome")[("forgotten",)] == 1
    places = {Place(r["window"], r["position"]) for t in (found.by_reason, found.by_site) for r in t.to_pylist()}
    assert places == {Place(0, 1), Place(1, 2)}
    assert Place(0, 0) not in records_at(lake, [Place(0, 0), Place(0, 1)]), "not even if it was chosen before"


def test_records_are_read_where_they_stand(tmp_path: Path) -> None:
    lake = site_lake(tmp_path, [[{"text": "a"}, {"text": "b"}], [{"text": "c", "fate": "dropped"}]])
    found = records_at(lake, [Place(0, 1), Place(1, 0)])
    assert [(place, record.text, record.fate) for place, record in sorted(found.items())] == [
        (Place(0, 1), "b", "kept"),
        (Place(1, 0), None, "dropped"),
    ]
    assert records_at(lake, []) == {}
