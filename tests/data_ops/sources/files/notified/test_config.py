"""Is a mistake in the settings of notifications told with its mend?"""

import pytest
from pydantic import ValidationError

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.notified.config import NotificationsConfig
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/news"


@pytest.mark.parametrize(
    ("queue", "mend"),
    [
        ("arn:aws:sqs:eu-central-1:123456789012:news", "is an ARN; write its URL"),
        ("news", "is no queue's URL; write https://sqs.REGION"),
        ("https://sqs.eu-central-1.amazonaws.com", "is no queue's URL"),
        (f"{URL}.fifo", "is a FIFO queue, which S3 does not notify"),
        ("https://me:secret@sqs.eu-central-1.amazonaws.com/1/news", "a login has no place in a URL"),
        ("https://[x", "it is no URL"),
    ],
)
def test_what_is_no_queue_is_refused_and_no_secret_repeated(queue: str, mend: str):
    with pytest.raises(ValidationError, match=mend.replace("(", ".")) as error:
        NotificationsConfig(queue=queue)
    assert "secret" not in error.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("queue", "region"),
    [
        (URL, "eu-central-1"),
        ("https://vpce-0a-1b.sqs.us-west-2.vpce.amazonaws.com/123456789012/news", "us-west-2"),
        ("https://ap-south-1.queue.amazonaws.com/123456789012/news", "ap-south-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/news", "cn-north-1"),
        ("http://127.0.0.1:5055/123456789012/news", None),
    ],
)
def test_the_region_is_that_of_the_url(queue: str, region: str | None):
    assert NotificationsConfig(queue=queue).region == region


@pytest.mark.parametrize("path", ["texts/*.jsonl", "gs://acme/news/*.jsonl", ("s3://acme/a/*", "b/*")])
def test_only_a_bucket_of_s3_notifies(path: str | tuple[str, ...]):
    with pytest.raises(ValidationError, match="notifications are of s3:// buckets"):
        FilesConfig(path=path, notifications={"queue": URL})


def test_two_sources_never_share_a_queue():
    given = [f"sources.{label}.path=s3://acme/{label}/*" for label in "ab"]
    given += [f"sources.{label}.notifications.queue={URL}" for label in "ab"]
    with pytest.raises(ConfigError, match=r"sources.a and sources.b take from the same queue"):
        read_config([], given)
    assert read_config([], given[:3]).sources["a"].alone == URL
