"""Is every figure of the registry and of the cards found again by `verify`, by `trace`, or by a simple count?"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.readable import whole
from cluster.storage.store import Store
from data_ops.audit.lookup import rows_of_ids
from data_ops.lake.lake import Lake
from ray_jobs.__main__ import app
from ray_jobs.cards.model_card import energy_words
from ray_jobs.commands.tracing import stories
from ray_jobs.commands.verify import verify
from ray_jobs.config.blocks import CardConfig
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from tests.support.registry.carded import carded_store

pytestmark = pytest.mark.slow

EVIL = "a | b ![x](http://y) <img src=x onerror=alert(1)> `c` \x1b[2J\n---\nlicense: mit\n"


@pytest.fixture(scope="module")
def config() -> Config:
    return carded_store()


def asked(config: Config, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["registry", *words, f"store={config.store}", "--json"])
    assert done.exit_code == 0, done.exception
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def card(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The files of both cards, and the same figures as values."""
    out = tmp_path_factory.mktemp("card")
    stated = {
        "card": {"license": EVIL, "watts": 300, "co2_g_per_kwh": 400},
        "sources": {"wire": {"path": "x.jsonl", "license": "cc-by-4.0"}},
    }
    (out / "stated.yaml").write_text(yaml.safe_dump(stated))
    return out, asked(config, "card", "--out", str(out), "-c", str(out / "stated.yaml"))


def test_every_champion_is_listed_with_its_tokens_and_slices(config: Config) -> None:
    rows = asked(config, "list")["champions"]
    assert [(row["number"], row["checkpoint"], row["how"], row["in_service"], row["tokens"]) for row in rows] == [
        (1, "small/00000006", "promoted", False, 256 * 6),
        (2, "small/00000003", "by hand", False, 256 * 3),
        (3, "small/00000006", "rollback", True, 256 * 6),
    ]
    assert rows[0]["reason"] == "it is better" and rows[0]["until"] == rows[1]["since"]
    assert rows[0]["slices"] == rows[2]["slices"] and rows[0]["slices"][0]["after"] == 7.5 and not rows[1]["slices"]


def test_one_is_shown_and_two_are_compared(config: Config) -> None:
    shown = asked(config, "show", "2")
    assert (shown["checkpoint"], shown["kept"], shown["rounds"]) == ("small/00000003", True, 1)
    assert (shown["forgotten_epoch"], shown["forgotten_ids"], shown["forgotten_ids_since"]) == (1, 1, 0)
    told = asked(config, "diff", "small/3", "1")
    changed = {one["what"]: (one["first"], one["second"]) for one in told["changed"]}
    assert changed["tokens"] == (768, 1536) and "weights" in changed and told["settings"] == []
    assert asked(config, "diff")["first"] == "small/00000003", "without names: the one in service and the one before"
    words = ["registry", "show", "small/3", "small/6", f"store={config.store}"]
    with pytest.raises(ConfigError, match="registry show takes 1 ID, 2 are given; leave small/6 out"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_the_sums_of_the_cards_are_those_of_verify(config: Config, card: tuple[Path, dict[str, Any]]) -> None:
    counts, audit = card[1]["counts"], verify(config)
    for name in ("read", "trained", "pending", "held_out", "shed", "skipped", "forgotten"):
        assert sum(one[name] for one in counts) == getattr(audit, name), name
    for name in ("dropped", "quarantined"):
        assert sum(sum(one[name].values()) for one in counts) == getattr(audit, name), name
    assert audit.trained > 0 < audit.pending and audit.forgotten == 1


def test_what_was_trained_in_a_period_is_what_trace_says_of_each_document(
    config: Config, card: tuple[Path, dict[str, Any]]
) -> None:
    lake = Lake(Store.open(config.store))
    kept = lake.documents(0, lake.last_window(), ["id"], ["kept"])["id"].to_pylist()
    rows = [rows[0] for rows in rows_of_ids(lake, kept).values()]
    documents, tokens = Counter[str](), Counter[str]()
    for row, story in zip(rows, stories(lake, rows), strict=True):
        assert row["event_time"] is not None
        if [run["state"] for run in story["runs"]] == ["trained"]:
            documents[f"{row['event_time']:%Y-%m}"] += 1
            tokens[f"{row['event_time']:%Y-%m}"] += row["num_tokens"]
    counts = {one["period"]: one for one in card[1]["counts"] if one["trained"]}
    assert {period: one["trained"] for period, one in counts.items()} == dict(documents)
    assert {period: one["trained_tokens"] for period, one in counts.items()} == dict(tokens)


def test_the_hub_reads_the_cards_and_the_decisions_figures_in_them(card: tuple[Path, dict[str, Any]]) -> None:
    hub = pytest.importorskip("huggingface_hub")
    model = hub.ModelCard.load(card[0] / "README.md")
    assert (model.data.library_name, model.data.pipeline_tag) == ("transformers", "text-generation")
    assert [(one.metric_type, one.metric_value) for one in model.data.eval_results] == [("bits_per_byte", 7.5)]
    assert model.data.license == EVIL, "whatever somebody states is a value, and adds no key"
    data = hub.DatasetCard.load(card[0] / "DATA_CARD.md")
    assert (data.data.license, data.data.size_categories) == ("cc-by-4.0", ["n<1K"])


def test_both_forms_show_the_same_figures(card: tuple[Path, dict[str, Any]]) -> None:
    out, told = card
    trained, tokens = (whole(sum(one[name] for one in told["counts"])) for name in ("trained", "trained_tokens"))
    for name in ("README.md", "model_card.html", "DATA_CARD.md", "data_card.html"):
        text = (out / name).read_text()
        assert re.search(rf"\b{trained}\b", text) and re.search(rf"\b{tokens}\b", text), name
    assert told["steps"] == 0, "the small store has no events of steps"
    assert "Energy: 0 Wh, at the 300 W a worker" in (out / "model_card.html").read_text()
    words = energy_words(3600 * 2.5, 300, 400)
    assert words.startswith("Energy: 750 Wh, at the 300 W a worker that were stated; CO2: 300 g, at")


def test_what_a_stranger_states_becomes_no_markup(card: tuple[Path, dict[str, Any]]) -> None:
    out, _ = card
    page = (out / "model_card.html").read_text()
    assert "<img" not in page and "alert(1)" in page and "\x1b" not in page and "<script" not in page
    body = (out / "README.md").read_text().split("\n---\n", 1)[1]
    assert "<img" not in body and "](http:" not in body and "\x1b" not in body
    assert r"a \| b \!\[x\](http&#58;//y) &lt;img" in body


def test_what_nobody_stated_is_left_out_and_said(config: Config) -> None:
    done = CliRunner().invoke(app, ["registry", "card", "2", f"store={config.store}"])
    assert done.exit_code == 0 and "Energy and CO2 are not told" in done.stdout
    assert "license:" not in done.stdout and "| Licence of the model | not stated |" in done.stdout
    assert CardConfig().license is None


def test_a_store_without_a_champion_has_no_card(tmp_path: Path) -> None:
    Lake(Store.open(str(tmp_path))).create()
    with pytest.raises(ConfigError, match="no checkpoint is in service yet"):
        CliRunner().invoke(app, ["registry", "card", f"store={tmp_path}"], catch_exceptions=False)
    done = CliRunner().invoke(app, ["registry", "list", f"store={tmp_path}"])
    assert done.stdout == "no checkpoint was in service yet\n"
