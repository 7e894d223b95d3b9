"""Who may ask a command that listens, and with which token?"""

from pathlib import Path

import pytest

from ray_jobs.endpoint import Endpoint, is_loopback, read_token
from ray_jobs.outcome import ConfigError

VARIABLE = "HEADRACE_TEST_TOKEN"


def test_other_machines_are_listened_to_only_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Endpoint("127.0.0.1", 1, VARIABLE).token("ask") is None
    with pytest.raises(ConfigError, match="lets other machines ask, and there is no token; put one into"):
        Endpoint("0.0.0.0", 1, VARIABLE).token("ask")
    monkeypatch.setenv(VARIABLE, "from-the-environment")
    assert Endpoint("0.0.0.0", 1, VARIABLE).token("ask") == "from-the-environment"
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    assert Endpoint("0.0.0.0", 1, VARIABLE, str(file)).token("ask") == "from-a-file"


def test_an_empty_file_is_no_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        read_token(str(file), VARIABLE)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    hosts = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "me.example")
    assert [is_loopback(host) for host in hosts] == [True, True, True, False, False]
