"""The clouds' metadata services over real HTTP, as their pages document them; tests set what they say."""

import contextlib
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "AQAEAfakeTokenOfIMDSv2=="


class Metadata:
    """What the service says now. `said` maps a path to its answer; None or absent is 404."""

    def __init__(self) -> None:
        self.said: dict[str, str | None] = {}
        self.tokens_given = 0
        self.valid_token = ""
        self.status: int | None = None  # instead of every answer
        self.delay_s = 0.0
        self.requests: list[str] = []
        self.changed = threading.Condition()

    def say(self, path: str, text: str | None) -> None:
        """Change one answer; whoever hangs on it hears it."""
        with self.changed:
            self.said[path] = text
            self.changed.notify_all()


AWS_ACTION, AWS_REBALANCE = (
    "/latest/meta-data/spot/instance-action",
    "/latest/meta-data/events/recommendations/rebalance",
)
GCP_PREEMPTED, GCP_MAINTENANCE = (f"/computeMetadata/v1/instance/{key}" for key in ("preempted", "maintenance-event"))
AZURE_EVENTS, AZURE_NAME = "/metadata/scheduledevents", "/metadata/instance/compute/name"


class Handler(BaseHTTPRequestHandler):
    """One request; wrong headers are refused as the real services do."""

    metadata: Metadata

    def do_PUT(self) -> None:
        self.metadata.requests.append(self.path)
        if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            return self.answer(400, "")
        self.metadata.tokens_given += 1
        self.metadata.valid_token = f"{TOKEN}{self.metadata.tokens_given}"
        return self.answer(200, self.metadata.valid_token)

    def do_GET(self) -> None:
        metadata, url = self.metadata, urllib.parse.urlsplit(self.path)
        metadata.requests.append(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        time.sleep(metadata.delay_s)
        if metadata.status is not None:
            return self.answer(metadata.status, "")
        if url.path.startswith("/latest/") and self.headers.get("X-aws-ec2-metadata-token") != metadata.valid_token:
            return self.answer(401, "")
        if url.path.startswith("/computeMetadata/") and self.headers.get("Metadata-Flavor") != "Google":
            return self.answer(403, "")
        if url.path.startswith("/metadata/") and (self.headers.get("Metadata") != "true" or "api-version" not in query):
            return self.answer(400, "")
        if query.get("wait_for_change") == "true":
            with metadata.changed:
                metadata.changed.wait_for(
                    lambda: etag(metadata.said.get(url.path)) != query["last_etag"], float(query["timeout_sec"])
                )
        said = metadata.said.get(url.path)
        return self.answer(404, "") if said is None else self.answer(200, said)

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        if "computeMetadata" in self.path:
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("ETag", etag(text))
        with contextlib.suppress(OSError):  # whoever asked may have had enough
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def etag(text: str | None) -> str:
    """Changes with the value, as Google's does."""
    return f"{hash(text) & 0xFFFFFFFF:08x}"


@contextmanager
def serving() -> Iterator[tuple[Metadata, str]]:
    """A service of its own: (what it says, its base URL)."""
    metadata = Metadata()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"metadata": metadata}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield metadata, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
