"""How are settings, durations, sizes and shares written by people read?

`Settings` is the frozen pydantic model every configuration block derives from: unknown keys are errors.
`Duration` reads `90`, `10s`, `1.5h`, `30d` as seconds; `Size` reads `512`, `64KiB`, `2GB` as bytes;
`Share` reads `0.25` or `25%` as a fraction.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SECONDS = {
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "y": 31557600.0,
}
BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
NUMBER = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z%]*)\s*")


class Settings(BaseModel):
    """A frozen configuration block; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _number_with_unit(value: object, units: dict[str, float] | dict[str, int], example: str) -> Any:
    if not isinstance(value, str):
        return value
    match = NUMBER.fullmatch(value)
    unit = match[2] if match else ""
    if not match or (unit and unit not in units):
        raise ValueError(f"{value!r} is not understood; write for example {example}")
    return float(match[1].replace("_", "")) * (units[unit] if unit else 1)


def parse_duration(value: object) -> Any:
    """Read a duration as seconds.

    >>> parse_duration("30d"), parse_duration("1.5h"), parse_duration(10)
    (2592000.0, 5400.0, 10)
    """
    return _number_with_unit(value, SECONDS, "10s, 5m, 1.5h or 30d")


def parse_size(value: object) -> Any:
    """Read a size as bytes.

    >>> parse_size("64MiB"), parse_size("2GB")
    (67108864, 2000000000)
    """
    parsed = _number_with_unit(value, BYTES, "512KiB, 64MiB or 2GB")
    return int(parsed) if isinstance(parsed, float) and parsed.is_integer() else parsed


def parse_share(value: object) -> Any:
    """Read a share as a fraction.

    >>> parse_share("25%"), parse_share(0.25)
    (0.25, 0.25)
    """
    return _number_with_unit(value, {"%": 0.01}, "0.25 or 25%")


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float, BeforeValidator(parse_share), Field(ge=0, le=1)]
