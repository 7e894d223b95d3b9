"""Who can reach a local run? This machine alone, and its files this user alone."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.runs import end_all, finish, last_step, start, wait_for, write_documents

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
LOOPBACK = ("127.", "::1", "::ffff:127.")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    end_all()


def listening(pid: int) -> dict[tuple[str, int], str]:
    """Every port that a process and its descendants listen on: (address, port), and who."""
    found: dict[tuple[str, int], str] = {}
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = " ".join(process.cmdline())[:80]
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_local_run_listens_on_loopback_alone_and_its_session_is_its_users_alone(tmp_path: Path) -> None:
    write_documents(tmp_path / "corpus" / "a.jsonl", 400)
    with tempfile.TemporaryDirectory(prefix="hr-") as sessions:  # short, for the sockets in it
        process = start(tmp_path, "telemetry.prometheus=true", more={"RAY_TMPDIR": sessions})
        wait_for(tmp_path, process, lambda told: last_step(told) >= 3)
        ports = listening(process.pid)
        modes = [stat.S_IMODE(folder.stat().st_mode) for folder in Path(sessions).iterdir()]
        code, summary = finish(process)
        assert (code, summary["workers"]) == (0, 2)
        assert len(ports) >= 8, ports
        assert not {where: who for where, who in ports.items() if not where[0].startswith(LOOPBACK)}
        assert modes == [0o700]
        assert os.listdir(sessions) == [], "the session's folder goes with the session"  # noqa: PTH208
