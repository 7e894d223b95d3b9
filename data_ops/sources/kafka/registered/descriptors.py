"""How does a Protobuf schema of a registry become descriptors that messages are read by?

The registry is asked for them compiled; where it gives a text, protoc compiles that, in a process of its own which may
take seconds and no more: its parser is made for files of friends. Of the message only the fields that are asked for
stay; what else a value holds is then kept as the bytes that it is.
"""

import base64
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath

import grpc_tools
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from data_ops.sources.kafka.registered.wire import UnreadableError

COMPILE_S = 20.0
MAIN = "headrace_schema.proto"  # the name of a schema that has none
WELL_KNOWN = "google/protobuf/"
KNOWN = (
    "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type",
    "wrappers",
)  # fmt: skip


def message_class(
    text: str, references: Mapping[str, str], indexes: tuple[int, ...], fields: Collection[str] | None
) -> type[Message]:
    """Make the class of a schema's message; indexes: its place in the file; fields: of it, which are read; None: all.

    UnreadableError (unknown_schema) where there is none.
    """
    try:
        files = _compiled({MAIN: text, **references})
        path, wanted = _found(files[MAIN], indexes)
        if fields is not None:
            _prune(wanted, fields)
        pool = DescriptorPool()
        _add(pool, files, MAIN, [])
        return GetMessageClass(pool.FindMessageTypeByName(path))
    except UnreadableError:
        raise
    except (DecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:120]
        raise UnreadableError(f"its schema is not understood ({said})", "unknown_schema") from None


def _compiled(texts: Mapping[str, str]) -> dict[str, FileDescriptorProto]:
    """Read schemas as descriptors, by name; compile them where one is a text."""
    files: dict[str, FileDescriptorProto] = {}
    for name, text in texts.items():
        try:
            files[name] = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
        except ValueError:  # a text has characters that base64 has not
            return _compile(texts)
        files[name].name = name
    return files


def _compile(texts: Mapping[str, str]) -> dict[str, FileDescriptorProto]:
    with tempfile.TemporaryDirectory(prefix="headrace-protoc-") as folder:
        for name, text in texts.items():
            parts = PurePosixPath(name)
            if parts.is_absolute() or ".." in parts.parts or "\\" in name or not name.endswith(".proto"):
                raise UnreadableError(f"its schema refers to {name!r}, which is no name of a file", "unknown_schema")
            path = Path(folder, "in", parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        out = Path(folder, "out")
        included = str(Path(str(grpc_tools.__file__)).parent / "_proto")
        asked = [sys.executable, "-m", "grpc_tools.protoc", "-I", f"{folder}/in", "-I", included]
        asked += ["--include_imports", f"--descriptor_set_out={out}", MAIN]
        try:
            done = subprocess.run(asked, capture_output=True, timeout=COMPILE_S, cwd=folder, check=False)
        except subprocess.TimeoutExpired:
            raise UnreadableError(f"its schema takes over {COMPILE_S:.0f} s to compile", "unknown_schema") from None
        if done.returncode or not out.exists():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = said[-1][:160] if said else f"protoc ends with {done.returncode}"
            raise UnreadableError(f"its schema is not understood ({why})", "unknown_schema")
        return {file.name: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}


def _found(file: FileDescriptorProto, indexes: tuple[int, ...]) -> tuple[str, DescriptorProto]:
    """Find the message at a place of a file, with its full name."""
    names, messages, message = [file.package] if file.package else [], file.message_type, None
    for index in indexes:
        if index >= len(messages):
            raise UnreadableError(f"its schema has no message {list(indexes)}", "unknown_schema")
        message = messages[index]
        names.append(message.name)
        messages = message.nested_type
    if message is None:
        raise UnreadableError("its schema has no message", "unknown_schema")
    return ".".join(names), message


def _prune(message: DescriptorProto, fields: Collection[str]) -> None:
    """Leave of a message only these fields, and of its oneofs those that they are in.

    A message within itself is pruned with it: a path that goes through it again finds the same fields.
    """
    kept = [field for field in message.field if field.name in fields]
    used = sorted({field.oneof_index for field in kept if field.HasField("oneof_index")})
    oneofs = [message.oneof_decl[index] for index in used]
    for field in kept:
        if field.HasField("oneof_index"):
            field.oneof_index = used.index(field.oneof_index)
    kept, oneofs = ([type(each).FromString(each.SerializeToString()) for each in group] for group in (kept, oneofs))
    del message.field[:], message.oneof_decl[:]
    message.field.extend(kept)
    message.oneof_decl.extend(oneofs)


def _add(pool: DescriptorPool, files: Mapping[str, FileDescriptorProto], name: str, above: list[str]) -> None:
    """Add a file to a pool, behind those that it imports."""
    if name in above:
        raise UnreadableError(f"its schema imports {name} in a circle", "unknown_schema")
    if name not in files:
        known = name.removeprefix(WELL_KNOWN).removesuffix(".proto")
        if not name.startswith(WELL_KNOWN) or known not in KNOWN:
            raise UnreadableError(f"its schema imports {name}, which the registry does not give", "unknown_schema")
        module = import_module(f"google.protobuf.{known}_pb2")
        for dependency in module.DESCRIPTOR.dependencies:
            _add(pool, files, dependency.name, [*above, name])
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        return
    for dependency in files[name].dependency:
        _add(pool, files, dependency, [*above, name])
    pool.AddSerializedFile(files[name].SerializeToString())
