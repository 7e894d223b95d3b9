"""What does `headrace listen` do? It takes documents over HTTP into a spool that the source `files` reads."""

from pathlib import Path

from data_ops.sources.push.app import PushApp
from data_ops.sources.push.spool import Spool
from ray_jobs.endpoint import Endpoint
from ray_jobs.outcome import ConfigError

TOKEN = "HEADRACE_PUSH_TOKEN"
MAX_WAITING_BYTES = 64 << 20
GRACE_S = 10


def listen_command(folder: str, host: str, port: int, max_body: int, token_file: str | None) -> None:
    """Answer until a signal ends it. ConfigError where others could send without a token."""
    endpoint = Endpoint(host, port, TOKEN, token_file)
    token = endpoint.token("send")
    try:
        spool = Spool(Path(folder))
    except BlockingIOError:
        raise ConfigError(f"another listener writes into {folder}; stop it, or name another folder") from None
    try:
        endpoint.answer(PushApp(spool, token, max_body, MAX_WAITING_BYTES), GRACE_S)
    finally:
        spool.close()


def source_of(folder: str) -> str:
    """Return the source that reads a spool, as a line of YAML."""
    path = Path(folder).absolute() / "*.jsonl"
    return f'pushed: {{kind: files, path: "{path}", time: time, id: id, wait: true}}'
