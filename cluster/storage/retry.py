"""Which failures of a network or disk pass by themselves, and how is an operation repeated until one does?

One policy for the store, the tables and the sources: transient errors are told by type and text, retried with growing
pauses, and given up after two minutes.
"""

import re
import time
from collections.abc import Callable
from typing import TypeVar

from cluster.storage.buckets import logger

PATIENCE_S, LONGEST_PAUSE_S = 120.0, 10.0  # of `retry`
#: How long a whole job begins anew, though nothing of it gets done, before a network counts as lost.
NETWORK_SECONDS = 600.0
Answer = TypeVar("Answer")
_BUCKET = "the bucket does not exist; create it or correct its name"
_ACCESS = "access is denied; check the credentials and their rights on this prefix"
_SILENT = "the endpoint does not answer; check the network and AWS_ENDPOINT_URL"
KAFKA_SILENT = "no Kafka broker answers"
DATABASE_SILENT = "no database answers"
REGISTRY_SILENT = "no schema registry answers"
_LOGIN = "no credentials were found; set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the machine a role"
TEXT_HINTS = {
    **dict.fromkeys(("NO_SUCH_BUCKET", "NoSuchBucket", "specified bucket does not exist"), _BUCKET),
    **dict.fromkeys(("ACCESS_DENIED", "AccessDenied", "HTTP status 403", "HTTP status 401"), _ACCESS),
    **dict.fromkeys(("NETWORK_CONNECTION", "curlCode", "Could not connect", "Max retries exceeded"), _SILENT),
    **dict.fromkeys(("Unable to locate credentials", "default credentials were not found"), _LOGIN),
}
#: How errors of the way to a bucket are told: by Delta, by pyarrow (AWS, Google), by boto3, and by `TEXT_HINTS`; and
#: how our own readers tell that a broker or a database is silent.
NETWORK = (
    "Generic S3 error",
    "Generic GCS error",
    "response body",  # all that Delta's reader says where an answer ends too soon
    "AWS Error",
    "google::cloud::Status",
    "curlCode",
    "Failed to flush response stream",
    "endpoint URL",
    _SILENT,
    KAFKA_SILENT,
    DATABASE_SILENT,
    REGISTRY_SILENT,
)
#: How the same libraries tell what stays as it is: rights, credentials, absent things.
FINAL = (
    *(key for key, hint in TEXT_HINTS.items() if hint != _SILENT),
    *(_BUCKET, _ACCESS, _LOGIN),
    "status 40",
    "400 Bad Request",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "NOT_FOUND",
    "NO_SUCH_KEY",
    "NoSuchKey",
    "169.254.",  # where a machine with a role finds its credentials
)


def is_transient(error: object) -> bool:
    """Is an error, or what was told of it, one of the way to a bucket or a broker, which another try may not meet?

    By its text alone: it may come out of another process, and two of these libraries know no other difference.

    >>> is_transient("AWS Error NETWORK_CONNECTION during PutObject"), is_transient("[Errno 28] No space left")
    (True, False)
    """
    text = str(error)
    return any(sign in text for sign in NETWORK) and not any(sign in text for sign in FINAL)


def retry(act: Callable[[], Answer]) -> Answer:
    """Do again, with growing pauses, what fails on the way to a bucket or broker: for what may be repeated as a whole.

    Raises OSError when no try that began within PATIENCE_S succeeded; other errors at once.
    """
    began, tries = time.monotonic(), 0
    while True:
        try:
            return act()
        except Exception as error:  # of three libraries, with no class in common; what is not the network's goes on
            if not is_transient(error):
                raise
            tries, waited = tries + 1, time.monotonic() - began
            if waited >= PATIENCE_S:
                said = f"the network failed {tries} times in {waited:.0f} s; check it: {one_line(error)}"
                raise OSError(said) from error
            if tries == 5:  # after some seconds: whoever waits should know for what
                logger.warning("a bucket is tried again for up to %.0f s: %s", PATIENCE_S, one_line(error))
        time.sleep(min(LONGEST_PAUSE_S, 0.1 * 2**tries))


def one_line(error: Exception) -> str:
    """Tell in one line what Delta tells as a tree in colours."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|↳", " ", str(error)).split())[:300]
