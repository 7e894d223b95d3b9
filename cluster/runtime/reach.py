"""Does a Ray cluster answer at an address, within seconds?

`ray.init` asks a dead address for 14 minutes, in a call that hears no signal. So the address is tried first: its port
until it opens, for a head that is just starting, then Ray's head behind it in a thread of its own. Meanwhile this
process obeys ^C and SIGTERM.
"""

import socket
import threading
import time
from urllib.parse import urlsplit

ANSWER_SECONDS = 20.0  # for both; a head opens its port within some seconds of its start
PAUSE_S = 0.5


def wait_for_head(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Return once a head answers; ConnectionError if none does in time. An address without a port is left to Ray."""
    parts = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    if parts.hostname is None or parts.port is None:
        return
    deadline = time.monotonic() + seconds
    try:
        _wait_for_port(parts.hostname, parts.port, deadline)
    except OSError as error:
        raise ConnectionError(f"nobody has listened there for {seconds:.0f} s: {error}") from error
    if parts.scheme != "ray-gcs":  # ray://: another server, which only Ray's own client speaks with
        return
    answered = threading.Event()
    threading.Thread(target=_ask, args=(address, answered), daemon=True, name="reach").start()
    while not answered.wait(PAUSE_S):
        if time.monotonic() > deadline:
            raise ConnectionError(f"something listens there, but no Ray head has answered for {seconds:.0f} s")


def _wait_for_port(host: str, port: int, deadline: float) -> None:
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            if time.monotonic() + PAUSE_S > deadline:
                raise
            time.sleep(PAUSE_S)
        else:
            return


def _ask(address: str, answered: threading.Event) -> None:
    """Ask Ray's head whether it lives; a refusal is an answer too, and `ray.init` words it better."""
    from cluster.runtime.ray_internals import head_lives

    try:
        head_lives(address, ANSWER_SECONDS)
    except Exception as error:  # noqa: BLE001 - of Ray's own, with no class in common
        if "RpcError" in type(error).__name__ or "Unavailable" in str(error):
            return
    answered.set()
