"""What does a Protobuf value say? Its fields by their names in the .proto file, as JSON would have them.

A field that says whether it is there and is not is None, as null would be; one that does not (proto3's bare `string`)
is its default. Timestamps are times, wrappers what they wrap, enums their names.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from data_ops.sources.kafka.registered.descriptors import message_class
from data_ops.sources.kafka.registered.wire import UnreadableError
from data_ops.sources.times import moment_of

WRAPPED = ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"]
WRAPPERS = {f"google.protobuf.{name}Value" for name in WRAPPED}
FREE = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}  # JSON within Protobuf


def protobuf_decoder(
    text: str, references: Mapping[str, str], indexes: tuple[int, ...], fields: Collection[str] | None
) -> Callable[[bytes, int], object]:
    """Make the function that reads a value from a place on; it raises UnreadableError where it cannot.

    indexes: which message of the schema; fields: of it, which are read; None: all.
    """
    message = message_class(text, references, indexes, fields)

    def decode(value: bytes, begin: int) -> Any:
        try:
            return _fields_of(message.FromString(value[begin:]))
        except DecodeError as error:
            said = str(error)
            if "UTF-8" in said:
                raise UnreadableError("a text of it is no UTF-8", "bad_utf8") from None
            if "Depth" in said:
                raise UnreadableError("its messages lie too deeply within each other", "too_deep") from None
            raise UnreadableError(said.rpartition(": ")[2][:100], "bad_protobuf") from None

    return decode


def _fields_of(message: Any) -> dict[str, Any]:
    return {field.name: _value_of(message, field) for field in message.DESCRIPTOR.fields}


def _value_of(message: Any, field: Any) -> Any:
    if field.is_repeated:
        several = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            return {str(key): _plain(several[key], of) for key in several}
        return [_plain(value, field) for value in several]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain(getattr(message, field.name), field)


def _plain(value: Any, field: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named is not None else value
    if field.message_type is None:
        return value
    kind = field.message_type.full_name
    if kind == "google.protobuf.Timestamp":
        return moment_of(value.seconds * 1_000_000 + value.nanos // 1000)
    if kind in WRAPPERS:
        return value.value
    return _free(value) if kind in FREE else _fields_of(value)


def _free(value: Any) -> Any:
    try:
        return MessageToDict(value)
    except ValueError:  # NaN, which no JSON has
        return None
