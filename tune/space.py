"""Which settings may a trial have, and how is one point of the space drawn?

A space maps dotted configuration keys to a list of values or to a distribution, written as W&B sweeps write it:
`{distribution: log_uniform_values, min: 1e-4, max: 1e-2}`. Every dimension is a function from [0, 1) to values, so a
point is a hash of (seed, number, key): no generator has a state, and a sweep that is started again draws the same.
"""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import JsonValue

TUNABLE = (
    "engine.batch_tokens",
    "engine.micro_batch_rows",
    "engine.precision",
    "engine.zero_stage",
    "model.",
    "optim.",
    "reservoir.half_life",
    "reservoir.capacity",
    "round.replay_share",
)
FIXED = {"model.row_tokens": "rows are what every trial has in common"}
DISTRIBUTIONS = ("uniform", "log_uniform_values", "int_uniform", "q_uniform", "q_log_uniform_values")
WORDS = {"distribution", "min", "max", "q", "value", "values"}
BATCH, RATE = "engine.batch_tokens", "optim.lr"
ROUNDING = 1e-9  # of a number of steps
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
Value = TypeVar("Value")
Point = dict[str, Any]  # dotted key -> value


@dataclass(frozen=True)
class Dimension:
    """One key and what it may be: a list of values, or numbers between low and high."""

    path: str
    values: tuple[JsonValue, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    step: float | None = None  # values are multiples of it
    is_int: bool = False

    def at(self, share: float) -> JsonValue:
        """Return the value at a share in [0, 1) of the distribution.

        >>> Dimension("optim.lr", low=1e-4, high=1e-2, is_log=True).at(0.5)
        0.001
        >>> Dimension("engine.micro_batch_rows", values=(1, 2, 4)).at(0.4)
        2
        """
        if self.values is not None:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        low, high = (math.log(self.low), math.log(self.high)) if self.is_log else (self.low, self.high)
        if self.is_int and self.step is None:
            return min(int(self.low + share * (self.high - self.low + 1)), int(self.high))
        value = low + share * (high - low)
        return self.near(math.exp(value) if self.is_log else value)

    def share_at(self, value: float) -> float:
        """Return a share at which `at` gives this number of a distribution."""
        if self.is_int and self.step is None:
            return (value - self.low + 0.5) / (self.high - self.low + 1)
        scale = math.log if self.is_log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return min(max(share, 0.0), 1.0 - 2**-53)

    def near(self, value: float) -> float:
        """Return the nearest number that the dimension allows, with six digits: what is shown is what is trained."""
        value = min(max(value, self.low), self.high)
        if self.step is not None:
            least, largest = _multiples(self.low, self.high, self.step)
            value = min(max(round(value / self.step), least), largest) * self.step
        return round(value) if self.is_int else float(f"{value:.6g}")


@dataclass(frozen=True)
class Space:
    """All dimensions, ordered by key."""

    dimensions: tuple[Dimension, ...]

    @property
    def is_finite(self) -> bool:
        """Is every dimension a list?"""
        return all(d.values is not None for d in self.dimensions)

    @property
    def size(self) -> int:
        """Points of a finite space."""
        return math.prod(len(d.values or ()) for d in self.dimensions)

    def grid(self, most: int, seed: int) -> list[Point]:
        """Every point of a finite space, or `most` of them, in an order drawn by hash.

        In the grid's own order neighbours would start together, and ASHA would let whole stretches of it through.
        """
        moved: dict[int, int] = {}  # what a shuffle (Fisher-Yates) of all numbers has put elsewhere: no list of them
        points = []
        for n in range(min(most, self.size)):
            drawn = n + int(share_of(seed, n, "grid") * (self.size - n))
            points.append(self._numbered(moved.get(drawn, drawn)))
            moved[drawn] = moved.get(n, n)
        return points

    def _numbered(self, number: int) -> Point:
        """The point of that number in a finite space, the last dimension counting fastest."""
        point = {}
        for dimension in reversed(self.dimensions):
            values = dimension.values or ()
            number, place = divmod(number, len(values))
            point[dimension.path] = values[place]
        return point

    def draw(self, seed: int, number: int) -> Point:
        """The random point of that number."""
        return {d.path: d.at(share_of(seed, number, d.path)) for d in self.dimensions}

    def random(self, count: int, seed: int) -> list[Point]:
        """So many random points, none twice while the space has others."""
        found: dict[str, Point] = {}
        for number in range(20 * count):
            point = self.draw(seed, number)
            found.setdefault(point_key(point), point)
            if len(found) == count:
                break
        return list(found.values())

    def decode(self, shares: Mapping[str, float]) -> Point:
        """The point at places in the lists and shares of the distributions, as a sampler of numbers proposes them."""
        return {
            d.path: d.values[int(shares[d.path])] if d.values is not None else d.at(shares[d.path])
            for d in self.dimensions
        }

    def encode(self, point: Point) -> dict[str, float]:
        """The places and shares of a point; `decode` gives it back."""
        return {
            d.path: d.values.index(point[d.path]) if d.values is not None else d.share_at(point[d.path])
            for d in self.dimensions
        }

    def corners(self) -> list[Point]:
        """Points that together hold every value of the lists and both ends of the distributions."""
        ends = [list(d.values) if d.values is not None else [d.at(0.0), d.near(d.high)] for d in self.dimensions]
        most = max((len(e) for e in ends), default=0)
        return [{d.path: e[n % len(e)] for d, e in zip(self.dimensions, ends, strict=True)} for n in range(most)]


def read_space(space: Mapping[str, object]) -> Space:
    """Read what stands under sweep.space; ValueError names the key, what stands there and what may."""
    found = dict(_flat("", space))
    return Space(tuple(_dimension(path, found[path]) for path in sorted(found)))


def point_key(point: Point) -> str:
    """Eight hexadecimal digits that name a point: equal values, equal name."""
    return hashlib.sha256(json.dumps(point, sort_keys=True).encode()).hexdigest()[:8]


def share_of(seed: int, number: int, name: str) -> float:
    """A hash as a number in [0, 1)."""
    digest = hashlib.sha256(f"{seed}/{number}/{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def couple(point: Point, base_batch: int, base_lr: float) -> Point:
    """Scale the learning rate of a point with the root of its batch, as Adam wants below the critical batch.

    The rate (the point's, else base_lr) holds at `base_batch` tokens (Malladi et al. 2022, square-root scaling rule).

    >>> couple({"engine.batch_tokens": 4096}, 1024, 1e-3)
    {'engine.batch_tokens': 4096, 'optim.lr': 0.002}
    """
    if BATCH not in point:
        return point
    rate = point.get(RATE, base_lr) * math.sqrt(point[BATCH] / base_batch)
    return {**point, RATE: float(f"{rate:.6g}")}


def nested(point: Point) -> dict[str, object]:
    """A point as nested settings.

    >>> nested({"optim.lr": 1e-3, "optim.schedule.kind": "wsd"})
    {'optim': {'lr': 0.001, 'schedule': {'kind': 'wsd'}}}
    """
    blocks: dict[str, Point] = {}
    for path, value in point.items():
        block, _, rest = path.partition(".")
        blocks.setdefault(block, {})[rest] = value
    return {block: inner[""] if "" in inner else nested(inner) for block, inner in blocks.items()}


def _flat(prefix: str, given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Dotted keys, also where they were written nested, as `sweep.space.optim.lr=[...]` on a command line is."""
    for name, value in given.items():
        if isinstance(value, Mapping) and value and not set(value) & WORDS:
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _dimension(path: str, given: object) -> Dimension:
    _check_path(path)
    if isinstance(given, Mapping) and set(given) == {"values"}:
        given = given["values"]
    if isinstance(given, Mapping) and set(given) == {"value"}:
        given = [given["value"]]
    if isinstance(given, Sequence) and not isinstance(given, str):
        if not given:
            raise ValueError(f"sweep.space.{path} is an empty list; give at least one value")
        given = [_number(value) for value in given]
        texts = [json.dumps(value, sort_keys=True) for value in given]
        if len(set(texts)) < len(texts):
            raise ValueError(f"sweep.space.{path}={given} holds a value twice; give each once")
        return Dimension(path, values=tuple(given))
    if not isinstance(given, Mapping):
        raise ValueError(
            f"sweep.space.{path}={given!r} is neither a list nor a distribution; write [{given!r}] for one value"
        )
    return _distribution(path, given)


def _distribution(path: str, written: Mapping[str, object]) -> Dimension:
    given = {name: _number(value) for name, value in written.items()}
    if unknown := sorted(set(given) - {"distribution", "min", "max", "q"}):
        raise ValueError(f"sweep.space.{path}.{unknown[0]} is unknown; a distribution has distribution, min, max and q")
    low, high = (_bound(path, name, given.get(name)) for name in ("min", "max"))
    whole = isinstance(low, int) and isinstance(high, int)
    kind = _kind(path, given.get("distribution", "int_uniform" if whole else "uniform"))
    if not low < high or not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(f"sweep.space.{path} goes from {low} to {high}; min must be below max")
    if "log" in kind and low <= 0:
        raise ValueError(f"sweep.space.{path}.min={low} has no logarithm; use a min above 0, or distribution=uniform")
    step = given.get("q")
    if kind.startswith("q_") != (step is not None):
        raise ValueError(f"sweep.space.{path}: q goes with q_uniform and q_log_uniform_values, and they need it")
    if step is not None and not (isinstance(step, int | float) and _has_multiple(low, high, step)):
        raise ValueError(f"sweep.space.{path}.q={step!r} has no multiple from {low} to {high}; use a smaller one")
    is_int = kind == "int_uniform" or (whole and isinstance(step, int))
    return Dimension(path, None, low, high, "log" in kind, step, is_int)


def _bound(path: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"sweep.space.{path}.{name}={value!r} is no number; give min and max, or a list")
    return value


def _kind(path: str, kind: object) -> str:
    if isinstance(kind, str) and kind in DISTRIBUTIONS:
        return kind
    alike = [name for name in DISTRIBUTIONS if ("log" in name) == ("log" in str(kind))]
    near = difflib.get_close_matches(str(kind), alike, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(DISTRIBUTIONS)}"
    raise ValueError(f"sweep.space.{path}.distribution={kind!r} is unknown; {hint}")


def _multiples(low: float, high: float, step: float) -> tuple[int, int]:
    """The first and last number of steps between two numbers; 0.3 / 0.1 is a little below 3, and 3 is meant.

    >>> _multiples(0.1, 0.3, 0.1), _multiples(100, 1000, 256)
    ((1, 3), (1, 3))
    """
    return math.ceil(low / step - ROUNDING), math.floor(high / step + ROUNDING)


def _has_multiple(low: float, high: float, step: float) -> bool:
    if step <= 0:
        return False
    least, largest = _multiples(low, high, step)
    return least <= largest


def _number(value: Value) -> Value | float:
    """A text that is a number to people and not to YAML 1.1, as the rest of the configuration reads it.

    >>> _number("1e-3"), _number("wsd")
    (0.001, 'wsd')
    """
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def _check_path(path: str) -> None:
    if path in FIXED:
        raise ValueError(f"sweep.space.{path} cannot differ between trials: {FIXED[path]}; leave it out")
    if any(path == known or (known.endswith(".") and path.startswith(known)) for known in TUNABLE):
        return
    allowed = ", ".join(f"{known}*" if known.endswith(".") else known for known in TUNABLE)
    raise ValueError(f"sweep.space.{path} cannot differ between trials; a space may hold {allowed}")
