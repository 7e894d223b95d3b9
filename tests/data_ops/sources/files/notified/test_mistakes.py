"""Is a queue that cannot be read told in one sentence, before Ray starts, and a bucket that has one found?"""

import json
from pathlib import Path
from typing import Any

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.notified.config import NotificationsConfig
from data_ops.sources.files.notified.guess import guess_queue
from data_ops.sources.files.notified.sqs import SqsQueue, refusal_of
from data_ops.sources.kinds import open_source
from ray_jobs.commands.doctor import look_at_sources
from ray_jobs.commands.init import propose
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.driver.preflight import check_sources
from ray_jobs.outcome import ConfigError
from tests.support.notified.bucket import NotifiedBucket

pytestmark = pytest.mark.slow


def config_of(queue: str, **more: Any) -> Config:
    news = {"path": "s3://acme/news/*.jsonl", "notifications": {"queue": queue}, **more}
    return read_config([], [f"sources.news={json.dumps(news)}"])


class RefusalError(Exception):
    """What boto3 raises, as far as it is looked at."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "check the region, the account and the name"),
        ("AccessDenied", "allow our role sqs:ReceiveMessage"),
        ("InvalidClientTokenId", "the credentials are refused"),
        ("ThrottlingException", "AWS Error: An error occurred"),
    ],
)
def test_what_sqs_answers_is_told_with_its_mend(code: str, sentence: str):
    assert sentence in refusal_of(RefusalError(code))


def test_a_queue_that_is_not_there_is_told_before_a_run_starts(bucket: NotifiedBucket):
    bucket.put("news/a.jsonl", "a")
    absent = config_of(f"{bucket.queue}s")
    with pytest.raises(ConfigError, match=r"^sources.news.notifications: queue .* there is no such queue, or not for"):
        check_sources(absent, follow=False)
    (check,) = look_at_sources(absent.sources)
    assert check.state == "fail" and "check the region" in check.mend
    silent = config_of("http://127.0.0.1:1/123456789012/news")
    with pytest.raises(ConfigError, match="check the region in its URL and the network"):
        check_sources(silent, follow=False)


def test_a_look_takes_nothing_and_shows_a_record(bucket: NotifiedBucket):
    bucket.put("news/a.jsonl", "a record")
    before = bucket.count()
    (line,) = check_sources(config_of(bucket.queue), follow=False)
    assert "text 'a record'" in line and bucket.count() == before == 2
    assert SqsQueue(NotificationsConfig(queue=bucket.queue)).receive(0), "nothing is hidden"
    with pytest.raises(ConfigError, match="no record has the field 'body'"):
        check_sources(config_of(bucket.queue, text="body"), follow=False)


def test_a_bucket_without_objects_is_refused_or_waited_for(bucket: NotifiedBucket):
    with pytest.raises(ConfigError, match="matches no file"):
        check_sources(config_of(bucket.queue), follow=False)
    assert check_sources(config_of(bucket.queue, wait=True), follow=True) == []


def test_a_queue_without_dead_letters_is_told(bucket: NotifiedBucket):
    bucket.sqs.set_queue_attributes(QueueUrl=bucket.queue, Attributes={"RedrivePolicy": ""})
    source = open_source("news", FilesConfig(path="s3://acme/news/*", notifications={"queue": bucket.queue}))
    source.begin(follow=True)
    assert any("has no dead letter queue" in warning for warning in source.discover({}, 9).warnings)


def test_init_finds_the_queue_that_a_bucket_notifies(bucket: NotifiedBucket, tmp_path: Path):
    bucket.s3.put_object(Bucket="acme", Key="news/a.txt", Body=b"a text, so that no field is looked for")
    proposal = propose("s3://acme/news")
    assert any("the bucket notifies queue" in line for line in proposal.lines)
    (tmp_path / "mine.yaml").write_text(proposal.text)
    (source,) = read_config([str(tmp_path / "mine.yaml")]).sources.values()
    assert source.alone == bucket.queue
    for path, queue in (("s3://acme/news/2026-*/x", bucket.queue), ("s3://acme/newspaper/", None), ("s3://acme", None)):
        assert guess_queue(path.partition("*")[0]).queue == queue
    assert "notifies no queue" in guess_queue("s3://acme/old/").told
    assert "is not known" in guess_queue("s3://nobodys/old/").told
