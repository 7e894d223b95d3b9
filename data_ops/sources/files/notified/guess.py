"""Does a bucket notify a queue of what is below a folder already, so that nobody has to look its URL up?"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.storage.buckets import aws_client, s3_endpoint, s3_region
from data_ops.sources.files.notified.sqs import ATTEMPTS


class QueueGuess(NamedTuple):
    """The queue that a bucket notifies, if one is found, and what there is to say of it."""

    queue: str | None = None
    told: str = ""


def guess_queue(path: str) -> QueueGuess:
    """Ask the bucket of an s3:// path; a refusal is an answer too, because this is a convenience."""
    bucket, _, folder = path.removeprefix("s3://").partition("/")
    try:
        s3, refused = aws_client("s3", s3_endpoint(), s3_region(bucket), ATTEMPTS)
        arns = list(_arns(s3.get_bucket_notification_configuration(Bucket=bucket), folder))
        if not arns:
            return QueueGuess(told="the bucket notifies no queue of it, so it is listed (docs/buckets.md)")
        _, _, _, region, account, name = arns[0].split(":", 5)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_SQS") or os.environ.get("AWS_ENDPOINT_URL")
        sqs, _ = aws_client("sqs", endpoint, region, ATTEMPTS)
        queue = str(sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"])
    except OSError as error:
        return QueueGuess(told=f"whether the bucket notifies a queue is not known ({error})")
    except refused as error:
        said = " ".join(str(error).split())[:200]
        return QueueGuess(told=f"whether the bucket notifies a queue is not known ({said})")
    more = f" (and {len(arns) - 1} more)" if len(arns) > 1 else ""
    return QueueGuess(queue, f"the bucket notifies queue {queue}{more}; nobody else may read it")


def _arns(answer: dict[str, Any], folder: str) -> Iterator[str]:
    """The queues that are told of new objects wherever the folder has some."""
    for told in answer.get("QueueConfigurations", ()):
        rules = told.get("Filter", {}).get("Key", {}).get("FilterRules", ())
        prefix = next((str(rule["Value"]) for rule in rules if str(rule["Name"]).lower() == "prefix"), "")
        if f"{folder}/".startswith(prefix) and any("ObjectCreated" in event for event in told.get("Events", ())):
            yield str(told["QueueArn"])
