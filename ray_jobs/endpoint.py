"""How does a command answer over HTTP: where does it listen, who may ask, and how does it end?"""

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from ray_jobs.outcome import ConfigError

BACKLOG = 2048  # connections that wait to be accepted, as uvicorn has it


class Endpoint(NamedTuple):
    """Where a command listens, and where its token is: the variable of the environment, or a file."""

    host: str
    port: int
    variable: str
    token_file: str | None = None

    def token(self, does: str) -> str | None:
        """Read the token, None where there is none and this machine alone is listened to; `does`: what others could.

        ConfigError where others could ask without a token, or the file is empty.
        """
        token = read_token(self.token_file, self.variable)
        if token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} lets other machines {does}, and there is no token; put one into the environment "
                f"as {self.variable}, or into a file that --token-file names"
            )
        return token

    def listen(self) -> socket.socket:
        """Return a socket that listens there, for several processes to accept from; OSError where that cannot be."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)

    def answer(self, application: Any, grace_s: int, sockets: list[socket.socket] | None = None) -> None:
        """Let an ASGI application answer until a signal ends it; what runs then has so many seconds to finish.

        sockets: that listen already, in place of one of its own.
        """
        config = uvicorn.Config(
            application,
            host=self.host,
            port=self.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=grace_s,
        )
        uvicorn.Server(config).run(sockets)


def read_token(file: str | None, variable: str) -> str | None:
    """Read a token from a file, else from the environment; None where there is none. ConfigError if it is empty."""
    if file is None:
        return os.environ.get(variable) or None
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
