"""Is a run started when enough waits or the time has come, and with which pauses behind failures?"""

import pytest

from ray_jobs.config.blocks import TriggerConfig
from ray_jobs.trigger.decision import UNSEEN, End, FreshText, Past, StartDecision, StartedRun, decide_start

BEGAN = 1000.0


def past(*codes: int, at: float = BEGAN) -> Past:
    """What is known behind starts that ended with these codes, a second apart."""
    found = Past(BEGAN)
    for number, code in enumerate(codes):
        start = StartedRun(number, "every", FreshText(), at + number, -1, "")
        found = Past(BEGAN, start, found.ended(number, code, at + number, 7))
    return found


@pytest.mark.parametrize(
    ("rule", "waiting", "reason"),
    [
        ({"documents": 10}, (9, 10**6), None),
        ({"documents": 10}, (10, 0), "documents"),
        ({"tokens": 1000}, (1, 3999), None),
        ({"tokens": "1k"}, (1, 4000), "tokens"),
        ({"bytes": "1kB"}, (1, 1000), "bytes"),
        ({"every": "10s"}, (1, 1), None),
        ({"tokens": 5, "documents": 5, "bytes": 5, "every": 5}, (0, 0), None),
    ],
)
def test_what_waits_is_compared_with_each_threshold(rule, waiting, reason):
    assert decide_start(TriggerConfig(**rule), past(), FreshText(*waiting), BEGAN).reason == reason


def test_a_deadline_counts_from_the_last_start_or_from_when_somebody_first_waited():
    rule = TriggerConfig(every="1h", look_every="10m")
    assert decide_start(rule, past(), FreshText(1, 1), BEGAN + 3599) == StartDecision(None, 1.0)
    assert decide_start(rule, past(), FreshText(1, 1), BEGAN + 100) == StartDecision(None, 600.0)
    assert decide_start(rule, past(), FreshText(1, 1), BEGAN + 3600).reason == "every"
    assert decide_start(rule, past(0, at=BEGAN + 3000), FreshText(1, 1), BEGAN + 3600) == StartDecision(None, 600.0)
    assert decide_start(rule, past(0, at=BEGAN + 3000), FreshText(1, 1), BEGAN + 6600).reason == "every"
    assert decide_start(rule, past(), FreshText(0, 0), BEGAN + 9999) == StartDecision(None, 600.0), "nothing waits"


def test_a_run_that_failed_is_tried_again_behind_pauses_that_double_to_an_hour():
    rule = TriggerConfig(documents=10**6)
    for codes, pause in (((1,), 30), ((1, 75), 60), ((2,) * 4, 240), ((1,) * 30, 3600), ((1, 1, 143, 1), 120)):
        at = BEGAN + len(codes) - 1
        assert decide_start(rule, past(*codes), FreshText(1, 1), at + pause - 1) == StartDecision(None, 1.0), codes
        assert decide_start(rule, past(*codes), FreshText(1, 1), at + pause).reason == "again"
    assert decide_start(rule, past(1, 1, 0), FreshText(1, 1), BEGAN + 2) == StartDecision(None, 30.0), (
        "it has recovered"
    )


@pytest.mark.parametrize("code", [143, UNSEEN])
def test_a_run_that_was_cut_short_goes_on_at_once_if_anything_waits(code):
    assert decide_start(TriggerConfig(documents=9), past(0, code), FreshText(1, 1), BEGAN + 1).reason == "again"
    assert decide_start(TriggerConfig(documents=9), past(0, code), FreshText(0, 0), BEGAN + 1).reason is None


def test_only_a_start_that_was_done_moves_what_is_trained():
    assert [past(*codes).trained_window for codes in ((), (1,), (0,), (0, 1), (0, 143))] == [-1, -1, 7, 7, 7]
    found = past(0)
    assert found.ended(1, 0, BEGAN, 9) == End(1, 0, BEGAN, 9, 0)
    assert found.open is None and found._replace(end=None).open == found.start
