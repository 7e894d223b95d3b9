"""Are alerts and dashboard about metrics that exist, and do the alerts fire when they should and only then?"""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from cluster.observability.dashboard import PANELS, dashboard
from cluster.telemetry.metrics import METRICS, prometheus_names
from tests.support.root import ROOT

FOLDER = ROOT / "cluster" / "observability"
EXPORTED = {name for metric in METRICS for name in prometheus_names(metric)}
RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]


def series(text):
    """The series that PromQL names, alternatives spelled out."""
    found = set(re.findall(r"ray_headrace_[a-z0-9_]+(?![a-z0-9_(])", text))
    for before, choices, after in re.findall(r"(ray_headrace_[a-z_]*)\(([a-z_|]+)\)([a-z_]*)", text):
        found |= {before + choice + after for choice in choices.split("|")}
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_about_metrics_that_are_exported(rule):
    recorded = {each["record"]: each["expr"] for each in RULES if "record" in each}
    for name in re.findall(r"headrace:\w+:\w+", rule["expr"]):
        assert name in recorded
    named = series(" ".join([rule["expr"], *(recorded[n] for n in re.findall(r"headrace:\w+:\w+", rule["expr"]))]))
    assert named and named <= EXPORTED, named - EXPORTED


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "warn")
            assert "$labels.run" in rule["annotations"]["summary"] and rule["annotations"]["action"].endswith(".")


def test_every_alert_is_tested_firing_and_silent():
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    silent, firing = (
        {case["alertname"] for case in test["alert_rule_test"] if bool(case.get("exp_alerts")) == fires}
        for test, fires in zip(tests, (False, True), strict=True)
    )
    assert sorted(silent) == sorted(firing) == sorted(ALERTS)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]])
def test_promtool_agrees(arguments):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus), so no alert was seen firing")
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_is_about_metrics_that_are_exported():
    for row in PANELS.values():
        for panel in row:
            for query in panel.queries.values():
                named = series(query)
                assert named and named <= EXPORTED, (panel.title, named - EXPORTED)


def test_the_dashboard_shows_every_metric_but_the_positions():
    shown = {name for row in PANELS.values() for panel in row for q in panel.queries.values() for name in series(q)}
    unseen = {metric for metric in METRICS if not shown & set(prometheus_names(metric))}
    assert unseen == {"step", "round", "window", "rows", "checkpoint_step", "replay_share"}


def test_the_json_is_what_the_panels_say():
    kept = (FOLDER / "dashboard.json").read_text(encoding="utf-8")
    anew = "python -m cluster.observability.dashboard > cluster/observability/dashboard.json"
    assert kept == json.dumps(dashboard(), indent=1) + "\n", f"write it anew: {anew}"


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for p in panels
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({p["id"] for p in panels}) == len(panels)


def test_rates_are_taken_of_counters_and_values_of_gauges():
    for query in [q for row in PANELS.values() for p in row for q in p.queries.values()] + [r["expr"] for r in RULES]:
        for name in re.findall(r"(?:rate|increase)\((ray_headrace_\w+)", query):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), query
