"""What does a registry say of a schema's id?

Its HTTP API is asked for each schema once a process: an id means the same for ever. A registry that is silent is asked
again by `retry`, and the window waits with its offsets; one that refuses us stops the ingest in a sentence. An id that
it does not know is asked for again for some seconds, as a registry that is copied may be behind its writer, but not for
each of many: then its messages are quarantined.
"""

import base64
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import IO, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from cluster.storage.retry import REGISTRY_SILENT, retry
from cluster.storage.uri import expanded_path
from data_ops.sources.kafka.registered.config import RegistryConfig
from data_ops.sources.kafka.registered.wire import UnreadableError

ANSWER_S = 10.0
MOST_BYTES = 16 << 20  # of an answer
MOST_REFERENCES = 200  # of a schema, those of its references counted
BEHIND_S, BEHIND_AGAIN_S = 5.0, 60.0  # how long an unknown id is asked for again, and how long after that no other is
MOST_UNKNOWN = 10_000  # ids that are remembered as unknown
NOT_THERE = (40401, 40402, 40403)  # a subject, a version, a schema, as registries number their answers


class Repeat(Protocol):
    """Does again what a network has failed."""

    def __call__(self, act: Callable[[], "Schema"], /) -> "Schema": ...


class Schema(NamedTuple):
    """A schema as the registry has it; references: those that it names, before those that name them, by their name."""

    kind: str
    text: str
    references: dict[str, str]


class _Reference(msgspec.Struct):
    name: str
    subject: str
    version: int


class _Answer(msgspec.Struct, rename="camel"):
    """What the registry says of a schema."""

    schema: str
    schema_type: str = "AVRO"
    references: list[_Reference] = []


class _Refusal(msgspec.Struct):
    """What it says where it has none; the number is one of NOT_THERE."""

    error_code: int = 0


