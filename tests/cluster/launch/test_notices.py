"""Is every cloud's notice understood as documented, and nothing else taken for one? Over real HTTP."""

import email.utils
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cluster.launch import notices
from cluster.launch.notices import CLOUDS, Aws, Azure, Gcp, Unanswered
from tests.support.metadata_fake import (
    AWS_ACTION,
    AWS_REBALANCE,
    AZURE_EVENTS,
    AZURE_NAME,
    GCP_MAINTENANCE,
    GCP_PREEMPTED,
    Metadata,
    serving,
)
from tests.support.runs import wait_until


@pytest.fixture
def service(monkeypatch) -> Iterator[tuple[Metadata, str]]:
    monkeypatch.setattr(Gcp, "HANG_S", 1)
    with serving() as found:
        found[0].said |= {GCP_PREEMPTED: "FALSE", GCP_MAINTENANCE: "NONE"}
        found[0].said |= {AZURE_NAME: "gpu_0", AZURE_EVENTS: '{"DocumentIncarnation": 1, "Events": []}'}
        yield found


def iso(ahead_s: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(kind: str, ahead_s: float | None, machine: str = "gpu_0", number: str = "E1") -> str:
    at = "" if ahead_s is None else email.utils.formatdate(time.time() + ahead_s, usegmt=True)
    found = {"EventId": number, "EventType": kind, "Resources": ["gpu_7", machine], "NotBefore": at}
    return json.dumps({"DocumentIncarnation": 2, "Events": [found | {"EventStatus": "Scheduled"}]})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CLOUDS))
def test_without_a_notice_there_is_none(service, name):
    cloud = CLOUDS[name](service[1])
    assert [list(cloud.look()) for _ in range(2)] == [[], []]


def test_aws_says_when_a_spot_instance_ends(service):
    metadata, base = service
    metadata.say(AWS_ACTION, json.dumps({"action": "terminate", "time": iso(118)}))
    (found,) = Aws(base).look()
    assert "spot terminate at" in found.text and 110 < found.end_s - time.time() <= 120
    assert [found] == list(Aws(base).look()) or found.id == next(iter(Aws(base).look())).id, "one notice has one id"


def test_a_rebalance_recommendation_has_no_end_and_is_withdrawn(service):
    metadata, base = service
    cloud = Aws(base)
    metadata.say(AWS_REBALANCE, json.dumps({"noticeTime": iso(0)}))
    (found,) = cloud.look()
    assert found.end_s is None
    metadata.say(AWS_REBALANCE, None)
    assert list(cloud.look()) == []


def test_only_imdsv2_is_asked_and_an_expired_token_is_renewed(service):
    metadata, base = service
    cloud = Aws(base)
    list(cloud.look())
    list(cloud.look())
    assert metadata.tokens_given == 1, "the token is kept"
    metadata.valid_token = "the service forgot it"
    metadata.say(AWS_ACTION, json.dumps({"action": "stop", "time": iso(60)}))
    assert len(list(cloud.look())) == 1 and metadata.tokens_given == 2


def test_a_token_that_is_never_accepted_is_not_asked_for_for_ever(service):
    metadata, base = service
    metadata.status = 401
    with pytest.raises(Unanswered, match="HTTP 401"):
        list(Aws(base).look())
    assert metadata.tokens_given == 2


def test_a_broken_recommendation_does_not_hide_the_interruption(service):
    metadata, base = service
    metadata.say(AWS_ACTION, json.dumps({"action": "terminate", "time": iso(60)}))
    metadata.say(AWS_REBALANCE, "<html>")
    looked = Aws(base).look()
    assert next(looked).end_s is not None
    with pytest.raises(Unanswered, match="no JSON object"):
        next(looked)


def test_a_clock_that_is_behind_promises_no_more_than_the_cloud_does(service):
    metadata, base = service
    metadata.say(AWS_ACTION, json.dumps({"action": "terminate", "time": iso(4000)}))
    assert next(Aws(base).look()).end_s - time.time() <= Aws.LONGEST_S
    metadata.say(AZURE_EVENTS, event("Preempt", 86_400))
    assert next(Azure(base).look()).end_s - time.time() <= Azure.LONGEST_S
    metadata.say(AZURE_EVENTS, event("Preempt", -50))
    before = time.time()
    assert before <= next(Azure(base).look()).end_s <= time.time(), "the past is now"


