"""How do tasks stand in a report: what was compared in this judgement, and champion after champion?"""

from collections.abc import Mapping, Sequence

from cluster.readable import signed, whole
from ray_jobs.evaluation.decision import DecisionRow, SliceRow
from ray_jobs.evaluation.harness.result import Figure, Showing
from ray_jobs.report.charts.section import section
from ray_jobs.report.charts.svg import Html, tag

SHOWN = 8  # checkpoints beside each other, the newest


def task_section(decision: DecisionRow | None, showings: Sequence[Showing]) -> Html | None:
    """Show both; nothing where no task was asked."""
    compared = {task: rows[0] for task, rows in ((decision or {}).get("tasks") or {}).items() if rows}
    if not compared and not showings:
        return None
    lead = (
        "Questions of the tasks in evaluate.tasks, the same for every checkpoint. Where a task may lose so much and no "
        "more, a candidate has to show that it has not; intervals of single checkpoints are of 95 %."
    )
    return section("Tasks", lead, _comparison(compared), _over_time(showings[-SHOWN:]))


def _comparison(compared: Mapping[str, SliceRow]) -> Html | None:
    """A row a task: champion, candidate, difference with its bounds, and what is allowed."""
    if not compared:
        return None
    heads = ("task", "questions", "champion", "candidate", "difference", "bounds", "may lose", "")
    rows = [
        tag(
            "tr",
            tag("td", task),
            tag("td", whole(row["documents"])),
            *(tag("td", _number(value)) for value in (row["before"], row["after"])),
            tag("td", f"{signed(row['difference'], 4)} {row.get('unit', '')}"),
            tag("td", f"[{signed(row['low'], 4)}, {signed(row['high'], 4)}]"),
            tag("td", "not asked" if row["role"] == "shown" else _number(row.get("limit"))),
            tag("td", row["verdict"]),
        )
        for task, row in compared.items()
    ]
    return tag("figure", tag("table", tag("tr", *(tag("th", head) for head in heads)), *rows))


def _over_time(showings: Sequence[Showing]) -> Html | None:
    """A row a metric, a column a checkpoint."""
    if not showings:
        return None
    by_checkpoint = [
        {(one.task, metric): figure for one in showing.results for metric, figure in one.figures.items()}
        for showing in showings
    ]
    names = list(dict.fromkeys(name for figures in by_checkpoint for name in figures))
    heads = ["task", "metric", *(_title(showing) for showing in showings)]
    rows = [
        tag("tr", tag("td", task), tag("td", metric), *(tag("td", _cell(f.get((task, metric)))) for f in by_checkpoint))
        for task, metric in names
    ]
    return tag(
        "figure", tag("h3", "Champion after champion"), tag("table", tag("tr", *(tag("th", h) for h in heads)), *rows)
    )


def _title(showing: Showing) -> str:
    return showing.checkpoint if showing.since_s is not None else f"{showing.checkpoint} (candidate)"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    sure = "" if figure.low is None else f" [{_number(figure.low)}, {_number(figure.high)}]"
    return _number(figure.value) + sure


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
