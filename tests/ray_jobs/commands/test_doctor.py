"""Does the doctor find what is wrong here, say what to do, and reveal nothing?"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.commands import doctor
from ray_jobs.commands.doctor import Check, doctor_table, examine, version_key


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in (
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_API_SERVER_ADDRESS",
        "WANDB_MODE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def cluster_answering(status):
    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def test_everything_is_examined_and_everything_wrong_has_a_mend(tmp_path):
    checks = examine(str(tmp_path / "lake"))
    names = {check.name for check in checks}
    assert names >= {
        "python",
        "packages",
        "cpus",
        "memory",
        "c compiler",
        "gpus",
        "ray auth",
        "store",
        "clock",
    }
    for check in checks:
        assert check.found and "\n" not in check.found + check.mend
        assert bool(check.mend) == (check.state != "ok")
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_without_a_c_compiler_fails(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "has_gpu", lambda: False)
    assert doctor.check_compiler().state == "ok"
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    assert doctor.check_compiler().state == "fail"
    monkeypatch.setenv("CC", "/opt/cc")
    assert doctor.check_compiler() == doctor.Check("c compiler", "ok", "/opt/cc")


def test_an_old_python_and_a_missing_or_old_package_fail(monkeypatch):
    assert doctor.check_python((3, 9, 1)).state == "fail"
    monkeypatch.setattr(doctor, "PACKAGES", {"ray": "99.1", "no-such-package-here": "1.0", "numpy": "1.0"})
    packages, old, missing = doctor.look_at_packages()
    assert packages.found.startswith("1 of 3: numpy") and "older than 99.1" in old.found
    assert missing.mend == "pip install 'no-such-package-here>=1.0'" and missing.state == old.state == "fail"


@given(st.lists(st.integers(0, 99), min_size=1, max_size=3), st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_versions_compare_by_number(left, right):
    keys = [version_key(".".join(map(str, parts)) + "+cpu") for parts in (left, right)]
    assert (keys[0] < keys[1]) == (left < right)


@pytest.mark.parametrize(("mode", "state"), [("token", "ok"), ("disabled", "warn"), ("", "warn")])
def test_the_auth_mode_must_be_explicit(mode, state):
    assert doctor.check_auth_mode(mode).state == state


def test_a_machine_without_a_cluster_needs_no_auth_mode():
    assert doctor.check_auth_mode("", has_cluster=False).state == "ok"
    assert doctor.check_auth_mode("disabled", has_cluster=False).state == "warn"


def test_a_token_that_others_read_fails_and_is_never_shown(tmp_path, monkeypatch):
    assert doctor.check_token_file().state == "ok"
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("hunter2")
    token.chmod(0o644)
    check = doctor.check_token_file()
    assert (check.state, check.mend) == ("fail", f"chmod 600 {token}")
    token.chmod(0o600)
    assert doctor.check_token_file().state == "ok"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hunter2")
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    assert "hunter2" not in doctor_table(examine())


@pytest.mark.parametrize(("status", "state"), [(200, "fail"), (401, "ok"), (403, "ok"), (500, "warn")])
def test_a_cluster_that_answers_without_a_token_fails(status, state):
    server = cluster_answering(status)
    try:
        check = doctor.check_cluster_closed(f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        server.server_close()
    assert check.state == state
    if state == "fail":
        assert "RAY_AUTH_MODE=token" in check.mend
    gone = doctor.check_cluster_closed(f"http://127.0.0.1:{server.server_port}")
    assert gone.state == "fail" and "does not answer" in gone.found


def test_a_store_that_cannot_be_used_fails_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    for uri in (str(tmp_path / "file"), "ftp://x/y", "s3://"):
        (check,) = doctor.look_at_store(uri)
        assert check.state == "fail" and check.found and check.mend


def test_little_room_is_a_warning():
    assert doctor.check_bytes("disk", 1e9, 10e9, "free space") == Check("disk", "warn", "1.0 GB, little", "free space")
    assert doctor.check_bytes("disk", 11e9, 10e9, "free space").state == "ok"


def test_a_clock_before_this_code_was_written_fails(monkeypatch):
    monkeypatch.setattr(doctor.time, "time", lambda: 0.0)
    assert doctor.check_machine()[-1].state == "fail"


def test_few_open_files_is_a_warning_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (256, 4096))
    assert doctor.check_open_files() == Check("open files", "warn", "limit 256", "ulimit -n 4096")


def test_the_table_has_one_line_a_check_and_one_for_its_mend():
    table = doctor_table([Check("cpus", "ok", "8"), Check("clock", "fail", "1970", "set the clock")])
    assert [line.split() for line in table.splitlines()] == [
        ["ok", "cpus", "8"],
        ["fail", "clock", "1970"],
        ["->", "set", "the", "clock"],
    ]
