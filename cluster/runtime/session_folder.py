"""Where does a local Ray keep its sockets, logs and spilled objects? In a folder that only this user can enter.

Ray makes its session folders writable by everybody, so that another local user could put his own sockets in their
place, and the folder it is given as well. In a folder of mode 0700 around that one nobody else reaches them. It is made
below RAY_TMPDIR or the system's folder for temporary files, and is deleted when the session ends.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

LONGEST_PATH = 107 if sys.platform == "linux" else 103  # bytes of a Unix socket's path
INSIDE = "/headrace-12345678/ray/session_2026-11-29_16-29-39_526901_4194304/sockets/plasma_store"


def make_session_folder() -> str:
    """Return a folder for Ray within one of this user's; OSError where every path would be too long for sockets."""
    wanted = os.environ.get("RAY_TMPDIR")
    places = [Path(place).absolute() for place in ([wanted] if wanted else [tempfile.gettempdir(), "/tmp"])]
    longest = LONGEST_PATH - len(INSIDE)
    for place in places:
        if len(os.fsencode(place)) <= longest:
            return str(Path(tempfile.mkdtemp(prefix="headrace-", dir=place)) / "ray")
    raise OSError(f"{places[0]} is too long for Ray's sockets; set RAY_TMPDIR to a path of {longest} bytes or less")


def remove_session_folder(folder: str) -> None:
    """Delete what `make_session_folder` returned, with all around it; what is still written is tried again once."""
    for _ in range(2):
        shutil.rmtree(Path(folder).parent, ignore_errors=True)
