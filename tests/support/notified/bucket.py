"""A bucket with a queue that it notifies, on a moto server in a process of its own, whose requests can be counted."""

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests.cluster.storage.moto import moto_server

AWS = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class NotifiedBucket:
    """The bucket "acme" and the queue "news", beside a queue for dead letters."""

    def __init__(self, endpoint: str, log: Path, dead_after: int = 5) -> None:
        self.endpoint, self._log = endpoint, log
        given = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        given |= {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        self.s3, self.sqs, self.sns = (boto3.client(name, **given) for name in ("s3", "sqs", "sns"))
        self.queue = self.dead = ""
        self.reset(dead_after)

    def reset(self, dead_after: int = 5) -> None:
        """Make bucket and queues anew, empty."""
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=60).close()
        self.s3.create_bucket(Bucket="acme")
        self.dead = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": str(dead_after)}
        attributes = {"VisibilityTimeout": "5", "RedrivePolicy": json.dumps(redrive)}
        self.queue = self.sqs.create_queue(QueueName="news", Attributes=attributes)["QueueUrl"]

    def arn(self, url: str) -> str:
        """The ARN of a queue."""
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def notify(self, prefix: str = "news/") -> None:
        """Let the bucket tell the queue of new objects below a prefix; the first message is a test."""
        rule = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
        told = {"QueueArn": self.arn(self.queue), "Events": ["s3:ObjectCreated:*"], "Filter": rule}
        self.s3.put_bucket_notification_configuration(
            Bucket="acme", NotificationConfiguration={"QueueConfigurations": [told]}
        )

    def put(self, key: str, *texts: str) -> None:
        """Put an object of JSON lines."""
        body = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        self.s3.put_object(Bucket="acme", Key=key, Body=body.encode())

    def send(self, body: str | dict[str, Any]) -> str:
        """Send a message; its id."""
        text = body if isinstance(body, str) else json.dumps(body)
        return str(self.sqs.send_message(QueueUrl=self.queue, MessageBody=text)["MessageId"])

    def count(self, url: str = "") -> int:
        """How many messages there are, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url or self.queue, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def requests(self) -> Counter[str]:
        """How often the bucket was listed, and objects were looked at, read and written, since the server started."""
        kinds: Counter[str] = Counter()
        for line in self._log.read_text().splitlines():
            if '"GET /acme' in line and "list-type=2" in line:
                kinds["LIST"] += 1
            else:
                kinds.update(method for method in ("HEAD", "GET", "PUT") if f'"{method} /acme/' in line)
        return kinds


def event(key: str, bucket: str = "acme", name: str = "ObjectCreated:Put", **more: object) -> dict[str, Any]:
    """A notification as S3 writes it; the key is as in a URL."""
    told = {"bucket": {"name": bucket}, "object": {"key": key, "size": 9, **more}}
    return {"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name, "s3": told}]}


def bridged(key: str, detail_type: str = "Object Created") -> dict[str, Any]:
    """A notification as EventBridge writes it; the key is as it is."""
    detail = {"version": "0", "bucket": {"name": "acme"}, "object": {"key": key, "size": 9, "version-id": "v1"}}
    return {"version": "0", "detail-type": detail_type, "source": "aws.s3", "detail": detail}


def wrapped(message: dict[str, Any]) -> dict[str, Any]:
    """A notification as it comes through a topic of SNS."""
    return {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(message)}


@contextmanager
def notified_bucket(folder: Path) -> Iterator[NotifiedBucket]:
    """Run a moto server."""
    log = folder / "moto.log"
    with log.open("w") as out, moto_server(out) as endpoint:
        yield NotifiedBucket(endpoint, log)
