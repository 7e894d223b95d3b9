"""What is a store over a network, and how does its weather turn bad?

A moto server holds the bucket; in front of it a proxy, which the run under test takes for S3, has weather. `errors`: a
share of the requests is answered 500 or 503, every other one of them after it was carried out, so that a retry meets
its own object. `hang`: no request is answered until the weather is over, then its connection closes; every other one
was carried out. `cut`: a share of the bodies ends in the middle, by a reset. `reset`: a share of the requests that
write is carried out, and their connection is then reset without an answer. Both live as long as the supervisor, which
reads past the weather.
"""

import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

from tests.support.runs import STARTED

BUCKET, PREFIX = "acme", "lake"
SECONDS = {"errors": 8.0, "hang": 10.0, "cut": 8.0, "reset": 8.0}  # how long each weather lasts
SHARE = 0.5  # of the requests that meet it; all of them where it hangs
MEETS = {"cut": ("GET",), "reset": ("PUT", "POST")}  # the only requests that such weather is for
SIGNED = {"Authorization": "moto wants one and does not read it"}
OF_ONE_HOP = ("connection", "transfer-encoding", "keep-alive")  # headers that are not passed on


class Bucket:
    """A bucket behind weather, alive until `close`."""

    def __init__(self, seed: int) -> None:
        self.direct = f"http://127.0.0.1:{_free_port()}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", self.direct.rpartition(":")[2]]
        self.moto = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        STARTED.append(self.moto)  # a campaign that is stopped ends it too
        self.proxy = Proxy(self.direct, Random(f"weather {seed}"))
        deadline = time.monotonic() + 60
        while not self._made():
            if time.monotonic() > deadline:
                raise RuntimeError("the moto server does not answer")
            time.sleep(0.1)

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to see it."""
        endpoint = f"http://127.0.0.1:{self.proxy.server_port}"
        return {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ENDPOINT_URL_S3": endpoint,  # one that is set outside would come first
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def arguments(self) -> tuple[str, str]:
        """What a command is started with; its events must be seen soon, for faults come by them."""
        return f"store=s3://{BUCKET}/{PREFIX}", "telemetry.flush_every=1s"

    def read(self, path: str, offset: int = 0) -> bytes:
        """What stands in an object of the store behind `offset`, past the weather; b"" if there is none."""
        place = f"{self.direct}/{BUCKET}/{urllib.parse.quote(f'{PREFIX}/{path}')}"
        request = urllib.request.Request(place, headers=SIGNED | ({"Range": f"bytes={offset}-"} if offset else {}))
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code not in (404, 416):  # 416: nothing is behind the offset
                raise
            return b""

    def list(self) -> list[str]:
        """The paths of all objects of the store."""
        found, after = [], ""
        while True:
            query = urllib.parse.urlencode({"list-type": 2, "prefix": f"{PREFIX}/", "start-after": after})
            with urllib.request.urlopen(f"{self.direct}/{BUCKET}?{query}", timeout=30) as answer:
                keys = [element.text or "" for element in ElementTree.parse(answer).iterfind(".//{*}Key")]
            if not keys:
                return [key.removeprefix(f"{PREFIX}/") for key in found if not key.endswith("/")]  # marks of folders
            found += keys
            after = keys[-1]

    def copy(self, folder: Path) -> None:
        """Lay the store out as files, for a checker that knows only these."""
        for path in self.list():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(self.read(path))

    def close(self) -> None:
        """End both."""
        self.proxy.calm()
        self.proxy.shutdown()
        self.proxy.server_close()
        self.moto.kill()
        self.moto.wait()

    def _made(self) -> bool:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{self.direct}/{BUCKET}", method="PUT"), timeout=5).close()
        except OSError:
            return False
        return True


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `target`, as its weather lets it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, target: str, random: Random) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.target, self.random = urllib.parse.urlsplit(target).netloc, random
        self.lock, self.creating = threading.Lock(), threading.Lock()
        self.kind, self.until, self.met = "", 0.0, 0  # met: how many requests met this weather
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name="weather").start()

    def turn(self, kind: str, seconds: float) -> None:
        """Let the weather be of a kind of SECONDS for a while; it takes the place of the one before."""
        with self.lock:
            self.kind, self.until, self.met = kind, time.monotonic() + seconds, 0

    def calm(self) -> None:
        """End the weather now."""
        with self.lock:
            self.until = 0.0

    def meets(self, method: str) -> tuple[str, bool]:
        """What becomes of a request that comes now: (kind, or "" for nothing, is it carried out all the same)."""
        with self.lock:
            if time.monotonic() >= self.until or method not in MEETS.get(self.kind, (method,)):
                return "", True
            if self.kind != "hang" and self.random.random() >= SHARE:
                return "", True
            self.met += 1
            return self.kind, self.kind in MEETS or self.met % 2 == 0

    def wait(self) -> None:
        """Wait until the weather is over."""
        while time.monotonic() < self.until:
            time.sleep(0.05)

    def carry_out(self, method: str, path: str, headers: dict[str, str], body: bytes) -> "Answer":
        """Let the server behind do it."""
        if headers.get("if-none-match") == "*":
            with self.creating:  # moto looks first and writes then, where S3 does both in one act
                return self._forward(method, path, headers, body)
        return self._forward(method, path, headers, body)

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> "Answer":
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def shutdown_request(self, request: Any) -> None:
        """Close at once: to say goodbye first, as the library does, would make an end of what should be a reset."""
        self.close_request(request)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that was killed is what this is for."""


Answer = tuple[int, list[tuple[str, str]], bytes]


class _Request(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement

    def _do(self) -> None:
        body = self._body()
        kind, carried_out = self.server.meets(self.command)
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in OF_ONE_HOP}
        headers.pop("expect", None)
        answer: Answer = (503 if self.server.met % 3 else 500, [], b"<Error><Code>SlowDown</Code></Error>")
        if carried_out:
            done = self.server.carry_out(self.command, self.path, headers, body)
            answer = answer if kind == "errors" else done
        if kind == "hang":
            self.server.wait()
            self.close_connection = True
        elif kind == "reset":
            self._reset()
        else:
            self._tell(answer, cut=kind == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _do  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _tell(self, answer: Answer, cut: bool) -> None:
        status, headers, body = answer
        self.send_response_only(status)
        told = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in OF_ONE_HOP:
                self.send_header(name, value)
        if "content-length" not in told and status != 204:
            self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            time.sleep(0.05)  # a reset overtakes what was not read yet
            self._reset()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
