"""Bucket -> queue -> function -> Ray: submit a run for what an event of S3 names. The standard library alone.

`decide` is pure: the same objects give the same decision and the same id, under which a cluster takes a job once. So
what is told twice starts nothing twice. What is there is decided by the run, from its cursor: an event is a hint.
"""

import fnmatch
import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple


class Rule(NamedTuple):
    """Which objects count, how many bytes of them ask for a run, and what is run on the head of the cluster."""

    pattern: str  # s3://acme/news/*.jsonl, where a star crosses folders
    least_bytes: int = 1
    entrypoint: str = "python -m ray_jobs trigger -c headrace.yaml --one-look"


class Decision(NamedTuple):
    """What becomes of an event; job: "" where nothing is started."""

    job: str
    reason: str


class Written(NamedTuple):
    """An object as S3 tells of it; version: what differs when its key is written again."""

    name: str
    size: int
    version: str


def decide(event: dict, rule: Rule) -> Decision:
    """Say whether an event asks for a run, and under which id."""
    there = sorted({each for each in _objects(event) if fnmatch.fnmatchcase(each.name, rule.pattern)})
    total = sum(each.size for each in there)
    if not there:
        return Decision("", "no object of the event matches the pattern")
    if total < rule.least_bytes:
        return Decision("", f"{total} bytes are less than {rule.least_bytes}")
    digest = hashlib.sha256(json.dumps(there).encode()).hexdigest()[:16]  # the ids of messages change
    return Decision(f"headrace-{digest}", f"{len(there)} objects, {total} bytes")


def _objects(event: dict) -> Iterator[Written]:
    """The objects that S3 made, also where SQS has the events as the bodies of its messages."""
    for record in event.get("Records", ()):
        if "body" in record:
            try:
                yield from _objects(json.loads(record["body"]))
            except (ValueError, AttributeError):  # no event, as a person's own message to the queue
                continue
        elif str(record.get("eventName", "")).startswith("ObjectCreated:"):
            s3 = record["s3"]
            key = urllib.parse.unquote_plus(s3["object"]["key"])
            version = str(s3["object"].get("sequencer") or s3["object"].get("eTag", ""))
            yield Written(f"s3://{s3['bucket']['name']}/{key}", int(s3["object"].get("size", 0)), version)


def submit(decision: Decision, rule: Rule, address: str, token: str) -> str:
    """Hand a job to Ray's jobs API: submitted, or there already. OSError where the cluster does not take it."""
    body = json.dumps({"submission_id": decision.job, "entrypoint": rule.entrypoint}).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(f"{address.rstrip('/')}/api/jobs/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
        return "submitted"
    except urllib.error.HTTPError as error:
        if "already exists" in error.read().decode("utf-8", "replace"):
            return "there already"
        raise


def handler(event: dict, _context: object = None) -> dict:
    """What the function does: HEADRACE_PATTERN, HEADRACE_LEAST_BYTES, RAY_API_SERVER_ADDRESS, RAY_AUTH_TOKEN."""
    rule = Rule(os.environ["HEADRACE_PATTERN"], int(os.environ.get("HEADRACE_LEAST_BYTES", "1")))
    decision = decide(event, rule)
    if not decision.job:
        return {"started": False, "reason": decision.reason}
    done = submit(decision, rule, os.environ["RAY_API_SERVER_ADDRESS"], os.environ.get("RAY_AUTH_TOKEN", ""))
    return {"started": done == "submitted", "job": decision.job, "reason": f"{decision.reason}; {done}"}
