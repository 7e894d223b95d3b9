"""Does a real Prometheus that scrapes a real exporter of Ray fire every alert, once each, and also through a pause?

The rules are those of the house with their times shortened: what they wait for, and how far they look back. Ray reports
every second here, and forgets a gauge that is not set again after two.
"""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.root import ROOT
from tests.support.runs import environment, free_ports, wait_until

RULES = (ROOT / "cluster" / "observability" / "rules.yml").read_text(encoding="utf-8")
ALERTS = {rule["alert"] for g in yaml.safe_load(RULES)["groups"] for rule in g["rules"] if "alert" in rule}
PAUSE_S = 15.0
#: A driver's metrics as they are when told on stdin; `pause` tells nothing further, as an idle run does.
DRIVER = """
import select, sys, time
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from cluster.telemetry.sinks import Prometheus, Telemetry
from ray_jobs.driver.meter import Meter
import ray

with connect(ClusterConfig(), metrics=True):
    node = ray.nodes()[0]
    telemetry = Telemetry([Prometheus("news", Meter(1000, 10).begin(None), refresh_s=0.5)])
    print(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}", flush=True)
    state, n, sick, stall = "pause", 0, 0, 0.0
    while state != "end":
        if select.select([sys.stdin], [], [], 0.5)[0]:
            state = sys.stdin.readline().strip() or "end"
        n += 1
        common = {"documents_held_out": 0, "promoted": 0, "checkpoint_step": n}
        if state == "healthy":
            telemetry.log({**common, "step": n, "tokens": n * 1000, "freshness_p95_s": 5.0, "backlog_windows": 1,
                           "data_wait_share": 0.001, "checkpoint_time_s": time.time(), "goodput": 0.99,
                           "documents_read": n, "documents_kept": n, "checkpoint_stall_s": 0.001,
                           "slo_documents/wire": n * 10, "slo_late_documents/wire": 0, "slo_allowed_share/wire": 0.01})
        elif state == "sick":
            sick += 1
            telemetry.log({**common, "freshness_p95_s": 7200.0, "backlog_windows": 30 + sick, "data_wait_share": 0.5,
                           "checkpoint_time_s": time.time() - 2000, "goodput": 0.5, "documents_read": n * 3,
                           "documents_kept": n, "documents_quarantined/bad_json": sick, "restarts": sick,
                           "skipped_steps": sick, "checkpoint_stall_s": 0.4,
                           "slo_documents/wire": n * 10, "slo_late_documents/wire": sick * 10})
    telemetry.close()
"""


def shortened(rules: str) -> str:
    """The rules with a minute of waiting as 0.1 s, and a minute of looking back as half a second, 10 s at least."""

    def minutes(number: str, unit: str) -> float:
        return float(number) * (60 if unit == "h" else 1)

    back = re.sub(r"\[(\d+)([mh])\]", lambda m: f"[{max(10, int(minutes(*m.groups()) / 2))}s]", rules)
    return re.sub(r"for: (\d+)([mh])", lambda m: f"for: {max(1, int(minutes(*m.groups()) / 10))}s", back)


class Scraping:
    """A Prometheus that scrapes one driver."""

    def __init__(self, folder: Path, target: str) -> None:
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        (folder / "rules.yml").write_text(shortened(RULES))
        scrape = {"job_name": "ray", "static_configs": [{"targets": [target]}]}
        times = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
        config = {"global": times, "rule_files": ["rules.yml"], "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        said = (folder / "prometheus.txt").open("w")
        arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        arguments += [f"--web.listen-address=127.0.0.1:{port}"]
        self.process = subprocess.Popen(["prometheus", *arguments], stdout=said, stderr=said)

    def alerts(self, state: str = "firing") -> Counter[str]:
        """How many instances of each alert are in a state."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/alerts", timeout=5) as answer:
                told = json.load(answer)["data"]["alerts"]
        except urllib.error.URLError:
            return Counter()
        return Counter(alert["labels"]["alertname"] for alert in told if alert["state"] == state)

    def value(self, expression: str) -> list[float]:
        """What an expression is now."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=5) as answer:
            return [float(found["value"][1]) for found in json.load(answer)["data"]["result"]]


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[str]]:
    """A driver that does as it is told."""
    env = environment() | {"RAY_metrics_report_interval_ms": "1000"}
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_every_alert_fires_once_when_it_should_and_not_before_and_stays_through_a_pause(tmp_path, driver):
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    target = driver.stdout.readline().strip()
    scraping = Scraping(tmp_path, target)

    def tell(state: str) -> None:
        driver.stdin.write(f"{state}\n")
        driver.stdin.flush()

    try:
        said = lambda: f"{(tmp_path / 'prometheus.txt').read_text()[-2000:]}\n{scraping.alerts()}"  # noqa: E731
        wait_until(lambda: ready(scraping), 60, said)
        for name in ("restarts", "skipped_steps", "promoted", "refused", "documents_kept", "step"):
            assert [round(v, 9) for v in scraping.value(f"ray_headrace_{name}_total")] == [0.0], name
        tell("healthy")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert not scraping.alerts(), "nothing is wrong"
            time.sleep(0.5)
        tell("sick")
        wait_until(lambda: set(scraping.alerts()) == ALERTS, 90, lambda: str(ALERTS - set(scraping.alerts())))
        assert set(scraping.alerts().values()) == {1}
        tell("pause")
        time.sleep(PAUSE_S)
        kept = {"HeadraceStale", "HeadraceWaitsForData", "HeadraceCheckpointOld", "HeadraceGoodputLow"}
        assert kept <= set(scraping.alerts()), "gauges stay while the driver lives"
    finally:
        scraping.process.terminate()
        scraping.process.wait(30)


def ready(scraping: Scraping) -> bool:
    """Is the first scrape in, with a counter that nothing has raised?"""
    try:
        return bool(scraping.value("ray_headrace_restarts_total"))
    except OSError:
        return False
