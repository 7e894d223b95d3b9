"""A schema registry within a test: the part of Confluent's HTTP API that its own clients use, and faults to play."""

import base64
import binascii
import json
import re
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

INCLUDED = str(Path(str(grpc_tools.__file__)).parent / "_proto")


class FakeRegistry:
    """A registry at `url`; login: "user:password", which it then wants. compiles: does it know format=serialized?"""

    def __init__(self, login: str = "", *, compiles: bool = True) -> None:
        self.login, self.compiles = login, compiles
        self.fails = 0  # so many answers are HTTP 503
        self.asked: list[str] = []  # paths, as they were asked for
        self.schemas: list[dict] = []  # by id, from 1 on
        self.subjects: dict[str, list[int]] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*registry._get(self.path, self.headers.get("Authorization", "")))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(*registry._post(self.path, body))

            def _answer(self, code: int, told: object) -> None:
                raw = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_given) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    def register(self, schema: object, kind: str = "AVRO", subject: str = "", references: tuple = ()) -> int:
        """Take a schema in; return its id. references: (name, subject) of each that it refers to."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        named = [{"name": name, "subject": other, "version": 1} for name, other in references]
        return self._taken(
            subject or f"s{len(self.schemas)}", {"schema": text, "schemaType": kind, "references": named}
        )

    def _taken(self, subject: str, body: dict) -> int:
        kept = {key: body[key] for key in ("schema", "schemaType", "references") if body.get(key)}
        if kept not in self.schemas:
            self.schemas.append(kept)
        number = self.schemas.index(kept) + 1
        self.subjects.setdefault(subject, []).append(number)
        return number

    def _post(self, path: str, body: dict) -> tuple[int, dict]:
        subject = unquote(path.split("/")[2])
        return 200, {"id": self._taken(subject, body), "version": len(self.subjects[subject]), **body}

    def _get(self, path: str, login: str) -> tuple[int, object]:
        self.asked.append(path)
        if self.fails:
            self.fails -= 1
            return 503, {"error_code": 50301, "message": "not now"}
        if self.login and login != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            return 401, {"error_code": 401, "message": "Unauthorized"}
        parts = urlsplit(path)
        form = parse_qs(parts.query).get("format", [""])[0]
        if parts.path == "/schemas/types":
            return 200, ["JSON", "PROTOBUF", "AVRO"]
        if match := re.fullmatch(r"/schemas/ids/(\d+)", parts.path):
            number = int(match[1])
            if not 0 < number <= len(self.schemas):
                return 404, {"error_code": 40403, "message": f"Schema {number} not found"}
        elif match := re.fullmatch(r"/subjects/([^/]+)/versions/(\d+)", parts.path):
            versions = self.subjects.get(unquote(match[1]), [])
            if int(match[2]) > len(versions):
                return 404, {"error_code": 40401, "message": "Subject not found"}
            number = versions[int(match[2]) - 1]
        else:
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        schema = self.schemas[number - 1]
        if form == "serialized" and not self.compiles:
            return 501, {"error_code": 501, "message": "unsupported format"}
        if form == "serialized" and schema.get("schemaType") == "PROTOBUF":
            schema = {**schema, "schema": self._compiled(schema)}
        return 200, {"id": number, **schema}

    def _compiled(self, schema: dict) -> str:
        try:
            base64.b64decode(schema["schema"], validate=True)
            return schema["schema"]  # as Confluent's serializer sends it
        except binascii.Error:
            pass
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder), "main.proto", schema)
            out = f"{folder}/out"
            assert protoc.main(["", "-I", folder, "-I", INCLUDED, f"--descriptor_set_out={out}", "main.proto"]) == 0
            (file,) = FileDescriptorSet.FromString(Path(out).read_bytes()).file
            return base64.b64encode(file.SerializeToString()).decode()

    def _write(self, folder: Path, name: str, schema: dict) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(schema["schema"])
        for reference in schema.get("references", ()):
            other = self.schemas[self.subjects[reference["subject"]][reference["version"] - 1] - 1]
            self._write(folder, reference["name"], other)
