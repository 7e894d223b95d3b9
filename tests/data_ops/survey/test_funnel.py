"""Does each stage get what those before it left?"""

import pyarrow as pa

from data_ops.survey.funnel import FunnelStage, funnels

ROWS = [
    ("web", "pending", None, 50, 5000),
    ("web", "dropped", "duplicate", 10, 900),
    ("web", "dropped", "too_short", 20, 100),
    ("web", "quarantined", "wrong_type", 5, 0),
    ("web", "dropped", "of_a_rule_that_is_gone", 1, 7),
    ("news", "trained", None, 3, 30),
]
NAMES = ("source", "outcome", "reason", "records", "num_bytes")
MONTHS = pa.table({name: list(column) for name, column in zip(NAMES, zip(*ROWS, strict=True), strict=True)})


def test_each_stage_gets_what_those_before_it_left_in_the_order_of_the_rules() -> None:
    news, web = funnels(MONTHS, ["too_short", "duplicate"])
    assert (news.source, news.records, news.stages) == ("news", 3, [])
    assert (web.records, web.num_bytes) == (86, 6007)
    assert web.stages == [
        FunnelStage("wrong_type", "quarantined", 86, 6007, 5, 0),
        FunnelStage("of_a_rule_that_is_gone", "dropped", 81, 6007, 1, 7),
        FunnelStage("too_short", "dropped", 80, 6000, 20, 100),
        FunnelStage("duplicate", "dropped", 60, 5900, 10, 900),
    ]


def test_another_order_has_the_same_losses() -> None:
    web = funnels(MONTHS, ["duplicate", "too_short"])[1]
    assert [stage.reason for stage in web.stages[2:]] == ["duplicate", "too_short"]
    assert sum(stage.records for stage in web.stages) == 36
