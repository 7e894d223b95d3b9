"""What does `headrace listen` do? It takes documents over HTTP into a spool that the source `files` reads."""

import ipaddress
import os
from pathlib import Path

import uvicorn

from data_ops.sources.push.app import PushApp
from data_ops.sources.push.spool import Spool
from ray_jobs.outcome import ConfigError

TOKEN = "HEADRACE_PUSH_TOKEN"
MAX_WAITING_BYTES = 64 << 20
GRACE_S = 10


def listen_command(folder: str, host: str, port: int, max_body: int, token_file: str | None) -> None:
    """Answer until a signal ends it. ConfigError where others could send without a token."""
    token = read_token(token_file)
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines send, and there is no token; put one into the environment as {TOKEN}, "
            "or into a file that --token-file names"
        )
    try:
        spool = Spool(Path(folder))
    except BlockingIOError:
        raise ConfigError(f"another listener writes into {folder}; stop it, or name another folder") from None
    try:
        listener = PushApp(spool, token, max_body, MAX_WAITING_BYTES)
        config = uvicorn.Config(
            listener,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
        )
        uvicorn.Server(config).run()
    finally:
        spool.close()


def read_token(file: str | None) -> str | None:
    """Read the token from a file, else from the environment; None where there is none. ConfigError if it is empty."""
    if file is None:
        return os.environ.get(TOKEN) or None
    if not (token := Path(file).read_text(encoding="utf-8").strip()):
        raise ConfigError(f"--token-file {file} is empty; write the token into it")
    return token


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def source_of(folder: str) -> str:
    """Return the source that reads a spool, as a line of YAML."""
    path = Path(folder).absolute() / "*.jsonl"
    return f'pushed: {{kind: files, path: "{path}", time: time, id: id, wait: true}}'
