"""What does a part of the report look like around its chart?

A title, a lead, the chart; or, where a chart would say nothing, one line that says so.
"""

from ray_jobs.report.charts.svg import Html, tag


def section(title: str, lead: str | None, *parts: Html | None) -> Html:
    """Return a section with its title and a lead in soft ink."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *parts)


def figure(chart: Html, title: str = "", unit: str = "") -> Html:
    """Return a chart under its title and unit."""
    return tag("figure", tag("h3", f"{title} ", tag("span", unit)) if title else None, chart)


def none(said: str) -> Html:
    """Say in a line why there is no chart."""
    return tag("p", said, class_="none")
