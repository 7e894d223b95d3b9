"""Is every form of a notification understood, and nothing else taken for one?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.files.notified.messages import NamedObject, Notification, read_notification
from tests.support.notified.bucket import bridged, event, wrapped

WHAT = NamedObject("acme", "news/a b+ü.jsonl", 9)


def said(message: object) -> Notification:
    return read_notification(json.dumps(message))


@pytest.mark.parametrize(
    "message",
    [
        event("news/a+b%2B%C3%BC.jsonl"),
        event("news/a%20b%2B%C3%BC.jsonl", name="ObjectCreated:CompleteMultipartUpload", versionId="v", sequencer="0A"),
        event("news/a+b%2B%C3%BC.jsonl", name="s3:ObjectCreated:Copy"),
        event("news/a+b%2B%C3%BC.jsonl", name="ObjectRestore:Completed"),
        bridged("news/a b+ü.jsonl"),
        bridged("news/a b+ü.jsonl", "Object Restore Completed"),
        wrapped(event("news/a+b%2B%C3%BC.jsonl")),
        wrapped(bridged("news/a b+ü.jsonl")),
        wrapped(wrapped(event("news/a+b%2B%C3%BC.jsonl"))),
    ],
)
def test_every_way_from_a_bucket_to_a_queue_names_the_same_object(message: dict):
    assert said(message) == Notification((WHAT,))


def test_a_message_may_name_several_objects():
    both = {"Records": [*event("news/1")["Records"], *event("news/2")["Records"]]}
    assert [each.key for each in said(both).objects] == ["news/1", "news/2"]


@pytest.mark.parametrize(
    "message",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "acme"},
        wrapped({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "acme"}),
        event("news/1", name="ObjectRemoved:Delete"),
        event("news/1", name="ObjectTagging:Put"),
        event("news/1", name="LifecycleExpiration:DeleteMarkerCreated"),
        bridged("news/1", "Object Deleted"),
        bridged("news/1", "Object Restore Initiated"),
        {"Records": []},
    ],
)
def test_what_tells_of_no_new_object_is_understood_and_names_none(message: dict):
    assert said(message) == Notification()


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ([], "it is no object of JSON"),
        ({"hello": "world"}, "of Records and an event of aws.s3 it has none"),
        ({"Type": "SubscriptionConfirmation", "Message": "x"}, "of Records and an event of aws.s3 it has none"),
        ({"Records": [{"eventSource": "aws:ses"}]}, "one of its Records is not of S3"),
        ({"Records": ["x"]}, "one of its Records is not of S3"),
        (event("news/1", name="ObjectSung:Loudly"), "the event 'ObjectSung:Loudly' is not known"),
        (event("news/1", bucket="../etc"), "it names no bucket"),
        (event(""), "it names no bucket, or no key"),
        (event("news/%FF"), "its key is no UTF-8"),
        (event("n" * 1025), "longer than 1024 bytes"),
        (wrapped(wrapped(wrapped(wrapped(event("news/1"))))), "wrapped more than"),
        (wrapped({"hello": 1}), "of Records and an event of aws.s3 it has none"),
    ],
)
def test_what_is_no_notification_is_told_as_such(message: object, problem: str):
    notice = said(message)
    assert not notice.objects and problem in notice.problem


def test_what_is_good_of_a_message_counts_although_the_rest_is_not():
    mixed = {"Records": [*event("news/1")["Records"], {"eventSource": "aws:s3", "eventName": 7}]}
    notice = said(mixed)
    assert [each.key for each in notice.objects] == ["news/1"] and notice.problem


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Records", "s3", "bucket", "object", "name", "key", "size", "eventName", "eventSource"])
            | st.sampled_from(["Type", "Message", "detail", "detail-type", "source", "Event"]),
            inner
            | st.sampled_from(["aws:s3", "aws.s3", "ObjectCreated:Put", "Notification", "Object Created", "acme"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(JSON.map(json.dumps) | st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_message_is_fatal(body: str):
    notice = read_notification(body)
    assert all(each.bucket and each.key and each.size_bytes >= 0 for each in notice.objects)