@pytest.mark.slow
def test_google_is_heard_the_moment_it_changes_its_mind(service, monkeypatch):
    monkeypatch.setattr(Gcp, "HANG_S", 100)
    metadata, base = service
    cloud = Gcp(base)
    list(cloud.look())
    asked = len(metadata.requests)

    def change():
        wait_until(lambda: len(metadata.requests) > asked, 60, lambda: "nobody asks")
        metadata.say(GCP_PREEMPTED, "TRUE")

    threading.Thread(target=change).start()
    before = time.time()
    (found,) = cloud.look()
    assert before + 30 <= found.end_s <= time.time() + 30
    assert time.time() - before < 50, "it waited for the end of the hanging"
    preempted = [path for path in metadata.requests[asked:] if "preempted" in path]
    assert ["wait_for_change" in path for path in preempted] == [True], "it hung on the answer instead of polling"
    monkeypatch.setattr(Gcp, "HANG_S", 1)
    assert next(iter(cloud.look())) == found, "the 30 seconds count from the first sight"


def test_a_change_between_two_looks_is_not_missed(service, monkeypatch):
    monkeypatch.setattr(Gcp, "HANG_S", 100)
    metadata, base = service
    cloud = Gcp(base)
    list(cloud.look())
    metadata.say(GCP_PREEMPTED, "TRUE")
    began = time.monotonic()
    assert len(list(cloud.look())) == 1 and time.monotonic() - began < 50


@pytest.mark.parametrize(
    ("said", "ends"), [("TERMINATE_ON_HOST_MAINTENANCE", True), ("MIGRATE_ON_HOST_MAINTENANCE", False)]
)
def test_google_maintenance_ends_a_gpu_machine_and_moves_another(service, said, ends):
    metadata, base = service
    metadata.say(GCP_MAINTENANCE, said)
    (found,) = Gcp(base).look()
    assert (found.end_s is not None) == ends and said in found.text


@pytest.mark.parametrize(("kind", "ends"), [(k, True) for k in Azure.ENDS] + [("Freeze", False)])
def test_azure_ends_the_machine_for_all_but_a_freeze(service, kind, ends):
    metadata, base = service
    metadata.say(AZURE_EVENTS, event(kind, 30))
    (found,) = Azure(base).look()
    assert (found.end_s is not None) == ends
    if ends:
        assert 20 < found.end_s - time.time() <= 31


def test_azure_events_of_other_machines_are_not_ours(service):
    metadata, base = service
    metadata.say(AZURE_EVENTS, event("Preempt", 30, machine="gpu_1"))
    assert list(Azure(base).look()) == []


def test_an_azure_event_that_has_started_ends_now_and_once(service):
    metadata, base = service
    metadata.say(AZURE_EVENTS, event("Terminate", None))
    cloud = Azure(base)
    before = time.time()
    (found,), (again,) = cloud.look(), cloud.look()
    assert found == again and before <= found.end_s <= time.time()


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
@pytest.mark.parametrize("name", sorted(CLOUDS))
def test_an_error_is_unanswered_and_no_notice(service, name, status):
    metadata, base = service
    metadata.status = status
    if (name, status) == ("aws", 404):
        assert list(Aws(base).look()) == [], "EC2 says 404 where there is no notice"
        return
    with pytest.raises(Unanswered, match=f"HTTP {status}"):
        list(CLOUDS[name](base).look())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "path", "garbage"),
    [
        ("aws", AWS_ACTION, "<html>captive portal</html>"),
        ("aws", AWS_ACTION, '["terminate"]'),
        ("aws", AWS_ACTION, '{"action": "terminate"}'),
        ("aws", AWS_ACTION, '{"action": "terminate", "time": "soon"}'),
        ("aws", AWS_REBALANCE, '{"noticeTime": 7}'),
        ("gcp", GCP_PREEMPTED, "maybe"),
        ("gcp", GCP_MAINTENANCE, ""),
        ("azure", AZURE_EVENTS, "{}"),
        ("azure", AZURE_EVENTS, "\x00\xff"),
        ("azure", AZURE_EVENTS, json.dumps({"Events": [{"Resources": ["gpu_0"]}]})),
        ("azure", AZURE_EVENTS, event("Preempt", 1).replace("GMT", "").replace(",", "")[:-3] + ""),
        ("azure", AZURE_EVENTS, event("Preempt", 1).replace(time.strftime("%Y"), "never")),
        ("aws", AWS_ACTION, " " * (notices.MOST_BYTES + 1)),
    ],
)
def test_garbage_is_unanswered_and_no_notice(service, name, path, garbage):
    metadata, base = service
    metadata.say(path, garbage)
    with pytest.raises(Unanswered):
        list(CLOUDS[name](base).look())


