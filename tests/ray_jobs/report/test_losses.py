"""Does the table of what each rule takes out say what the lake says, and nothing where nothing was taken out?"""

import re
from pathlib import Path

import pytest

from data_ops.curation.config import CurateConfig
from data_ops.survey.corpus import blocks_of
from ray_jobs.report.losses import StageFigures, losses, plainly, reason_order, stage_figures
from tests.support.explored.sites import Row, site_lake

pytestmark = pytest.mark.slow


def told(folder: Path, windows: list[list[Row]]) -> list[StageFigures]:
    blocks, num_blocks = blocks_of(site_lake(folder, windows))
    return stage_figures(blocks, blocks, num_blocks, reason_order(CurateConfig()))


def bad(reason: str, text: str = "bad") -> Row:
    return {"fate": "dropped", "reason": reason, "text": text}


def test_stages_follow_each_other_with_records_bytes_and_share_over_time(tmp_path: Path) -> None:
    windows: list[list[Row]] = [[{"text": "abcd"}, bad("duplicate", "x"), bad("too_short", "12345")] for _ in range(5)]
    windows += [[{"text": "abcd"}, bad("too_short", "12345"), bad("too_short", "12345")] for _ in range(3)]
    short, same = told(tmp_path, windows)
    assert (short.reason, short.fate, short.records_in, short.records) == ("too_short", "dropped", 24, 11)
    assert (short.bytes_in, short.num_bytes) == (8 * 4 + 5 + 11 * 5, 11 * 5)
    assert (same.reason, same.records_in, same.bytes_in, same.records) == ("duplicate", 13, 8 * 4 + 5, 5)
    assert short.shares == [pytest.approx(1 / 3, abs=1e-6)] * 5 + [pytest.approx(2 / 3, abs=1e-6)] * 3
    assert short.change is not None and short.change.latest == pytest.approx(2 / 3, abs=1e-6)
    page = losses([short, same], plainly)
    assert page is not None
    assert "24 records, 8 of them kept, held out or forgotten" in page and "+33.3 points" in page
    assert re.findall(r"<tbody><tr><td>([^<]*)<", page) == ["too short"]


def test_without_losses_there_is_no_section(tmp_path: Path) -> None:
    assert told(tmp_path, [[{}]]) == [] and losses([], plainly) is None


def test_a_strangers_reason_is_text(tmp_path: Path) -> None:
    stages = told(tmp_path, [[bad("<b>\u202e")]])
    page = losses(stages, plainly)
    assert page is not None and "<b>\\" not in page and "&lt;b&gt;\\u202e" in page
    assert "too few windows" in page


def test_rules_stand_in_the_order_of_the_settings_and_histories_behind_them() -> None:
    order = reason_order(CurateConfig(rules=("c4", "too_short"), histories=("near_duplicate",)))
    assert order[-5:] == ["c4", "too_short", "forgotten", "duplicate", "near_duplicate"]
    assert {"gopher_quality", "near_duplicate"} <= set(reason_order(None))
