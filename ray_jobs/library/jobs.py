"""How does a program start what the command line starts? As the command, in a process of its own.

A run takes the signals of its process, starts Ray and forks; a notebook's kernel is no place for that. Its lines are
passed through as they come, and ^C is passed on: the run commits, as in a terminal. It is in a session of its own, so
that a terminal does not send it the same ^C once more.
"""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from ray_jobs.names import ROOT
from ray_jobs.outcome import ConfigError, Outcome

STOPPED = 143
BAD_CONFIGURATION = 2
START = "import sys; sys.path.append(sys.argv.pop(1)); from ray_jobs.__main__ import main; main()"


def start_command(command: str, config: str | Mapping[str, object], *options: str) -> Outcome:
    """Run `headrace COMMAND` with a configuration and wait for its end; its exit code and JSON object.

    config: the path of a YAML file, the name of a recipe, or nested keys and values as they stand in such a file.
    Raises ConfigError for what the user can mend and RuntimeError where the command failed.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        place = config
        if not isinstance(config, str):
            place = str(Path(folder) / "config.yaml")
            Path(place).write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        argv = [sys.executable, "-P", "-c", START, str(ROOT), command, "-c", str(place), "--json", *options]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
            said: list[str] = []
            passing = threading.Thread(target=_pass_through, args=(process.stderr, said), daemon=True)
            passing.start()
            output = _wait(process)
            passing.join()
    lines = output.strip().splitlines()
    answer = json.loads(lines[-1]) if lines else {}
    if process.returncode in (0, 3, 75, STOPPED):
        return Outcome(process.returncode, answer)
    why = answer.get("error") or "\n".join(said[-3:]).strip() or f"exit code {process.returncode}"
    raise (ConfigError if process.returncode == BAD_CONFIGURATION else RuntimeError)(why)


def _pass_through(stream: IO[str] | None, said: list[str]) -> None:
    """Show the lines as they come; in a notebook `sys.stderr` is the cell's."""
    for line in stream or ():
        said.append(line.rstrip())
        sys.stderr.write(line)


def _wait(process: subprocess.Popen[str]) -> str:
    """Read the output to its end, and pass every ^C on."""
    output: list[str] = []
    reading = threading.Thread(target=lambda: output.extend(process.stdout or ()), daemon=True)
    reading.start()
    while True:
        try:
            process.wait()
            reading.join()
            return "".join(output)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
