"""A bucket that speaks S3 over HTTP, on this machine."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tests.support.runs import free_ports


@contextmanager
def moto_server(out: IO[str] | int) -> Iterator[str]:
    """Run an empty moto server, which writes what it is asked to `out`; its address."""
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield endpoint
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def moto_bucket() -> Iterator[dict[str, str]]:
    """Run a moto server with the bucket "acme"; what the environment has to be for it."""
    with moto_server(subprocess.DEVNULL) as endpoint:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/acme", method="PUT"), timeout=60).close()
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
