"""A program that takes the network and other programs away from itself, for good, and then runs tasks (`inside.py`).

It is started by `asking.py` with nothing of our environment. The guard is an audit hook, which cannot be taken back,
and stands before any library of the harness is imported.
"""

import os
import resource
import sys

CPU_SECONDS = 3600  # of all tasks of a process; a template may loop for ever
REFUSED = (
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
)
tried: list[str] = []  # what was refused, also where the library that tried it went on


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse to reach out, whichever library asks."""
    if event in REFUSED:
        what = f"{event} {arguments[1] if event in ('socket.connect', 'socket.sendto') else arguments[0]!s:.80}"
        tried.append(what)
        raise PermissionError(f"a task may not reach out, and this one tried {what}")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    sys.addaudithook(_guard)
    from ray_jobs.evaluation.harness import inside

    inside.answer_tasks(answers, tried)
