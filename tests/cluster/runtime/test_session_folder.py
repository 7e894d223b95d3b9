"""Is a session's folder its user's alone, and short enough for sockets?"""

import os
import stat
from pathlib import Path

import pytest

from cluster.runtime.session_folder import INSIDE, LONGEST_PATH, make_session_folder, remove_session_folder


def test_nobody_else_enters_it_and_it_goes_with_all_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    old = os.umask(0)
    try:
        inside = Path(make_session_folder())
    finally:
        os.umask(old)
    folder = inside.parent
    assert folder.parent == Path("/tmp") and stat.S_IMODE(folder.stat().st_mode) == 0o700
    (inside / "session" / "sockets").mkdir(parents=True)
    (inside / "session" / "sockets" / "raylet").touch()
    inside.chmod(0o777)  # as Ray does
    remove_session_folder(str(inside))
    assert not folder.exists()


def test_a_long_folder_for_temporary_files_gives_way_and_one_that_was_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = make_session_folder()
    remove_session_folder(folder)
    assert folder.startswith("/tmp/") and len("/tmp" + INSIDE) <= LONGEST_PATH
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(OSError, match=r"too long for Ray's sockets; set RAY_TMPDIR to a path of \d+ bytes or less"):
        make_session_folder()
