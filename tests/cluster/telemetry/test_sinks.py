"""Does every metric arrive where it should, and does no sink ever stop a run or leak a secret?"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.redaction import redact
from cluster.storage.store import Store
from cluster.telemetry import wandb_run as tracking
from cluster.telemetry.config import WandbConfig
from cluster.telemetry.json_lines import JsonLines
from cluster.telemetry.logs import setup_logging
from cluster.telemetry.metrics import METRICS, check_names
from cluster.telemetry.sinks import Prometheus, Telemetry
from cluster.telemetry.wandb_run import Champion, WandbRun, choose_mode, log_champion, machine, open_wandb
from tests.support.root import ROOT
from tests.support.runs import wait_until

PATH = "runs/news/metrics.jsonl"


@pytest.fixture(autouse=True)
def no_wandb_variables(monkeypatch, tmp_path):
    for name in (
        "WANDB_MODE",
        "WANDB_API_KEY",
        "WANDB_DIR",
        "WANDB_RUN_ID",
        "WANDB_PROJECT",
        "WANDB_BASE_URL",
        "WANDB_SWEEP_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


class Bucket(Store):
    """A store on disk that behaves like a remote one: no appending."""

    is_local = property(lambda self: False)
    fails = False

    def local_path(self, path):
        return None

    def read(self, path):
        return (Path(self.root) / path).read_bytes()

    def write(self, path, data):
        if self.fails:
            raise OSError("the network is away")
        (Path(self.root) / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(self.root) / path).write_bytes(data)


def wandb_records(path: Path) -> list[dict]:
    """The records of an offline run's file, by W&B's own reader."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in shown.stdout.splitlines() if line.startswith("{")]


def summary_of(records: list[dict]) -> dict:
    """The summary as W&B would show it: of each key the last value."""
    updates = [record["summary"]["update"] for record in records if record["type"] == "summary"]
    return {key: value for update in updates for key, value in update.items()}


def lines(folder: Path) -> list[dict]:
    return [orjson.loads(line) for line in (folder / PATH).read_bytes().splitlines()]


def test_every_metric_has_a_unit_a_kind_and_a_sentence():
    for name, (unit, kind, text) in METRICS.items():
        assert name == name.lower() and unit and kind in ("gauge", "counter", "histogram")
        assert text[0].isupper() and text.endswith(".")
        assert (unit == "s") == name.endswith("_s"), f"{name} does not say its unit"
        assert (unit == "share") == (name.endswith("_share") or name in ("mfu", "goodput"))


@pytest.mark.parametrize(
    ("name", "advice"),
    [("los", "did you mean loss"), ("token_per_second", "did you mean tokens_"), ("x", "METRICS")],
)
def test_an_unknown_metric_is_an_error_with_advice(name, advice):
    with pytest.raises(ValueError, match=f"metric '{name}' is unknown; .*{advice}"):
        Telemetry([]).log({name: 1.0})
    check_names({"event": "step", "time": 1, "message": "", "bits_per_byte/a/b": 1.0})


@pytest.mark.parametrize("kind", [Store, Bucket])
def test_a_resumed_run_goes_on_in_the_same_file(tmp_path, kind):
    for first in (0, 3):
        telemetry = Telemetry([JsonLines(kind(str(tmp_path), "file", str(tmp_path)), PATH)])
        for step in range(first, first + 3):
            telemetry.log({"event": "step", "step": step, "loss": np.float32(1.5), "grad_norm": float("nan")})
        telemetry.close()
    assert [line["step"] for line in lines(tmp_path)] == list(range(6))
    assert lines(tmp_path)[0]["loss"] == 1.5 and lines(tmp_path)[0]["grad_norm"] is None
    assert lines(tmp_path)[0]["time"] > 1e9


def test_a_torn_last_line_spoils_only_itself(tmp_path):
    store = Store.open(str(tmp_path))
    store.write(PATH, b'{"step":1}\n{"step":2,"lo')
    sink = JsonLines(store, PATH)
    sink.log({"step": 3})
    sink.close()
    assert (tmp_path / PATH).read_bytes() == b'{"step":1}\n{"step":2,"lo\n{"step":3}\n'


def test_local_lines_are_there_at_once(tmp_path):
    sink = JsonLines(Store.open(str(tmp_path)), PATH)
    sink.log({"step": 1})
    assert lines(tmp_path) == [{"step": 1}]
    sink.close()


def test_a_bucket_that_fails_loses_no_line_and_stops_nobody(tmp_path, caplog):
    bucket = Bucket(str(tmp_path), "file", str(tmp_path))
    sink = JsonLines(bucket, PATH)
    bucket.fails = True
    sink.log({"step": 1})
    sink.flush()
    assert "metrics are kept in memory for now: the network is away" in caplog.text
    bucket.fails = False
    sink.log({"step": 2})
    sink.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_bucket_is_written_while_the_run_goes_on(tmp_path):
    sink = JsonLines(Bucket(str(tmp_path), "file", str(tmp_path)), PATH, flush_every_s=0.01)
    sink.log({"step": 1})
    wait_until(lambda: (tmp_path / PATH).exists() and lines(tmp_path) == [{"step": 1}], 60, lambda: "no line came")
    sink.close()


def test_a_bucket_that_hung_once_is_soon_written_again(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("cluster.telemetry.json_lines.time", SimpleNamespace(monotonic=lambda: clock.now))
    bucket = Bucket(str(tmp_path), "file", str(tmp_path))
    sink = JsonLines(bucket, PATH, flush_every_s=0.01)
    write = bucket.write

    def hang(*given):
        clock.now += 60.0
        write(*given)

    bucket.write = hang
    sink.log({"step": 1})
    wait_until(lambda: (tmp_path / PATH).exists(), 60, lambda: "nothing was written")
    bucket.write = write
    sink.log({"step": 2})
    wait_until(lambda: len(lines(tmp_path)) == 2, 60, lambda: "the next line waits for twenty times as long as it hung")
    assert lines(tmp_path) == [{"step": 1}, {"step": 2}]
    sink.close()


def recorded(monkeypatch):
    """What Ray's metrics are told: name, value, label."""

    class Recorded:
        def __init__(self, name, **_):
            self.name = name

        def set(self, value, tags):
            told.append((self.name, value, tags["label"]))

        def inc(self, value, tags):
            assert value > 0, "Ray refuses others"
            self.set(value, tags)

    told = []
    for kind in ("Gauge", "Counter"):
        monkeypatch.setattr(f"ray.util.metrics.{kind}", Recorded)
    return told


def test_a_gauge_is_set_again_until_the_sink_is_closed_and_a_counter_is_not(monkeypatch):
    told = recorded(monkeypatch)
    sink = Prometheus("news", refresh_s=0.01)
    sink.log({"step": 1, "loss": 2.5, "bits_per_byte/old": 1.25})
    sink.log({"loss": 2.0})
    wait_until(lambda: told.count(("headrace_loss", 2.0, "")) > 2, 60, lambda: str(told))
    sink.close()
    after = told.index(("headrace_loss", 2.0, ""))
    assert ("headrace_loss", 2.5, "") not in told[after:], "no old value is set behind a new one"
    assert ("headrace_bits_per_byte", 1.25, "old") in told[after:]
    assert told.count(("headrace_step", 1.0, "")) == 1
    assert not sink._thread.is_alive()


def test_a_counter_is_there_before_it_rises_and_its_totals_are_exact(monkeypatch):
    told = recorded(monkeypatch)
    sink = Prometheus("news", {"restarts": 0, "documents_dropped/empty": 0, "step": 40})
    assert [name for name, _, _ in told] == ["headrace_restarts", "headrace_documents_dropped", "headrace_step"]
    sink.log({"restarts": 0, "documents_dropped/empty": 2, "step": 41})
    sink.log({"restarts": 1, "step": 41})
    totals = {}
    for name, value, _ in told:
        totals[name] = totals.get(name, 0.0) + value
    assert totals == {"headrace_restarts": 1.0, "headrace_documents_dropped": 2.0, "headrace_step": 41.0}
    sink.close()


def test_auto_is_online_only_with_a_key(monkeypatch, tmp_path):
    assert choose_mode(WandbConfig()) == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password abc\n")
    assert choose_mode(WandbConfig()) == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.acme.example")
    assert choose_mode(WandbConfig()) == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    assert choose_mode(WandbConfig()) == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode(WandbConfig()) == "disabled" and choose_mode(WandbConfig(mode="offline")) == "offline"


def test_a_disabled_run_makes_no_sink_and_no_file(tmp_path):
    assert open_wandb(WandbConfig(mode="disabled"), "id", "news", {}, tmp_path / "w") is None
    assert not (tmp_path / "w").exists()


OFFLINE = """
import json, os, pathlib, sys, threading
from cluster.telemetry.wandb_run import *
folder = pathlib.Path(sys.argv[1])
config = WandbConfig(mode="offline")
settings = {"hf_token": "hunter2", "optim": {"lr": 0.5}, "system": machine([(8.0, 2.0), (8.0, 0.0)])}
run = open_wandb(config, "stable", "news", settings, folder, threading.Event().set)
run.log({"event": "step", "step": 1, "loss": 2.5})
run.log({"event": "evaluation", "step": 2, "bits_per_byte": 2.0})
run.log({"event": "evaluation", "step": 0, "bits_per_byte": 8.0})
weights = folder / "0.safetensors"
weights.write_bytes(b"w" * 1000)
facts = {"rounds": 3, "sample_fingerprint": "abc"}
lineage = {**facts, "files": [{"path": str(weights)}]}
champion = Champion("news@00000002/00000003", "news/00000001", str(folder), (str(weights),), facts, lineage)
run.promoted(champion)
run.conclude({"documents": {"read": 7}, "sample_fingerprint": "abc"})
run.close()
"""


def offline_run(folder, script=OFFLINE):
    """The records of an offline run, read back by W&B's own tool; the script runs with secrets all around it."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), "--password=hunter2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=variables | {"WANDB_API_KEY": "hunter2" * 6, "AWS_SECRET_ACCESS_KEY": "hunter2"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == "", "W&B prints nothing"
    return wandb_records(next(folder.glob("wandb/offline-run-*/run-*.wandb")))


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline")
    return folder, offline_run(folder)


@pytest.mark.slow
def test_an_offline_run_keeps_its_metrics_and_no_secret(offline):
    folder, records = offline
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name == "run-stable.wandb" for path in files)
    content = b"".join(path.read_bytes() for path in files)
    assert b"hunter2" not in content and b"loss" in content and b"***" in content
    run = next(record["run"] for record in records if "run" in record)
    config = run["config"]["update"]
    assert (config["optim.lr"], config["hf_token"]) == (0.5, "***"), "the keys are those of a sweep"
    assert (config["system.nodes"], config["system.gpus"]) == (2, 2.0) and config["system.packages.ray"]


STOPPED = "import os; os.environ['RAY_JOB_CONFIG_JSON_ENV_VAR'] = '{}'" + OFFLINE.replace(
    "run.conclude",
    """
import psutil, signal, time
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("the driver"))
for process in [*psutil.Process().children(recursive=True), psutil.Process()]:
    process.send_signal(signal.SIGTERM)
time.sleep(1)
assert heard
run.log({"event": "step", "step": 3, "loss": 1.5})
run.conclude""",
)


@pytest.mark.slow
def test_a_job_that_ray_stops_has_its_last_words_at_wandb(tmp_path):
    """`ray job stop` sends SIGTERM to the driver and to all that it has started."""
    records = offline_run(tmp_path, STOPPED)
    summary = summary_of(records)
    assert (summary["loss"], summary["documents.read"]) == (1.5, 7)
    assert any("exit" in record for record in records)


@pytest.mark.slow
def test_the_last_words_hold_the_newest_figures_and_the_summary(offline):
    found = summary_of(offline[1])
    assert found["bits_per_byte"] == 2.0, "not the untrained model's, which is told last"
    assert (found["documents.read"], found["sample_fingerprint"]) == (7, "abc")


@pytest.mark.slow
def test_a_champion_is_an_artifact_with_its_lineage_and_without_its_weights(offline):
    folder, records = offline
    (told,) = (record["artifact"] for record in records if record["type"] == "artifact")
    assert told["type"] == "model" and {"champion", "news-00000002-00000003"} <= set(told["aliases"])
    assert json.loads(told["metadata"]) == {"rounds": 3, "sample_fingerprint": "abc"}
    weights, written = sorted(told["manifest"]["contents"], key=lambda item: item["path"])
    assert weights["ref"] == (folder / "0.safetensors").as_uri() and int(weights["size"]) == 1000
    assert json.loads(Path(written["local_path"]).read_text())["files"][0]["path"].endswith("0.safetensors")
    kept = [path for path in (folder / "wandb").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"w" * 1000 in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_online_the_champion_before_is_an_input_if_wandb_knows_it(tmp_path, caplog, known):
    class Run:
        settings = SimpleNamespace(_offline=False, sync_dir=str(tmp_path))
        logged, used = [], []

        def use_artifact(self, name):
            if not known:
                raise ValueError("no such artifact")
            self.used.append(name)

        def log_artifact(self, artifact, aliases):
            self.logged.append((artifact.name, artifact.metadata, aliases))

    (tmp_path / "w").touch()
    place = str(tmp_path / "w")
    champion = Champion("news/00000002", "old@00000001/00000001", "s3://acme/lake", (place,), {"rounds": 3})
    log_champion(Run(), champion)
    assert Run.logged == [("lake-98d9bf-champion", {"rounds": 3}, ["champion", "news-00000002"])]
    assert Run.used == ["lake-98d9bf-champion:old-00000001-00000001"] * known
    assert ("W&B does not know the champion before, old@00000001/00000001" in caplog.text) != known


def test_the_machine_is_described_by_numbers_and_versions():
    told = machine([(4.0, 0.0), (4.0, 8.0)])
    assert (told["nodes"], told["cpus"], told["gpus"]) == (2, 8.0, 8.0)
    assert told["driver_memory_bytes"] > 2**28 and told["packages"]["torch"][0].isdigit()


def test_a_wandb_that_fails_is_told_once_and_left_alone(caplog):
    class Broken:
        calls = 0

        def log(self, _):
            self.calls += 1
            raise OSError("the pipe is broken")

    broken = Broken()
    sink = WandbRun(broken)
    for step in range(3):
        sink.log({"step": step})
    sink.close()
    assert broken.calls == 1 and caplog.text.count("the pipe is broken") == 1


@pytest.mark.parametrize("concluded", [True, False])
def test_wandb_shows_a_run_without_last_words_as_failed(concluded):
    codes = []
    sink = WandbRun(SimpleNamespace(summary={}, finish=lambda exit_code: codes.append(exit_code)))
    if concluded:
        sink.conclude({"steps": 3})
    sink.close()
    assert codes == [0 if concluded else 1]


def test_a_wandb_that_cannot_start_does_not_stop_the_run(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert open_wandb(WandbConfig(mode="offline"), "id", "news", {}, tmp_path / "file") is None
    assert "W&B does not start, the run goes on without it" in caplog.text


@given(st.sampled_from(["api_key", "apiKey", "auth_token", "secret", "sasl.password", "aws_secret_access_key"]))
def test_secrets_are_redacted_at_any_depth(name):
    hidden = redact({"a": [{name: "hunter2"}], "b": {"c": {name: ["hunter2"]}}, "lr": 1.0})
    assert "hunter2" not in str(hidden) and hidden["lr"] == 1.0


def test_what_only_sounds_secret_stays():
    config = {
        "row_tokens": 256,
        "tokenizer": {"kind": "bpe"},
        "batch_tokens": "8k",
        "store": "s3://b/p",
        "token": 3,
    }
    assert redact(config) == config
    assert redact({"store": "https://me:pw@host/x"}) == {"store": "https://***@host/x"}


def test_the_key_itself_is_never_returned(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    assert tracking.has_key() is True


@pytest.mark.parametrize("as_json", [False, True])
def test_logs_show_our_lines_and_nobody_elses(capsys, as_json):
    before = logging.getLogger().handlers[:]
    try:
        setup_logging(as_json)
        logging.getLogger("cluster.runtime.session").info("workers %d", 8)
        logging.getLogger("ray.data").warning("noise")
        logging.getLogger("somebody").info("noise")
        logging.getLogger("botocore").error("trouble")
        out = capsys.readouterr()
    finally:
        logging.getLogger().handlers[:] = before
    shown = out.err.splitlines()
    messages = [json.loads(line)["message"] for line in shown] if as_json else shown
    assert messages == ["workers 8", "trouble"] and out.out == ""
