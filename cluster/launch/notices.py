"""What does the cloud say about the end of this very machine?

One class a cloud, each with `look()`: ask the metadata service once and yield every notice it has now. Nothing but
the standard library; no proxy and no redirect is ever followed, answers are bounded in size and time, and whatever is
not an answer as documented is an `Unanswered` with the reason. Facts from the clouds' own pages:

    AWS    IMDSv2 only. spot/instance-action comes two minutes before the end; a rebalance recommendation has no time.
    GCP    preempted turns TRUE 30 s before the end; maintenance-event says TERMINATE_..., at the least 60 s before.
    Azure  Scheduled Events of the whole scale set: Preempt 30 s, Terminate, Reboot, Redeploy minutes before.
"""

import email.utils
import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

TIMEOUT_S, MOST_BYTES = 2.0, 1 << 18


class Notice(NamedTuple):
    """What the cloud announced; `end_s` (unix time) is absent where the machine may well stay."""

    id: str
    text: str
    end_s: float | None


class Unanswered(OSError):  # noqa: N818 - it is the answer that is missing, not this program that failed
    """The metadata service said nothing that can be understood."""


class HttpAnswer(NamedTuple):
    """One HTTP answer."""

    status: int
    body: str
    headers: Mapping[str, str]


class Cloud(Protocol):
    """A metadata service; `every_s` is how long to pause between two looks."""

    every_s: float

    def look(self) -> Iterator[Notice]:
        """Yield the notices of now; Unanswered where the service cannot be understood."""


class Aws:
    """EC2: the spot interruption notice and the rebalance recommendation, by IMDSv2."""

    every_s = 5.0
    LONGEST_S = 120.0

    def __init__(self, base: str = "http://169.254.169.254") -> None:
        self.base, self.token = base, ""

    def look(self) -> Iterator[Notice]:
        """Yield the interruption first: nothing wrong with the recommendation may hide it."""
        action = self._get("/latest/meta-data/spot/instance-action")
        if action is not None:
            what, at = body_of(action, "action"), body_of(action, "time")
            yield Notice(f"{what} at {at}", f"spot {what} at {at}", within(iso_seconds(at), self.LONGEST_S))
        advice = self._get("/latest/meta-data/events/recommendations/rebalance")
        if advice is not None:
            at = body_of(advice, "noticeTime")
            yield Notice(f"rebalance {at}", f"rebalance recommended at {at}", None)

    def _get(self, path: str) -> dict[str, object] | None:
        """A document, None if there is none; a token that ran out is renewed once."""
        for renewed in (False, True):
            if renewed or not self.token:
                lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
                self.token = expect(ask(self.base, "PUT", "/latest/api/token", lifetime), "/latest/api/token").strip()
            answer = ask(self.base, "GET", path, {"X-aws-ec2-metadata-token": self.token})
            if answer.status != 401:
                break
        return None if answer.status == 404 else parsed(expect(answer, path), path)


class Gcp:
    """Compute Engine: preemption, hung on until it changes, and host maintenance."""

    every_s = 0.5
    HANG_S, PREEMPTED_S, MAINTENANCE_S = 5, 30.0, 60.0

    def __init__(self, base: str = "http://metadata.google.internal") -> None:
        self.base, self.etag = base, ""
        self.first_seen: dict[str, float] = {}

    def look(self) -> Iterator[Notice]:
        """Yield preemption within the second it is announced, then maintenance; both say no time of their own."""
        preempted = self._get("preempted", hang=bool(self.etag))
        if preempted not in ("TRUE", "FALSE"):
            raise Unanswered(f"preempted is {preempted[:40]!r}, not TRUE or FALSE")
        if preempted == "TRUE":
            yield Notice("preempted", "spot VM preempted", self._since("preempted") + self.PREEMPTED_S)
        event = self._get("maintenance-event")
        if event.startswith("TERMINATE_"):
            yield Notice(event, f"host maintenance, {event}", self._since(event) + self.MAINTENANCE_S)
        elif event.startswith("MIGRATE_"):
            yield Notice(event, f"host maintenance, {event}: the VM moves and goes on", None)
        elif event != "NONE":
            raise Unanswered(f"maintenance-event is {event[:40]!r}, which is not documented")

    def _since(self, event: str) -> float:
        return self.first_seen.setdefault(event, time.time())

    def _get(self, key: str, hang: bool = False) -> str:
        path, timeout_s = f"/computeMetadata/v1/instance/{key}", TIMEOUT_S
        if hang:  # with the last etag no change between two questions is missed
            query = {"wait_for_change": "true", "last_etag": self.etag, "timeout_sec": str(self.HANG_S)}
            path, timeout_s = f"{path}?{urllib.parse.urlencode(query)}", self.HANG_S + TIMEOUT_S
        answer = ask(self.base, "GET", path, {"Metadata-Flavor": "Google"}, timeout_s)
        text = expect(answer, key)
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise Unanswered(f"{key} was not answered by Google's metadata server")
        if key == "preempted":
            self.etag = answer.headers.get("ETag", "")
        return text.strip()


