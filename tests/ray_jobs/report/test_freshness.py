"""Is the way of documents from their own time to the champion told by source?"""

from ray_jobs.report.freshness import chain_of, chain_section, sentences
from ray_jobs.training.events import CandidateJudged, StepDone

EVENTS = [
    StepDone(step=1, to_lake_s={"wire": (1.0, 2.0)}, to_gradient_s={"wire": (3.0, 4.0), "help": (9.0,)}),
    StepDone(step=2, to_lake_s={"wire": (3.0,)}, to_gradient_s={"wire": (5.0,)}),
    CandidateJudged(step=2, promoted=True, to_champion_s={"wire": (60.0, 80.0)}),
]


def test_values_of_all_steps_and_verdicts_count_together() -> None:
    chain = chain_of(EVENTS)
    assert chain["wire"]["to_lake"]["p50"] == 2.0 and chain["wire"]["to_gradient"]["p50"] == 4.0
    assert chain["wire"]["to_champion"]["p95"] == 79.0
    assert chain["help"] == {"to_gradient": {"p50": 9.0, "p95": 9.0}}
    assert sentences(chain, 8.0) == ["wire: event to lake 2.9 s, to gradient 4.9 s (95 % within)"], "live stages alone"
    assert sentences(chain)[0] == "help: event to gradient 9 s (95 % within)"


def test_the_report_shows_a_line_a_source_and_nothing_where_nothing_was_told() -> None:
    shown = str(chain_section(chain_of(EVENTS)))
    assert "<td>wire</td>" in shown and "70 s, 79 s" in shown and "–" in shown
    assert chain_section({}) is None
