"""How are settings, durations, sizes and shares written by people read?

`Settings` is the frozen pydantic model every configuration block derives from: unknown keys are errors.
`Duration` reads `90`, `10s`, `1.5h`, `30d` as seconds; `Size` reads `512`, `64KiB`, `2GB` as bytes;
`Share` reads `0.25` or `25%` as a fraction.
"""

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

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

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Python counts true as 1: `engine.workers: true` would be one worker."""
        if isinstance(value, bool) and info.field_name:
            wanted = set(_members(cls.model_fields[info.field_name].annotation))
            if wanted & {int, float} and bool not in wanted:
                raise ValueError(f"{str(value).lower()} is no number; write the number")
        return value


def _members(annotation: object) -> Iterator[object]:
    """The types that a union or an annotated type is made of."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType, Annotated) else ()
    if not parts:
        yield annotation
    for part in parts:
        yield from _members(part)


def _number_with_unit(value: object, units: dict[str, float] | dict[str, int], example: str) -> object:
    if not isinstance(value, str):
        return value
    match = NUMBER.fullmatch(value)
    unit = match[2] if match else ""
    if not match or (unit and unit not in units):
        raise ValueError(f"{value!r} is not understood; write for example {example}")
    return float(match[1].replace("_", "")) * (units[unit] if unit else 1)


def parse_duration(value: object) -> object:
    """Read a duration as seconds.

    >>> parse_duration("30d"), parse_duration("1.5h"), parse_duration(10)
    (2592000.0, 5400.0, 10)
    """
    return _number_with_unit(value, SECONDS, "10s, 5m, 1.5h or 30d")


def parse_size(value: object) -> object:
    """Read a size as bytes.

    >>> parse_size("64MiB"), parse_size("2GB")
    (67108864, 2000000000)
    """
    parsed = _number_with_unit(value, BYTES, "512KiB, 64MiB or 2GB")
    return int(parsed) if isinstance(parsed, float) and parsed.is_integer() else parsed


def parse_share(value: object) -> object:
    """Read a share as a fraction.

    >>> parse_share("25%"), parse_share(0.25)
    (0.25, 0.25)
    """
    return _number_with_unit(value, {"%": 0.01}, "0.25 or 25%")


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float, BeforeValidator(parse_share), Field(ge=0, le=1)]
