"""Are the times of feeds and logs understood, and is a number of the wrong kind never a silent 1970?"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.times import EPOCH, MAX_YEAR_US, MIN_YEAR_US, time_us


def moment(value) -> datetime | None:
    micros = time_us(value)
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


TEN = datetime(2023, 1, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 02 Jan 2023 10:00:00 GMT",
        "Mon, 2 Jan 2023 12:00:00 +0200",
        "02 Jan 2023 10:00:00 -0000",
        "Mon Jan  2 10:00:00 2023",
        "Mon Jan 02 10:00:00 +0000 2023",
        "2023-01-02 10:00:00 UTC",
        "2023-01-02 11:00:00 +0100",
        "2023-01-02T10:00z",
        "2023-01-02 10:00:00,000",
        "2023-01-02T10:00:00.000000000Z",
        "2023/01/02 10:00",
        "2023.1.2 10:00:00",
        "20230102T100000Z",
        "02/Jan/2023:12:00:00 +0200",
        "January 2, 2023 10:00",
        "  2023-01-02 10:00 \n",
        20230102100000,
        "202301021000",
        1672653600,
        1672653600.0,
        "1672653600000",
        Decimal("1672653600000000"),
        1672653600000000000,
        "2023-01-02 10:00:00 +0000 UTC",
        "2023-01-02 05:00:00 EST",
        "2023-01-02T11:00:00+01:00[Europe/Berlin]",
        "[02/Jan/2023:10:00:00 +0000]",
        "@1672653600",
        "/Date(1672653600000)/",
        "2023-01-02 10:00:00 AM",
        "02-Jan-2023 10:00:00",
        "02-JAN-23 10.00.00 AM",
        "2nd January 2023 10:00",
        "2023-Jan-02 10:00",
        "20230102100000000",
        20230102100000000,
        "20230102100000.0",
        "Mon Jan 02 2023 12:00:00 GMT+0200 (CEST)",
        "2023-01-02 12:00:00 UTC+02:00",
    ],
)
def test_feeds_and_logs_are_understood(value):
    assert moment(value) == TEN


@pytest.mark.parametrize(
    "value", ["2023-01-02", "2023/01/02", "20230102", 20230102, 20230102.0, "2 Jan 2023", "Jan 2, 2023"]
)
def test_a_date_is_its_start(value):
    assert moment(value) == datetime(2023, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [2023, "2023", 202301, "202301", "2023-01", "2023/1", Decimal(2023), "January 2023", "Jan 2023"]
)
def test_a_month_or_a_year_is_its_start(value):
    assert moment(value) == datetime(2023, 1, 1, tzinfo=UTC)


def test_what_programs_write_for_no_date_is_no_date_of_ours():
    first, last = (EPOCH + timedelta(microseconds=micros) for micros in (MIN_YEAR_US, MAX_YEAR_US))
    assert moment("0001-01-01T00:00:00+01:00") == moment("Mon, 01 Jan 0001 00:00:00 GMT") == first
    assert moment("9999-12-31T23:59:59-01:00") == last
    assert moment(638082720000000000) is None, "ticks of .NET since the year 1"


def test_a_half_of_the_day_a_leap_second_and_midnight_at_its_end_count():
    assert moment("January 2, 2023 10:00 PM") == moment("2023-01-02 10:00:00 pm") == TEN + timedelta(hours=12)
    assert moment("2023-01-02 12:30 AM") == TEN - timedelta(hours=9, minutes=30)
    assert moment("2023-01-02T09:59:60Z") == TEN - timedelta(seconds=1)
    assert moment("2023-01-01T24:00:00Z") == moment("2023-01-02")


@pytest.mark.parametrize("unit", [1, 10**3, 10**6])
def test_what_programs_write_for_never_is_no_date_of_the_seventies(unit):
    assert time_us(253402300799 * unit) == MAX_YEAR_US and time_us(-62135596800 * unit) == MIN_YEAR_US


@pytest.mark.parametrize("value", [133171272000000000, 13317127200000000])
def test_ticks_of_windows_and_browsers_are_no_nanoseconds(value):
    assert time_us(value) is None and time_us(str(value)) is None


@pytest.mark.parametrize("year", [1971, 1972, 1999, 2038, 2099])
@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_the_unit_is_the_one_whose_year_is_plausible(year, unit):
    seconds = int((datetime(year, 6, 1, tzinfo=UTC) - EPOCH).total_seconds())
    assert moment(seconds * unit) == moment(str(seconds * unit)) == datetime(year, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [0, 1, -1, 19359, 44927, "44927", 20230230, "20231301", "01/02/2023", "yesterday", "May", "I may come 12 times",
     "2023-02-30", "99:99", {"a": 1}, "1" * 65, 2**63, -(2**70), True, "inf", float("nan"), Decimal("NaN"), "1e400",
     "1e999999999", "-1e999999999", Decimal("1e999999999"), "sNaN", 10**400],
)  # fmt: skip
def test_what_cannot_be_told_is_not_understood(value):
    assert time_us(value) is None


@pytest.mark.slow
@given(st.text() | st.floats() | st.integers() | st.decimals() | st.from_regex(r"\w{3},? \d+ (Jan|May) \d+ \d+:\d+.*"))
def test_nothing_is_fatal_and_all_that_is_understood_is_a_year_of_ours(value):
    micros = time_us(value)
    assert micros is None or MIN_YEAR_US <= micros <= MAX_YEAR_US
