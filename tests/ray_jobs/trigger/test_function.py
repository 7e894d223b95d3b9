"""Does the function of docs/examples/lambda decide_start alike for the same objects, and is its job taken once?"""

import copy
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.notified.bucket import event
from tests.support.root import ROOT

spec = importlib.util.spec_from_file_location("headrace_function", ROOT / "docs/examples/lambda/handler.py")
function = importlib.util.module_from_spec(spec)
spec.loader.exec_module(function)

RULE = function.Rule("s3://*/news/*.jsonl", least_bytes=10)


def named(*keys: str, size: int = 100, **record) -> dict:
    """An event of S3 that names objects."""
    made = {"bucket": {"name": "acme"}}
    return {
        "Records": [
            {
                "eventName": "ObjectCreated:Put",
                "s3": {**made, "object": {"key": key, "size": size, "eTag": "e"}},
                **record,
            }
            for key in keys
        ]
    }


def queued(*bodies: object, receipt: str = "r") -> dict:
    """An event of SQS with messages of these bodies."""
    texts = (body if isinstance(body, str) else json.dumps(body) for body in bodies)
    return {"Records": [{"messageId": f"{receipt}{n}", "body": text} for n, text in enumerate(texts)]}


def test_an_event_decides_and_changes_nothing():
    given = named("news/a+b.jsonl", "news/c.jsonl", "other/d.jsonl")
    before = copy.deepcopy(given)
    decision = function.decide(given, RULE)
    assert decision.reason == "2 objects, 200 bytes" and decision.job == function.decide(given, RULE).job
    assert given == before


def test_the_same_objects_have_the_same_id_in_whatever_message_they_come():
    once = function.decide(queued(named("news/a.jsonl", "news/b.jsonl"), receipt="x"), RULE)
    again = function.decide(queued(named("news/b.jsonl"), "no event", named("news/a.jsonl"), receipt="y"), RULE)
    assert once.job == again.job != ""
    assert function.decide(queued(named("news/a.jsonl")), RULE).job != once.job
    assert function.decide(named("news/a.jsonl", "news/b.jsonl", size=101), RULE).job != once.job


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "no object of the event matches"),
        (named("old/a.jsonl"), "no object of the event matches"),
        (named("news/a.jsonl", size=9), "9 bytes are less than 10"),
        (named("news/a.jsonl", eventName="ObjectRemoved:Delete"), "no object of the event matches"),
        (queued({"Service": "Amazon S3", "Event": "s3:TestEvent"}, "[1]", "null"), "no object of the event matches"),
    ],
)
def test_what_asks_for_no_run_is_told(given, reason):
    decision = function.decide(given, RULE)
    assert decision.job == "" and decision.reason.startswith(reason)


def test_what_the_tests_of_buckets_take_for_an_event_is_one_here():
    assert function.decide(event("news/a.jsonl"), function.Rule("s3://*/news/*.jsonl", 0)).job


@pytest.mark.slow
def test_a_job_is_taken_once_and_its_token_is_sent(monkeypatch):
    taken: dict = {}

    class Cluster(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code, said = (500, b"Job x already exists") if body["submission_id"] in taken else (200, b"{}")
            taken[body["submission_id"]] = (body["entrypoint"], self.headers["Authorization"], self.path)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_given) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HEADRACE_PATTERN", RULE.pattern)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t0ken")
    done = [function.handler(queued(named("news/a.jsonl"), receipt=receipt)) for receipt in "xy"]
    nothing = function.handler(named("old/a.jsonl"))
    server.shutdown()
    assert [each["started"] for each in [*done, nothing]] == [True, False, False]
    assert list(taken.values()) == [(RULE.entrypoint, "Bearer t0ken", "/api/jobs/")]
