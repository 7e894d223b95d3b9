"""How is a small file of JSON state written and read, so that a damaged one is never taken for true?

`write_json` and `publish_json` seal it (seal.py); `read_json` compares the digest, checks that the content is of the
type that is asked for, and names the file and the mend where it is not. A file that is absent is no damage.
"""

import json
from dataclasses import is_dataclass
from typing import Any, TypeVar

import msgspec

from cluster.storage.seal import DamagedError, seal, unseal
from cluster.storage.store import Store

State = TypeVar("State")
RESTORE = "restore it from a copy"
SEALED_FORMAT = 2


def read_json(store: Store, path: str, kind: type[State], mend: str = RESTORE) -> State:
    """Read a file of JSON state as a `kind`: a dataclass, a msgspec Struct, a TypedDict, or dict[str, Any].

    Keys that the type does not have are passed over. Raises FileNotFoundError if there is no such file, and
    DamagedError, whose message ends with `mend`, if it is not what was written.
    """
    data = store.read(path)
    place = f"{store.uri}/{path}"
    try:
        text = unseal(data.decode(), place)
        if text == data.decode() and msgspec.json.decode(text, type=_Versioned).is_always_sealed:
            raise DamagedError(f"{place} is damaged: it has no digest, which every file of its format has")
        return msgspec.json.decode(text, type=kind)
    except DamagedError as error:
        raise DamagedError(f"{error}; {mend}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedError(f"{place} is damaged: {error}; {mend}") from error


class _Versioned(msgspec.Struct):
    """What tells the version of a file; files without it, or of another shape, are those of any version."""

    format: object = None

    @property
    def is_always_sealed(self) -> bool:
        """Every file of format 2 carries a digest; those of a later version may do otherwise."""
        return self.format == SEALED_FORMAT


def write_json(store: Store, path: str, value: object) -> None:
    """Replace a file of JSON state: an object with string keys, sealed."""
    store.write(path, _text(value))


def publish_json(store: Store, path: str, value: object) -> bool:
    """Create a file of JSON state once, sealed; False if it exists already."""
    return store.publish(path, _text(value))


def _text(value: object) -> bytes:
    plain: Any = msgspec.to_builtins(value) if is_dataclass(value) or isinstance(value, msgspec.Struct) else value
    return seal(json.dumps(plain, indent=1)).encode()
