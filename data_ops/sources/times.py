"""What moment does a value mean that only says it is a time?

JSON and CSV know no times, so their numbers and texts are understood liberally, but only within a plausible range: a
number is a date written in digits if it can be one, else seconds to nanoseconds since 1970, whichever unit falls into
the years up to 2100. What fits nothing is not understood, and counted; it never becomes a silent 1970. Columns that
carry their unit (Parquet timestamps) do not come here.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_tz

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_YEAR_US = 253402300799_000000  # the end of year 9999
MIN_YEAR_US = -62135596800_000000  # the start of year 1
LATEST_S = 4_102_444_800  # 2100: a larger number is of a smaller unit
LARGEST = 10**20  # nanoseconds until the year 5138
EARLIEST = 10_000_000  # a smaller number is a day, a year or a counter, and no seconds since 1970
UNITS_US = (1_000_000, 1_000, 1)  # seconds, milliseconds, microseconds; nanoseconds are left
LONGEST_TEXT = 64
DAY_US = 86_400_000_000
#: The last day of year 9999 and the first of year 1: what programs write for never, in seconds as in microseconds.
NEVER_US = (MAX_YEAR_US + 1_000_000 - DAY_US, MIN_YEAR_US)
#: 1980 to 2100 as Windows (100 ns) and browsers (microseconds) count from 1601, and .NET (100 ns) from the year 1: no
#: nanoseconds of the early seventies or of 1990.
WINDOWS, BROWSER = (119_600_064 * 10**9, 157_469_184 * 10**9), (119_600_064 * 10**8, 157_469_184 * 10**8)
TICKS = (624_511_296 * 10**9, 662_380_416 * 10**9)
ELSEWHERE = (WINDOWS, BROWSER, TICKS)

#: A zone by name behind a time of day; the hours of those that RFC 5322 knows, others are UTC.
ZONE = re.compile(r"(?<=[\d ])(Z|[A-Za-z]{2,5})$", re.IGNORECASE)
ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
OFFSET = re.compile(r":\d\d(?:[.,]\d+)?\s*[+-]\d\d:?\d\d$")
REGION = re.compile(r"\[[A-Za-z][\w/+-]*\]$")  # [Europe/Berlin], behind an offset
GREENWICH = re.compile(r"\b(?:GMT|UTC)(?=[+-]\d)")  # what a browser writes before its offset
TH = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b", re.IGNORECASE)
HALF_DAY = re.compile(r"\b(\d{1,2})(:\d\d(?::\d\d(?:\.\d+)?)?|\.\d\d\.\d\d)\s*([AaPp])\.?[Mm]\.?(?![A-Za-z])")
NAMED_MONTH = re.compile(r"(\d{1,4})-([A-Za-z]{3,9})-(\d{1,4})([T ].*)?")
MONTH_ALONE = re.compile(r"([A-Za-z]{3,9})\.? (\d{4})")
LEAP = re.compile(r"(\d\d:\d\d):60(?!\d)")
MIDNIGHT = re.compile(r"(\d[T ])24:00(?!\d)")
STAMP = re.compile(r"@(\d{1,20}(?:\.\d+)?)|/Date\((-?\d{1,20})(?:[+-]\d{4})?\)/")
DATE = re.compile(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2})(?:[T ,]\s*(\d\S*(?:\s*[+-]\d\d:?\d\d)?))?)?", re.IGNORECASE)
ACCESS_LOG = re.compile(r"(\d{1,2})/([A-Za-z]{3})/(\d{4}):(\d\d:\d\d:\d\d)\s*([+-]\d{4})?")
MONTH = re.compile(r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b", re.IGNORECASE)


def time_us(value: object) -> int | None:
    """Read a time as microseconds since 1970 UTC; None if it is missing or not understood.

    ISO 8601 (without a zone: UTC), dates as feeds and logs write them, dates in digits, or a number since 1970.

    >>> time_us("1970-01-01T00:00:01Z"), time_us(1_700_000_000_123), time_us("soon"), time_us(19359)
    (1000000, 1700000000123000, None, None)
    >>> time_us("Mon, 02 Jan 2023 10:00:00 GMT") == time_us("2023/01/02 10:00 UTC") == time_us(1672653600)
    True
    >>> time_us(2023) == time_us("2023-01") == time_us(20230101)
    True
    """
    if isinstance(value, str):
        text = value.strip()
        return _text_us(text) if 0 < len(text) <= LONGEST_TEXT else None
    if isinstance(value, datetime):
        return _moment_us(value)
    return _number_us(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None


def moment_of(micros: int) -> datetime | str:
    """Read microseconds since 1970 as a time; beyond the years 1 to 9999 as a text that is none.

    >>> moment_of(1_000_000).isoformat(), moment_of(10**18)
    ('1970-01-01T00:00:01+00:00', '1000000000000000000 microseconds since 1970')
    """
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros} microseconds since 1970"


def _moment_us(moment: datetime) -> int:
    """Microseconds since 1970, within the years 1 to 9999 also where the zone of the first or last day leads out."""
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
    micros = since.days * DAY_US + since.seconds * 1_000_000 + since.microseconds
    return min(max(micros, MIN_YEAR_US), MAX_YEAR_US)


def _text_us(text: str) -> int | None:
    if text.isdecimal():  # before ISO 8601, which would read some of them with a digit as the separator
        return _number_us(int(text))
    try:
        return _moment_us(datetime.fromisoformat(text))
    except ValueError:
        pass
    try:
        return _number_us(Decimal(text))
    except ArithmeticError:
        pass
    if match := STAMP.fullmatch(text):
        return _number_us(Decimal(match[1] or match[2]))
    text, days = _plain(text)
    micros = _spelled_us(text)
    return None if micros is None else min(micros + days * DAY_US, MAX_YEAR_US)


def _plain(text: str) -> tuple[str, int]:
    """Take away what people and programs put around a date: brackets, 2nd, PM, a zone behind its offset, 24:00, :60.

    Returns the date as `_spelled_us` reads it, and by how many days it is later.
    """
    text = GREENWICH.sub("", TH.sub(r"\1", REGION.sub("", text).strip("[]")))
    if match := HALF_DAY.search(text):
        hour = int(match[1]) % 12 + (12 if match[3] in "Pp" else 0) if int(match[1]) <= 12 else int(match[1])
        clock = match[2] if match[2][0] == ":" else match[2].replace(".", ":")
        text = f"{text[: match.start()]}{hour:02}{clock}{text[match.end() :]}"
    if match := NAMED_MONTH.fullmatch(text):
        day, month, year, clock = match.groups()
        day, year = (year, day) if len(day) == 4 else (day, year)
        text = f"{day} {month} {year}{clock or ''}"
    elif match := MONTH_ALONE.fullmatch(text):
        text = f"1 {match[1]} {match[2]}"
    text = LEAP.sub(r"\g<1>:59", text)
    late, days = MIDNIGHT.subn(r"\g<1>00:00", text)
    return late, days


def _spelled_us(text: str) -> int | None:
    """Read a date that is not ISO 8601 to the letter: 2023/1/2 9:05 UTC, 2023-01, RFC 2822, asctime, access logs."""
    zoned, zone = _zone(text)
    try:
        if match := DATE.fullmatch(zoned):
            year, month, day, clock = match.groups()
            clock = re.sub(r"\s+", "", clock or "00:00")
            clock = clock if clock[1:2] != ":" else f"0{clock}"
            return _moment_us(datetime.fromisoformat(f"{year}-{month:0>2}-{day or '1':0>2}T{clock}{zone}"))
        if match := ACCESS_LOG.fullmatch(zoned):
            text = "{} {} {} {} {}".format(*(part or "+0000" for part in match.groups()))
        if not MONTH.search(text):
            return None
        parts = parsedate_tz(text if ":" in text else f"{text} 00:00:00")
        if parts is not None and (year := re.search(r"(?<![\d:+-])00\d\d(?![\d:])", text)):
            parts = (int(year[0]), *parts[1:])  # of two digits it takes 0001 for one, and so for 2001
        return None if parts is None else _moment_us(datetime(*parts[:6], tzinfo=UTC)) - (parts[9] or 0) * 1_000_000
    except (ValueError, IndexError, TypeError, OverflowError):  # the last three: parsedate_tz on garbage
        return None


def _zone(text: str) -> tuple[str, str]:
    """Part a date from the name of its zone; one that RFC 5322 does not know counts as UTC, as it asks (4.3)."""
    match = ZONE.search(text)
    if match is None:
        return text, ""
    before = text[: match.start()].rstrip()
    return before, "" if OFFSET.search(before) else f"{ZONES.get(match[1].upper(), 0):+03d}:00"


def _number_us(number: float | Decimal) -> int | None:
    try:
        if not -LARGEST < number < LARGEST:  # also what is no number; "1e999999999" would fill the memory as an integer
            return None
    except ArithmeticError:  # Decimal's NaN
        return None
    whole = int(number)
    exact = number == whole
    if not exact and 10**13 <= whole < 10**14 and (date := _date_us(whole)) is not None:
        return date + round((number - whole) * 1_000_000)
    if exact and ((date := _date_us(whole)) is not None or 19_000_000 <= whole < 21_010_000):
        return date  # None for 20230230: no such day, and no second either
    size = abs(whole)
    if size < EARLIEST or any(first <= whole < last for first, last in ELSEWHERE):
        return None
    for unit in UNITS_US:
        if any(day <= whole * unit < day + DAY_US for day in NEVER_US):
            return min(whole * unit, MAX_YEAR_US)
    for unit in UNITS_US:
        if size * unit <= LATEST_S * 1_000_000:
            return whole * unit if exact else round(number * unit)
    micros = whole // 1000
    return micros if abs(micros) <= LATEST_S * 1_000_000 else None


def _date_us(number: int) -> int | None:
    """Read 2023, 202301, 20230102, 202301021000, 20230102100000 and 20230102100000123 as the date they spell."""
    digits, millis = (str(number // 1000), number % 1000) if 10**16 <= number < 10**17 else (str(number), 0)
    if len(digits) not in (4, 6, 8, 12, 14) or not 1900 <= int(digits[:4]) <= 2100:
        return None
    digits += "0101000000"[len(digits) - 4 :]  # 2023 is 2023-01-01 00:00:00
    month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(4, 14, 2))
    try:
        return _moment_us(datetime(int(digits[:4]), month, day, hour, minute, second, millis * 1000, tzinfo=UTC))
    except ValueError:
        return None