class Azure:
    """Scheduled Events that name this very machine; a Freeze is a pause of seconds, not an end."""

    every_s = 2.0
    EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
    NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    ENDS = ("Preempt", "Terminate", "Reboot", "Redeploy")
    LONGEST_S = 900.0

    def __init__(self, base: str = "http://169.254.169.254") -> None:
        self.base, self.name = base, ""
        self.first_seen: dict[str, float] = {}

    def look(self) -> Iterator[Notice]:
        """Yield the events of this machine; the list is that of its whole scale set."""
        self.name = self.name or self._get(self.NAME).strip()
        events = parsed(self._get(self.EVENTS), "scheduledevents").get("Events")
        if not isinstance(events, list):
            raise Unanswered("scheduledevents holds no list of Events")
        odd = [event for event in events if _resources(event) is None]
        for event in events:
            if event in odd or self.name not in (_resources(event) or ()):
                continue
            kind, at, number = body_of(event, "EventType"), str(event.get("NotBefore") or ""), body_of(event, "EventId")
            label = f"{kind} not before {at}" if at else f"{kind} has started"
            end_s = self._end(number, at) if kind in self.ENDS else None
            yield Notice(f"{number} {at}", label, end_s)
        if odd:  # last: it must not hide an event that can be read
            raise Unanswered(f"an event names no list of Resources: {str(odd[0])[:80]}")

    def _end(self, number: str, at: str) -> float:
        """When it ends; an event that has started has no NotBefore any more, and ends now."""
        seen = self.first_seen.setdefault(f"{number} {at}", time.time())
        if not at:
            return seen
        try:
            return within(email.utils.parsedate_to_datetime(at).timestamp(), self.LONGEST_S)
        except (ValueError, TypeError, OverflowError):
            raise Unanswered(f"NotBefore={at[:40]!r} is no date") from None

    def _get(self, path: str) -> str:
        return expect(ask(self.base, "GET", path, {"Metadata": "true"}), path.partition("?")[0])


def _resources(event: object) -> list[object] | None:
    """What an event is about; None where the answer is not as documented."""
    found = event.get("Resources") if isinstance(event, dict) else None
    return found if isinstance(found, list) else None


CLOUDS: dict[str, type[Aws] | type[Gcp] | type[Azure]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}


def ask(base: str, method: str, path: str, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> HttpAnswer:
    """Ask once; Unanswered if nobody answers within timeout_s, or more than a notice can be."""
    url = urllib.parse.urlsplit(base)
    deadline = time.monotonic() + timeout_s
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=timeout_s)
    try:
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        body = b""
        while piece := response.read1(65536):
            body += piece
            if len(body) > MOST_BYTES:
                raise Unanswered(f"{path} answers with more than {MOST_BYTES} bytes")
            if time.monotonic() > deadline:
                raise Unanswered(f"{path} is not answered to its end within {timeout_s:g} s")
        return HttpAnswer(response.status, body.decode("utf-8", "replace"), dict(response.headers.items()))
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a token that is no header
        if isinstance(error, Unanswered):
            raise
        raise Unanswered(f"{base}{path.partition('?')[0]}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def expect(answer: HttpAnswer, what: str) -> str:
    """The body of an answer that is HTTP 200."""
    if answer.status != 200:
        raise Unanswered(f"{what} answers HTTP {answer.status}")
    return answer.body


def parsed(body: str, what: str) -> dict[str, object]:
    """A JSON object."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unanswered(f"{what} is no JSON object: {body[:60]!r}")
    return found


def body_of(document: Mapping[str, object], key: str) -> str:
    """A text that must be there."""
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise Unanswered(f"{key}={value!r} in {str(document)[:80]}")
    return value


def iso_seconds(text: str) -> float:
    """Unix time of `2026-11-21T08:22:00Z`."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        raise Unanswered(f"time={text[:40]!r} is no date") from None


def within(end_s: float, longest_s: float) -> float:
    """The end, at most longest_s from now: a clock that is behind must not promise time that is not there."""
    now = time.time()
    return min(max(end_s, now), now + longest_s)