class _AbsentError(Exception):
    """The registry has no such thing."""


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows nobody to another place: a login is for this registry alone."""

    def redirect_request(self, *_given: object, **_named: object) -> None:
        return None


class SchemaRegistry:
    """The connections of this process to one registry, and the schemas that it has told."""

    def __init__(self, config: RegistryConfig, repeat: Repeat = retry, behind_s: float = BEHIND_S) -> None:
        """OSError, in a sentence, where the file of who signed it cannot be read.

        repeat: does again what the network failed. behind_s: how long an unknown id is asked for again.
        """
        self.config = config
        self._repeat, self._behind_s = repeat, behind_s
        self._schemas: dict[tuple[int, bool], Schema] = {}
        self._unknown: dict[int, float] = {}  # id -> when it was asked for, by our clock
        self._waited_s = -BEHIND_AGAIN_S  # when an unknown id was last waited for
        try:
            context = ssl.create_default_context(cafile=config.ca and str(expanded_path(config.ca)))
        except OSError as error:  # of its own class it would say that messages are gone
            raise OSError(f"registry.ca={config.ca} cannot be read ({error}); write a PEM file there") from None
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Stays)

    def check(self) -> None:
        """Ask whether a registry answers us. OSError, in a sentence, if not; it is asked once."""
        try:
            self._ask("/schemas/types")
        except _AbsentError:
            raise OSError(self._no_registry("it answers HTTP 404")) from None

    def schema(self, schema_id: int, *, compiled: bool) -> Schema:
        """Ask for a schema; compiled: as Protobuf's own descriptors, where the registry can.

        UnreadableError (unknown_schema) where it has none; OSError where it does not answer.
        """
        key = (schema_id, compiled)
        if key not in self._schemas:
            if self._unknown.get(schema_id, -BEHIND_AGAIN_S) > time.monotonic() - BEHIND_AGAIN_S:
                raise self._unknown_error(schema_id)
            self._schemas[key] = self._asked_until_there(schema_id, compiled)
        return self._schemas[key]

    def _asked_until_there(self, schema_id: int, compiled: bool) -> Schema:
        began = time.monotonic()
        waits = began - self._waited_s >= BEHIND_AGAIN_S
        while True:
            try:
                return self._repeat(lambda: self._schema(f"/schemas/ids/{schema_id}", compiled))
            except _AbsentError:
                if not waits or time.monotonic() - began > self._behind_s:
                    break
                self._waited_s = time.monotonic()
                time.sleep(0.5)
        if len(self._unknown) >= MOST_UNKNOWN:
            self._unknown.clear()
        self._unknown[schema_id] = time.monotonic()
        raise self._unknown_error(schema_id)

    def _unknown_error(self, schema_id: int) -> UnreadableError:
        return UnreadableError(f"{self.config.url} knows no schema {schema_id}", "unknown_schema")

    def _schema(self, path: str, compiled: bool) -> Schema:
        answer = self._asked(path, compiled)
        references: dict[str, str] = {}
        self._refer(answer, compiled, references, frozenset())
        return Schema(answer.schema_type, answer.schema, references)

    def _refer(self, answer: _Answer, compiled: bool, into: dict[str, str], above: frozenset[str]) -> None:
        """Gather what a schema refers to, and what that refers to."""
        for name, subject, version in ((each.name, each.subject, each.version) for each in answer.references):
            if name in into:
                continue
            if name in above or len(into) >= MOST_REFERENCES:
                raise UnreadableError(f"its schema refers to {name!r} in a circle, or to too many", "unknown_schema")
            try:
                other = self._asked(f"/subjects/{quote(subject, safe='')}/versions/{version}", compiled)
            except _AbsentError:
                why = f"its schema refers to {name!r}, which is not there any more"
                raise UnreadableError(why, "unknown_schema") from None
            self._refer(other, compiled, into, above | {name})
            into[name] = other.schema

    def _asked(self, path: str, compiled: bool) -> _Answer:
        body = None
        if compiled:
            try:
                body = self._ask(f"{path}?format=serialized")
            except UnreadableError:  # it does not know that format, and gives the text
                body = None
        try:
            return msgspec.json.decode(self._ask(path) if body is None else body, type=_Answer)
        except (ValueError, RecursionError):
            raise OSError(self._no_registry("its answer holds no schema")) from None

    def _ask(self, path: str) -> bytes:
        """Get what lies at a path of the API.

        _AbsentError where it says that there is none, UnreadableError where it does not understand what is asked.
        """
        request = urllib.request.Request(self.config.url + path, headers={"Accept": "application/json"})
        if self.config.username is not None:
            login = f"{self.config.username}:{self.config.password()}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
        try:
            with self._opener.open(request, timeout=ANSWER_S) as answer:
                return self._whole(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error.code, error) from None
        except ssl.SSLCertVerificationError as error:
            raise OSError(self._untrusted(error)) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise OSError(self._untrusted(error.reason)) from None
            raise self._silence(str(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:  # cut off while it answered
            raise self._silence(f"{type(error).__name__} {error}".strip()) from None

    def _whole(self, answer: IO[bytes]) -> bytes:
        body = answer.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise UnreadableError(f"{self.config.url} answers with over {MOST_BYTES >> 20} MiB", "unknown_schema")
        return body

    def _refusal(self, code: int, body: IO[bytes]) -> Exception:
        if code in (401, 403):
            mend = f"check registry.username and its password ({self.config.login_env})"
            return OSError(f"the schema registry at {self.config.url} refuses us (HTTP {code}); {mend}")
        if code in (408, 425, 429) or (code >= 500 and code != 501):
            return self._silence(f"HTTP {code}")
        try:
            number = msgspec.json.decode(body.read(MOST_BYTES), type=_Refusal).error_code
        except (OSError, ValueError, http.client.HTTPException):
            number = 0
        if code == 404 and number in NOT_THERE:
            return _AbsentError()
        if code == 404 or 300 <= code < 400:
            return OSError(self._no_registry(f"it answers HTTP {code}"))
        return UnreadableError(f"{self.config.url} answers HTTP {code}", "unknown_schema")

    def _silence(self, why: str) -> OSError:
        return OSError(f"{REGISTRY_SILENT} at {self.config.url} ({why}); check registry.url and the network")

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        return (
            f"the certificate of the schema registry at {self.config.url} is not trusted ({error.verify_message}); set "
            "registry.ca to a PEM file of who signed it"
        )

    def _no_registry(self, why: str) -> str:
        return (
            f"{self.config.url} is no schema registry ({why}); give the address below which /schemas/ids lies, for "
            "example https://HOST:8081 or https://HOST/apis/ccompat/v7"
        )


_REGISTRIES: dict[tuple[int, str], SchemaRegistry] = {}


def registry_of(config: RegistryConfig) -> SchemaRegistry:
    """Return this process's connections to the registry of a configuration; a forked process makes its own."""
    key = (os.getpid(), config.model_dump_json())
    if key not in _REGISTRIES:
        _REGISTRIES[key] = SchemaRegistry(config)
    return _REGISTRIES[key]
