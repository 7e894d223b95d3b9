"""What can be configured of the notifications of a bucket? Nothing secret: credentials are AWS's own business."""

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from cluster.units import Duration, Settings

#: Hosts of SQS that tell their region: the usual ones, those of VPC endpoints, and the oldest.
REGION = re.compile(r"(?:^|\.)(?:sqs(?:-fips)?\.([a-z0-9-]+)\.|([a-z0-9-]+)\.queue\.)")


class NotificationsConfig(Settings):
    """A queue of SQS that a bucket tells of its new objects; no other source reads it."""

    queue: str = Field(description="URL of the queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.")
    sweep: Duration = Field(
        3600.0,
        ge=1,
        le=30 * 86_400,
        description="How often the bucket is listed too, a page at a time, for what no notification told.",
    )

    @field_validator("queue")
    @classmethod
    def _is_a_url(cls, queue: str) -> str:
        try:
            parts = urlsplit(queue)
            is_closed = parts.username is None and parts.password is None and not parts.query and not parts.fragment
        except ValueError:
            raise ValueError("it is no URL; write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME") from None
        if not is_closed:
            raise ValueError("a login has no place in a URL; leave it out, AWS's own files and variables hold it")
        if queue.startswith("arn:"):
            raise ValueError(f"{queue!r} is an ARN; write its URL, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.count("/") < 2:
            raise ValueError(f"{queue!r} is no queue's URL; write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
        if queue.endswith(".fifo"):
            raise ValueError(f"{queue!r} is a FIFO queue, which S3 does not notify; use a standard queue")
        return queue

    @property
    def endpoint(self) -> str:
        """Where the queue is asked."""
        parts = urlsplit(self.queue)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def region(self) -> str | None:
        """The region that the URL names; None where it names none."""
        found = REGION.search(urlsplit(self.queue).hostname or "")
        return (found[1] or found[2]) if found else None
