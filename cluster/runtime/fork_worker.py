"""What does a raylet run to start a worker? This script, in place of Ray's setup_worker.py, if a fork server is there.

It hands arguments, environment and files to `cluster.runtime.forkserver`, stays as long as the worker that was forked,
and ends as it ended. Whatever the server is not made for, or if it is gone: Ray's own script. Standard library alone,
for every worker starts it.
"""

import array
import json
import os
import socket
import sys
from contextlib import suppress

SOCKET = "HEADRACE_FORKSERVER"  # environment: the server's address
FIRST_JOB = "01000000"  # of a Ray that its first driver has started; a process reads it once, as it imports Ray
WORKER = "default_worker.py"  # Ray's program of a worker
CONTEXT = "--serialized-runtime-env-context="
NO_JOB = "ffffffff"  # of workers that are started before their job is known


def launch(given: list[str]) -> int:
    """Start a worker and wait for its end; the exit code. Does not return where Ray's own script takes over."""
    argv = [text for text in given if not text.startswith(("--language=", CONTEXT))]
    variables = wanted([text for text in given if text.startswith(CONTEXT)])
    if os.environ.get("RAY_JOB_ID") in (FIRST_JOB, NO_JOB) and variables is not None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.connect(os.environ[SOCKET])
            told = json.dumps({"argv": argv, "environment": {**os.environ, **variables}, "folder": os.getcwd()})  # noqa: PTH109
            files = array.array("i", [0, 1, 2])
            server.sendmsg([told.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            if server.recv(1):  # it was forked
                return int(server.recv(8) or 1)
    own = next(text for text in argv if text.endswith(WORKER)).replace(WORKER, "setup_worker.py")
    return os.execv(sys.executable, [sys.executable, own, *given])


def wanted(contexts: list[str]) -> dict[str, str] | None:
    """What a runtime environment adds to the variables; None if it wants more, or one made of others."""
    found = json.loads(contexts[0].removeprefix(CONTEXT)) if contexts else {}
    variables: dict[str, str] = found.pop("env_vars", None) or {}
    plain = found.pop("py_executable", sys.executable) == sys.executable and not any(found.values())
    return variables if plain and not any("$" in value for value in variables.values()) else None


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
