"""Are months drawn in order with their gaps, and years where months would be too many?"""

from ray_jobs.explorer.figures import MonthFigures
from ray_jobs.explorer.times import bar_name, time_bars


def month(name: str | None, number: int = 1, source: str = "web") -> MonthFigures:
    return MonthFigures(source, name, {"trained": number})


def test_months_stand_in_order_with_those_that_have_nothing_and_sources_are_added_up() -> None:
    bars = time_bars([month("2024-02"), month("2023-11"), month("2024-02", 4, "news"), month(None)])
    assert bars == [
        ("2023-11", {"trained": 1}),
        ("2023-12", {}),
        ("2024-01", {}),
        ("2024-02", {"trained": 5}),
    ]
    assert [bar_name(bars, place) for place in range(4)] == ["", "", "2024", ""]


def test_more_than_six_years_are_drawn_as_years() -> None:
    bars = time_bars([month("2018-01"), month("2018-03"), month("2024-01")])
    assert bars[0] == ("2018", {"trained": 2}) and bars[1] == ("2019", {}) and len(bars) == 7


def test_a_record_of_the_year_9999_does_not_make_ten_thousand_bars() -> None:
    assert [name for name, _ in time_bars([month("2024-01"), month("9999-12"), month("0001-01")])] == [
        "0001",
        "2024",
        "9999",
    ]


def test_without_times_there_are_no_bars() -> None:
    assert time_bars([month(None)]) == [] == time_bars([])
