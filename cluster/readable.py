"""How is a number written for a person?

With its unit, at most four digits, and a dash where nothing was measured: the terminal and the report say
the same.
"""

import math
import re
from typing import TypeGuard

NOTHING = "–"
#: C0, DEL, C1; marks, embeddings and isolates of the writing direction; separators of lines and paragraphs.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value can be drawn: a finite int or float, no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(value: object) -> str:
    """Write a count in full.

    >>> whole(12214), whole(None)
    ('12,214', '–')
    """
    return f"{value:,.0f}" if is_number(value) else NOTHING


def short(value: object) -> str:
    """Write a count in at most four digits.

    >>> short(9876), short(411_900), short(37_500_000), short(1.62e11), short(0.25)
    ('9,876', '412k', '37.5 M', '162 B', '0.25')
    """
    if not is_number(value):
        return NOTHING
    for limit, factor, unit in ((1e12, 1e12, " T"), (1e9, 1e9, " B"), (999_500, 1e6, " M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            scaled = f"{value / factor:.1f}"
            return (
                f"{value / factor:.0f}{unit}" if abs(value) >= 100 * factor or scaled.endswith(".0") else scaled + unit
            )
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def many(value: object, name: str) -> str:
    """Write a count with its noun.

    >>> many(1, "worker"), many(8, "worker")
    ('1 worker', '8 workers')
    """
    return f"{whole(value)} {noun(value, name)}"


def noun(value: object, name: str) -> str:
    """Write a noun as its count asks.

    >>> noun(1, "worker"), noun(8, "worker")
    ('worker', 'workers')
    """
    return name if value == 1 else f"{name}s"


def size(value: object) -> str:
    """Write bytes in powers of ten.

    >>> size(2_100_000_000), size(512)
    ('2.1 GB', '512 B')
    """
    if not is_number(value):
        return NOTHING
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{value / limit:.1f} {unit}"
    return f"{value:.0f} B"


def seconds(value: object) -> str:
    """Write a duration.

    >>> seconds(0.0021), seconds(1.84), seconds(130), seconds(5400), seconds(30 * 86400), seconds(2129 * 86400)
    ('2 ms', '1.8 s', '2.2 min', '1.5 h', '30 d', '5.8 years')
    """
    if not is_number(value):
        return NOTHING
    if abs(value) < 0.0995:
        return f"{value * 1e3:.0f} ms"
    for limit, factor, unit in (
        (120, 1, "s"),
        (5400, 60, "min"),
        (86_400, 3600, "h"),
        (400 * 86_400, 86_400, "d"),
        (math.inf, 365.25 * 86_400, "years"),
    ):
        if abs(value) < limit:
            scaled = value / factor
            return f"{scaled:.0f} {unit}" if abs(scaled) >= 9.95 or scaled == int(scaled) else f"{scaled:.1f} {unit}"
    return NOTHING


def share(value: object) -> str:
    """Write a fraction in percent.

    >>> share(0.25), share(0.0021), share(0.9999)
    ('25 %', '0.2 %', '100 %')
    """
    if not is_number(value):
        return NOTHING
    percent = value * 100
    return f"{percent:.0f} %" if abs(percent) >= 9.95 or percent == int(percent) else f"{percent:.1f} %"


def signed(value: object, digits: int = 3) -> str:
    """Write a difference with its sign, a real minus.

    >>> signed(-0.0412), signed(0.0004, 4), signed(-0.00001)
    ('−0.041', '+0.0004', '0.000')
    """
    if not is_number(value):
        return NOTHING
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def rate(value: object) -> str:
    """Write a learning rate.

    >>> rate(3e-4), rate(0.012)
    ('3.0e-4', '1.2e-2')
    """
    if not is_number(value):
        return NOTHING
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def visible(value: object) -> str:
    """Write text of a stranger so that it can neither steer a terminal nor turn a line around.

    >>> print(visible("a" + chr(27) + "[2J"))
    a\\x1b[2J
    """
    plain = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return CONTROL.sub(
        lambda found: f"\\x{ord(found[0]):02x}" if found[0] < "\u0100" else f"\\u{ord(found[0]):04x}", plain
    )
