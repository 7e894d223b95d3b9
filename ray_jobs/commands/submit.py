"""How does a run get onto a cluster from here, and what did it end with?

`submit` checks the configuration, uploads the packages and that one file, starts `python -m ray_jobs run` as a Ray job,
and passes its output through until it ends, with the exit code of the run itself: Ray's own command line says 1 for
every failure. ^C leaves the job running and says how to come back to it and how to stop it. The token comes from Ray's
environment variables or its file, never from here.
"""

import asyncio
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import yaml

from cluster.runtime.root import ROOT
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGES = ("cluster", "data_ops", "models", "tune", "ray_jobs")
CONFIG = "headrace.yaml"
STOPPED_NOTE = "stopped after a checkpoint"  # what the run says last when it was stopped in time
DONE_NOTE = "the sources are drained and all is committed"  # and when the stop came too late to stop anything
DETACHED, STOPPED = 75, 143
TRIES, PAUSE_S = 15, 2.0  # a head answers some seconds before it takes jobs; a connection may break now and then
TAIL = 4096


class Ended(NamedTuple):
    """How a job stands: Ray's word for it, and the exit code of the run."""

    submission_id: str
    status: str
    code: int


def submit(
    config: Config,
    address: str | None = None,
    *,
    follow: bool = False,
    detach: bool = False,
    python: str = "python",
    echo: Callable[[str], object] = sys.stdout.write,
    note: Callable[[str], object] = sys.stderr.write,
) -> Ended:
    """Run a configuration as a Ray job and wait for its end; with detach only until it is taken.

    address: of the jobs API, http://host:8265; absent: RAY_API_SERVER_ADDRESS. follow: `run --follow`. python: the
    interpreter on the head. echo gets the job's output, note what there is to say about it. ConfigError for a wrong
    address, ConnectionError where no cluster answers or accepts us.
    """
    client, url = _client(address)
    if "://" not in config.store:
        note(f"store={config.store} is a folder: every node must reach the same one under this path\n")
    name = f"{config.name}-{secrets.token_hex(4)}"
    entrypoint = f"{python} -m ray_jobs run -c {CONFIG}" + (" --follow" if follow else "")
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        pack_code(config, Path(folder))
        _start(client, name, entrypoint, folder)
    note(f"submitted {name} to {url}\n")
    again = f"ray job logs --follow --address {url} {name}"
    stop = f"ray job stop --address {url} {name}"
    if detach:
        note(f"watch it:  {again}\nstop it:   {stop}   (after a checkpoint)\n")
        return Ended(name, "SUBMITTED", 0)
    try:
        said = _pass_through(client, name, echo)
        return _ended(client, name, said)
    except KeyboardInterrupt:
        note(f"\nleft it running\nwatch it:  {again}\nstop it:   {stop}   (after a checkpoint)\n")
        return Ended(name, "RUNNING", DETACHED)


def pack_code(config: Config, folder: Path) -> None:
    """Put what a job needs into a folder: our packages and the checked configuration, with absolute paths."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (folder / CONFIG).write_text(written_config(config), encoding="utf-8")


def written_config(config: Config) -> str:
    """Write a checked configuration as the file of a run that is started from here."""
    return str(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False))


class JobState(NamedTuple):
    """Has a job ended, and with which exit code of its run?"""

    ended: bool
    code: int


class Jobs:
    """The jobs of a cluster, where a caller starts several: each under an id of the caller's, which is taken once."""

    def __init__(self, address: str | None) -> None:
        """ConfigError for a wrong address, ConnectionError where no cluster answers or accepts us."""
        self._client, self.url = _client(address)

    def start(self, name: str, config: Config, python: str) -> None:
        """Upload and start. ConnectionError where the cluster takes no job."""
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            pack_code(config, Path(folder))
            _start(self._client, name, f"{python} -m ray_jobs run -c {CONFIG}", folder)

    def code(self, name: str) -> JobState | None:
        """Ask how a job stands; None: there is none of this id. ConnectionError where the cluster does not answer."""
        try:
            if not self._client.get_job_status(name).is_terminal():
                return JobState(False, 0)
            return JobState(True, _ended(self._client, name, self._client.get_job_logs(name)[-TAIL:]).code)
        except RuntimeError as error:
            if "does not exist" in str(error):
                return None
            said = " ".join(str(error).split())[:120]
            raise ConnectionError(f"the cluster does not tell of job {name} ({said})") from None


