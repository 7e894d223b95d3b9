"""Does the set-up that docs/buckets.md shows, copied, make a bucket that notifies?"""

import json
import subprocess
from pathlib import Path

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from tests.support.notified.bucket import NotifiedBucket
from tests.support.root import ROOT
from tests.support.runs import wait_until

STUB = 'aws() { printf "%s\\n" "$*" >> calls.txt; }\n'


@pytest.mark.slow
def test_the_set_up_in_the_docs_can_be_copied(bucket: NotifiedBucket, tmp_path: Path):
    page = (ROOT / "docs" / "buckets.md").read_text()
    (block,) = [each for each in page.split("```") if "put-bucket-notification-configuration" in each]
    here = block.replace("REGION=eu-central-1", "REGION=us-east-1")
    subprocess.run(["bash", "-euc", STUB + here], cwd=tmp_path, check=True)
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert [call.split()[1] for call in calls] == [
        "create-queue",
        "create-queue",
        "put-bucket-notification-configuration",
    ]
    bucket.sqs.create_queue(QueueName="news-dead")
    attributes = json.loads((tmp_path / "queue.json").read_text())
    (statement,) = json.loads(attributes["Policy"])["Statement"]
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == "arn:aws:s3:::acme"
    assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == "123456789012"
    bucket.sqs.delete_queue(QueueUrl=bucket.queue)
    queue = bucket.sqs.create_queue(QueueName="news", Attributes=attributes)["QueueUrl"]
    told = json.loads((tmp_path / "notification.json").read_text())
    bucket.s3.put_bucket_notification_configuration(Bucket="acme", NotificationConfiguration=told)
    source = open_source("news", FilesConfig(path="s3://acme/news/*.jsonl", notifications={"queue": queue}))
    source.begin(follow=True)
    assert not source.discover({}, 9).spans
    bucket.put("news/a.jsonl", "told")
    wait_until(lambda: bool(source.discover({}, 9).spans), 60, lambda: "no notification came")
    assert not source.discover({}, 9).warnings, "it has a queue for dead letters"
