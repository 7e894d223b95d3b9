"""Which lengths of time are text counted and judged by, and how is one named?"""

from collections.abc import Mapping
from typing import Literal

Period = Literal["day", "week", "month", "year"]
PERIODS: Mapping[Period, str] = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