def exit_code(status: str, code: int | None, tail: str) -> int:
    """The exit code of the run behind a job that ended; Ray keeps none for a job that was stopped.

    >>> exit_code("FAILED", 3, ""), exit_code("STOPPED", None, "... stopped after a checkpoint; the same command")
    (3, 143)
    """
    if status == "STOPPED" and DONE_NOTE in tail:
        return 0
    if status == "STOPPED":
        return STOPPED if STOPPED_NOTE in tail else 1
    if code is not None:
        return code if code >= 0 else 128 - code  # ended by a signal
    return 0 if status == "SUCCEEDED" else 1


def _client(address: str | None) -> tuple["JobSubmissionClient", str]:
    url = address or os.environ.get("RAY_API_SERVER_ADDRESS", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        what = f"--address={url}" if url else "no cluster is named"
        raise ConfigError(f"{what}; give --address=http://HOST:8265 or set RAY_API_SERVER_ADDRESS")
    if parts.username or parts.password:
        raise ConfigError("--address holds a login, which others see in the process list; set RAY_AUTH_TOKEN instead")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for noisy in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # they tell of every connection and package
    os.environ["RAY_API_SERVER_ADDRESS"] = url  # Ray prefers the variable to what it is told
    try:
        return JobSubmissionClient(url), url
    except AuthenticationError:
        raise ConnectionError(
            f"{url} refuses us: set RAY_AUTH_MODE=token and the cluster's token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        raise ConnectionError(
            f"no jobs API answers at {url} ({' '.join(str(error).split())[:120]}): open a tunnel with "
            "'ray dashboard cluster.yaml' or 'kubectl port-forward', or correct --address"
        ) from None


def _start(client: "JobSubmissionClient", name: str, entrypoint: str, folder: str) -> None:
    """Upload and start; a head that has just come up, or breaks the connection off, is asked again for a while."""
    for tried in range(1, TRIES + 1):
        try:
            client.submit_job(entrypoint=entrypoint, submission_id=name, runtime_env={"working_dir": folder})
            return
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            said = " ".join(str(error).split())
            if tried > 1 and "already exists" in said:
                return  # it was taken, and only the answer was lost
            if not isinstance(error, OSError) and "No available agent" not in said:
                raise
            if tried == TRIES:
                raise ConnectionError(f"the cluster takes no job ({said[:120]}); try again") from None
        time.sleep(PAUSE_S)


def _pass_through(client: "JobSubmissionClient", name: str, echo: Callable[[str], object]) -> str:
    """Echo the job's output to its end, also over broken connections; returns the last of it."""
    shown, tail, failures = 0, "", 0

    async def follow() -> None:
        nonlocal shown, tail, failures
        seen = 0
        async for piece in client.tail_job_logs(name):
            new = piece[max(0, shown - seen) :]  # a new connection tells it all from the beginning
            seen += len(piece)
            if new:
                echo(new)
                shown, tail, failures = shown + len(new), (tail + new)[-TAIL:], 0

    while True:
        try:
            asyncio.run(follow())
            if client.get_job_status(name).is_terminal():
                return tail
        except (OSError, RuntimeError) as error:  # aiohttp's errors are OSErrors
            failures += 1
            if failures >= TRIES:
                raise ConnectionError(
                    f"the cluster does not answer any more ({' '.join(str(error).split())[:120]}); job {name} may go on"
                ) from None
        time.sleep(PAUSE_S)


def _ended(client: "JobSubmissionClient", name: str, tail: str) -> Ended:
    details = client.get_job_info(name)
    status = str(details.status.value)
    return Ended(name, status, exit_code(status, details.driver_exit_code, tail))
