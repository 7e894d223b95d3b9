"""How is a queue of SQS asked, and what is said where it refuses?

A message that was received is hidden from other readers for HIDDEN_S, unless that is prolonged, and comes again until
it is deleted. All requests are for up to ten messages. What goes wrong is an OSError of one sentence.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cluster.storage.buckets import aws_client
from cluster.storage.retry import TEXT_HINTS
from data_ops.sources.files.notified.config import NotificationsConfig

if TYPE_CHECKING:
    from botocore.client import BaseClient

HIDDEN_S = 120  # a killed reader's messages come again after so long
AT_ONCE = 10  # messages a request, all that SQS allows
ATTEMPTS = 3
RIGHTS = "sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and sqs:GetQueueAttributes"
#: What SQS answers, by the code, and what is to be done; other answers are worth another try.
REFUSED = {
    **dict.fromkeys(
        ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"),
        "there is no such queue, or not for us; check the region, the account and the name in its URL",
    ),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AWS.SimpleQueueService.AccessDenied"),
        f"AccessDenied: we may not read it; allow our role {RIGHTS} on it",
    ),
    **dict.fromkeys(
        (
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "MissingAuthenticationToken",
        ),
        "AccessDenied: the credentials are refused; renew them, or check that they are of the region in its URL",
    ),
}
Answer = TypeVar("Answer")


class SqsMessage(NamedTuple):
    """A message as it was received this time; `receipt` is for this time alone."""

    id: str
    receipt: str
    body: str
    sent_s: float


class SqsQueue:
    """One queue; the client is made at the first request."""

    def __init__(self, config: NotificationsConfig) -> None:
        self.config = config
        self._made: tuple[BaseClient, tuple[type[Exception], ...]] | None = None

    def attributes(self) -> Mapping[str, str]:
        """Ask what the queue is set to."""
        answer: Mapping[str, str] = self._ask(
            lambda sqs: sqs.get_queue_attributes(QueueUrl=self.config.queue, AttributeNames=["All"])
        ).get("Attributes", {})
        return answer

    def receive(self, wait_s: int) -> list[SqsMessage]:
        """Receive up to ten messages, waiting so long for the first."""
        answer = self._ask(
            lambda sqs: sqs.receive_message(
                QueueUrl=self.config.queue,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=HIDDEN_S,
                AttributeNames=["SentTimestamp"],
            )
        )
        return [_message(found) for found in answer.get("Messages", ())]

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        """Hide received messages for so long from now on; those that are gone are passed over."""
        for some in _tens(receipts):
            entries = [{**entry, "VisibilityTimeout": seconds} for entry in _entries(some)]
            self._ask(partial(_hide, queue=self.config.queue, entries=entries))

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete received messages; one that is not, for whatever reason, comes again."""
        for some in _tens(receipts):
            self._ask(partial(_delete, queue=self.config.queue, entries=_entries(some)))

    def _ask(self, act: Callable[[Any], Answer]) -> Answer:
        if self._made is None:
            region = self.config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            self._made = aws_client("sqs", self.config.endpoint, region or "us-east-1", ATTEMPTS)
        client, refused = self._made
        try:
            return act(client)
        except refused as error:
            raise OSError(f"queue {self.config.queue}: {refusal_of(error)}") from error


def refusal_of(error: Exception) -> str:
    """Tell what boto3 raised in a sentence, with what to do where that is known."""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    if code in REFUSED:
        return REFUSED[code]
    text = " ".join(str(error).split())[:300]
    if "endpoint URL" in text:
        return f"{text}; check the region in its URL and the network"
    hint = next((hint for sign, hint in TEXT_HINTS.items() if sign in text), None)
    return hint or f"AWS Error: {text}"


def _message(found: Mapping[str, Any]) -> SqsMessage:
    sent = found.get("Attributes", {}).get("SentTimestamp", "0")
    return SqsMessage(found["MessageId"], found["ReceiptHandle"], found["Body"], int(sent) / 1000)


def _hide(sqs: Any, queue: str, entries: list[dict[str, Any]]) -> object:
    return sqs.change_message_visibility_batch(QueueUrl=queue, Entries=entries)


def _delete(sqs: Any, queue: str, entries: list[dict[str, Any]]) -> object:
    return sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


def _entries(receipts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)]


def _tens(receipts: Sequence[str]) -> list[Sequence[str]]:
    return [receipts[first : first + AT_ONCE] for first in range(0, len(receipts), AT_ONCE)]