@pytest.mark.parametrize("resources", ["true", '"vm-gpu_0"', "null", "7", "{}"])
def test_an_odd_event_is_unanswered_and_hides_no_other(service, resources):
    metadata, base = service
    odd = '{"EventId": "E0", "EventType": "Preempt", "Resources": ' + resources + "}"
    metadata.say(AZURE_EVENTS, event("Preempt", 30).replace('"Events": [', f'"Events": [{odd}, '))
    look = Azure(base).look()
    assert next(look).id.startswith("E1 ")
    with pytest.raises(Unanswered, match="names no list of Resources"):
        next(look)


@pytest.mark.parametrize("year", ["0001", "9999", "99999999999999999999"])
def test_a_year_that_is_none_is_unanswered_or_far_away(service, year):
    metadata, base = service
    metadata.say(AZURE_EVENTS, event("Preempt", 30).replace(time.strftime("%Y", time.gmtime()), year))
    metadata.say(AWS_ACTION, json.dumps({"action": "terminate", "time": f"{year}-01-01T00:00:00+14:00"}))
    for cloud in (Azure(base), Aws(base)):
        try:
            assert all(abs(notice.end_s - time.time()) < 1000 for notice in cloud.look())
        except Unanswered as error:
            assert "is no date" in str(error)


def test_a_token_that_is_no_header_and_an_answer_too_deep_are_unanswered(service, monkeypatch):
    metadata, base = service
    metadata.say(AWS_ACTION, "[" * 100_000)
    with pytest.raises(Unanswered, match="no JSON object"):
        list(Aws(base).look())
    cloud = Aws(base)
    cloud.token = "two\nlines"
    with pytest.raises(Unanswered):
        list(cloud.look())


def test_a_server_that_is_not_googles_is_not_believed(service, monkeypatch):
    _metadata, base = service
    monkeypatch.setattr("tests.support.metadata_fake.Handler.send_header", drop_flavor)
    with pytest.raises(Unanswered, match="not answered by Google"):
        list(Gcp(base).look())


def drop_flavor(self, keyword, value):
    from http.server import BaseHTTPRequestHandler

    if keyword != "Metadata-Flavor":
        BaseHTTPRequestHandler.send_header(self, keyword, value)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CLOUDS))
def test_a_slow_service_and_none_at_all_are_unanswered_in_bounded_time(service, name, monkeypatch):
    metadata, base = service
    monkeypatch.setattr(notices, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(notices.ask, "__defaults__", (0.2,))
    metadata.delay_s = 60.0
    began = time.monotonic()
    with pytest.raises(Unanswered):
        list(CLOUDS[name](base).look())
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unanswered):
            list(CLOUDS[name](f"http://127.0.0.1:{bound.getsockname()[1]}").look())
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_an_answer_that_drips_is_cut_off():
    def drip(listener: socket.socket) -> None:
        peer = listener.accept()[0]
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1200):  # a minute long
            try:
                peer.sendall(b"x")
            except OSError:
                return
            time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(Unanswered, match="not answered to its end"):
            notices.ask(f"http://127.0.0.1:{listener.getsockname()[1]}", "GET", "/", {}, 0.4)
        assert time.monotonic() - began < 30


def test_neither_proxies_nor_redirects_are_followed(service, monkeypatch):
    _, base = service
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert notices.ask(base, "GET", AZURE_NAME + "?api-version=1", {"Metadata": "true"}).body == "gpu_0"
    service[0].status = 302
    with pytest.raises(Unanswered, match="HTTP 302"):
        list(Azure(base).look())
