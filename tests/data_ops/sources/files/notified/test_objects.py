"""Is every object of a bucket read once, whatever becomes of its notifications?"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Cursor, Discovery, Source
from tests.support.notified.bucket import NotifiedBucket, bridged, event, wrapped
from tests.support.runs import wait_until

pytestmark = pytest.mark.slow


class Ingest:
    """Looks and reads as an ingest does; what it has committed survives a kill, all else does not."""

    def __init__(self, bucket: NotifiedBucket, *, follow: bool = True, **more: Any) -> None:
        self.bucket, self.follow, self.cursor, self.rows = bucket, follow, dict[str, Any](), list[dict[str, Any]]()
        given = {"path": "s3://acme/news/**/*.jsonl", "notifications": {"queue": bucket.queue}}
        self.config = FilesConfig(**{**given, **more})
        self.start()

    def start(self) -> None:
        """Begin as a new process does."""
        self.source: Source = open_source("news", self.config)
        self.source.begin(follow=self.follow)

    def look(self, most: int = 10**6) -> Discovery:
        return self.source.discover(json.loads(json.dumps(self.cursor)), most)

    def take(self, most: int = 10**6, *, tells: bool = True) -> Discovery:
        """One window, durable; tells: the source hears of it."""
        found = self.look(most)
        assert sum(span.num_records for span in found.spans) <= most
        for span in found.spans:
            for batch in self.source.read(span):
                self.rows += [{**row, "partition": span.partition} for row in batch.to_pylist()]
        self.cursor = found.cursor
        if tells:
            self.source.acknowledge(found.cursor)
        return found

    def until(self, count: int) -> None:
        """Take windows until there are so many rows."""

        def has_come() -> bool:
            self.take()
            return len(self.rows) >= count

        wait_until(has_come, 60, lambda: f"{len(self.rows)} of {count} rows: {self.texts}")

    @property
    def texts(self) -> list[str]:
        return sorted(row["text"] for row in self.rows)


def test_what_comes_after_the_first_sweep_is_known_without_another_listing(bucket: NotifiedBucket):
    for number in range(3):
        bucket.put(f"news/before {number}+ü.jsonl", f"before {number}")
    ingest = Ingest(bucket)
    ingest.take()
    listed = bucket.requests()["LIST"]
    for number in range(3):
        bucket.put(f"news/after {number}+ü.jsonl", f"after {number}")
    bucket.put("news/left out.txt", "no JSON lines")
    ingest.until(6)
    for _ in range(20):
        assert not ingest.take().spans
    assert ingest.texts == sorted(f"{when} {number}" for when in ("before", "after") for number in range(3))
    assert bucket.requests()["LIST"] == listed
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")


def test_a_message_is_deleted_once_its_objects_are_durable_and_not_before(bucket: NotifiedBucket):
    ingest = Ingest(bucket)
    ingest.take()
    both = {"Records": [*event("news/1.jsonl")["Records"], *event("news/2.jsonl")["Records"]]}
    bucket.notify("none/")
    for name in ("1", "2"):
        bucket.put(f"news/{name}.jsonl", f"{name} first", f"{name} second")
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: "the tests are still there")
    bucket.send(both)
    wait_until(lambda: bool(ingest.look(3).spans), 60, lambda: "nothing came")
    assert bucket.count() == 1
    assert len(ingest.take(3, tells=True).spans) == 2 and bucket.count() == 1, "the second object is half read"
    ingest.take(3, tells=False)
    assert bucket.count() == 1 and len(ingest.rows) == 4, "nobody has told that it is durable"
    ingest.source.acknowledge(ingest.cursor)
    assert bucket.count() == 0


def double(message: dict[str, Any], random: Random) -> list[dict[str, Any]]:
    return [message] * random.randint(1, 3)


@pytest.mark.parametrize("form", [event, bridged, lambda key: wrapped(event(key))], ids=["s3", "bridge", "sns"])
def test_doubles_and_disorder_change_nothing(bucket: NotifiedBucket, form: Callable[[str], dict[str, Any]]):
    bucket.notify("none/")
    ingest, random = Ingest(bucket), Random(7)
    ingest.take()
    keys = [f"news/{number}.jsonl" for number in range(8)]
    messages = [m for key in keys for m in double(form(key), random)]
    random.shuffle(messages)
    for key in keys:
        bucket.put(key, f"text of {key}")
    for message in messages:
        bucket.send(message)
    ingest.until(8)
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")
    assert ingest.texts == [f"text of {key}" for key in keys]
    bucket.send(form(keys[0]))  # long after
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")
    assert len(ingest.rows) == 8


def test_an_object_that_is_written_anew_is_read_anew_and_an_old_notice_of_it_says_nothing(bucket: NotifiedBucket):
    bucket.s3.put_bucket_versioning(Bucket="acme", VersioningConfiguration={"Status": "Enabled"})
    ingest = Ingest(bucket)
    bucket.put("news/a.jsonl", "first")
    ingest.until(1)
    bucket.put("news/a.jsonl", "second", "and more")
    ingest.until(3)
    for version in ("null", "old"):
        bucket.send(event("news/a.jsonl", versionId=version, sequencer="00"))
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")
    assert ingest.texts == ["and more", "first", "second"]
    assert [row["offset"] for row in ingest.rows] == [0, 1, 2]


def test_what_is_of_others_is_told_and_deleted(bucket: NotifiedBucket):
    ingest = Ingest(bucket)
    others = [event("news/1.jsonl", bucket="strange"), event("other/1.jsonl"), event("news/../1.jsonl")]
    for message in [*others, event("news/1.jsonl", name="ObjectRemoved:Delete")]:
        bucket.send(message)
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")
    found = ingest.take()
    assert any("bucket strange, which path does not name" in warning for warning in found.warnings)
    odd = [(each.partition, each.reason) for each in found.untaken]
    assert odd == [("s3://acme/news/../1.jsonl", "odd_key")] and found.drained


def test_a_message_that_is_no_notification_is_quarantined_once_under_its_id(bucket: NotifiedBucket):
    ingest = Ingest(bucket)
    ids = [bucket.send(body) for body in ("broken {", {"hello": "world"}, event("news/1", name="ObjectSung"))]
    wait_until(lambda: len(ingest.look().spans) == 3, 60, lambda: "they did not come")
    assert [len(ingest.look(most).spans) for most in (1, 2, 3)] == [1, 2, 3]
    ingest.take(2, tells=False)
    ingest.start()  # killed between the commit and the deletion: they come again
    bucket.send(event("news/2.jsonl"))
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 200, lambda: f"{bucket.count()} messages")
    assert sorted(row["external_id"] for row in ingest.rows) == sorted(ids)
    assert [row["offset"] for row in ingest.rows] == [0, 1, 2] and {r["partition"] for r in ingest.rows} == {
        bucket.queue
    }
    assert {row["error"] for row in ingest.rows} == {"bad_notification"} and "broken {" in ingest.texts
    assert all(ingest.source.names(row["partition"]) for row in ingest.rows)


def test_an_object_that_has_gone_before_it_was_looked_at_is_told_and_holds_nothing_up(bucket: NotifiedBucket):
    ingest = Ingest(bucket)
    bucket.put("news/read.jsonl", "read")
    ingest.until(1)
    for key in ("news/gone.jsonl", "news/read.jsonl"):
        bucket.s3.delete_object(Bucket="acme", Key=key)
        bucket.send(event(key))
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")
    found = ingest.take()
    assert [each[:3] for each in found.untaken] == [("s3://acme/news/gone.jsonl", "skipped", "gone_at_look")]
    assert found.drained and any("notified, and gone" in warning for warning in found.warnings)
    bucket.put("news/gone.jsonl", "here again")
    ingest.until(2)
    assert not ingest.take().untaken


@pytest.mark.parametrize("follow", [False, True])
def test_what_no_notification_told_is_found_by_the_sweep(bucket: NotifiedBucket, follow: bool):
    bucket.notify("none/")
    bucket.put("news/a.jsonl", "a")
    ingest = Ingest(bucket, follow=follow, notifications={"queue": bucket.queue, "sweep": "2s"})
    assert ingest.take().spans
    bucket.put("news/0.jsonl", "before the key that the sweep has passed")
    ingest.until(2)


def test_a_sweep_goes_on_behind_the_last_page_that_is_durable_and_begins_anew_for_who_asks_whether_all_is_taken(
    bucket: NotifiedBucket,
):
    bucket.notify("none/")
    for number in range(1050):
        bucket.s3.put_object(Bucket="acme", Key=f"news/{number:04}.txt", Body=b"not ours")
    bucket.put("news/0000a.jsonl", "of the first page")
    bucket.put("news/1049a.jsonl", "of the second page", "the same")
    ingest = Ingest(bucket, follow=True)

    def listed(*, follow: bool, most: int) -> int:
        ingest.follow = follow
        ingest.start()
        before = bucket.requests()["LIST"]
        ingest.take(most)
        return bucket.requests()["LIST"] - before

    assert listed(follow=True, most=2) == 2
    assert (
        ingest.texts == ["of the first page", "of the second page"]
        and ingest.cursor[bucket.queue][2][2] == "news/0998.txt"
    )
    assert listed(follow=True, most=9) == 1 and len(ingest.rows) == 3, "it goes on behind the first page"
    assert listed(follow=True, most=9) == 0, "the next sweep is due in an hour"
    assert listed(follow=False, most=9) == 2, "and who asks whether all is taken gets an answer"
    assert len(ingest.rows) == 3


def test_half_a_line_waits_and_is_told_also_by_the_next_process(bucket: NotifiedBucket):
    ingest = Ingest(bucket)
    bucket.s3.put_object(Bucket="acme", Key="news/a.jsonl", Body=b'{"text": "whole"}\n{"text": "hal')
    ingest.until(1)

    def told() -> list[tuple[str, str]]:
        return [(each.state, each.reason) for each in ingest.take().untaken]

    assert told() == [("waiting", "half_line")]
    ingest.start()
    assert told() == [("waiting", "half_line")] and ingest.take().drained
    bucket.put("news/a.jsonl", "whole", "half no more")
    ingest.until(2)
    assert told() == [] and "half no more" in ingest.texts
    bucket.s3.put_object(Bucket="acme", Key="news/b.jsonl", Body=b'{"text": "b"}\n{"text": "hal')
    ingest.until(len(ingest.rows) + 1)
    ingest.take()
    bucket.s3.delete_object(Bucket="acme", Key="news/b.jsonl")
    ingest.start()
    assert told() == [("abandoned", "removed")]


def test_without_notifications_the_same_cursor_is_read_on_by_listing(bucket: NotifiedBucket):
    bucket.put("news/a.jsonl", "a")
    ingest = Ingest(bucket)
    ingest.until(1)
    cursor: Cursor = ingest.cursor
    bucket.put("news/b.jsonl", "b")
    plain = open_source("news", FilesConfig(path="s3://acme/news/**/*.jsonl"))
    found = plain.discover(cursor, 100)
    assert [span.partition for span in found.spans] == ["s3://acme/news/b.jsonl"] and not found.untaken
    ingest.cursor = found.cursor
    ingest.start()
    wait_until(lambda: not ingest.take().spans and bucket.count() == 0, 60, lambda: f"{bucket.count()} messages")
    assert ingest.texts == ["a"]
