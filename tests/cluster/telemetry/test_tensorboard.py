"""Is what is written the format that TensorBoard reads, frame by frame, and does nothing of it stop a run?"""

import struct
import subprocess
import sys

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cluster.storage.store import Store
from cluster.telemetry.sinks import Telemetry
from cluster.telemetry.tensorboard import TensorBoard
from cluster.telemetry.wandb_run import Champion
from tests.cluster.telemetry.test_sinks import Bucket
from tests.support.root import ROOT

FOLDER = "runs/news/tensorboard"


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read(path):
    """All events of a file, every checksum compared."""
    raw, events = path.read_bytes(), []
    while raw:
        (length,), (crc,) = struct.unpack("<Q", raw[:8]), struct.unpack("<I", raw[8:12])
        assert crc == masked(raw[:8])
        event = raw[12 : 12 + length]
        assert struct.unpack("<I", raw[12 + length : 16 + length])[0] == masked(event)
        events.append(Event.FromString(event))
        raw = raw[16 + length :]
    return events


def test_the_checksum_is_the_one_of_the_format():
    assert crc32c(b"123456789") == 0xE3069283, "CRC-32C (Castagnoli), as RFC 3720 has it"


def files(folder):
    return sorted((folder / FOLDER).glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("kind", [Store, Bucket])
def test_metrics_come_back_under_their_names_at_their_steps(tmp_path, kind):
    (tmp_path / FOLDER).mkdir(parents=True)  # a bucket has no folders that could be missing
    telemetry = Telemetry([TensorBoard(kind(str(tmp_path), "file", str(tmp_path)), FOLDER)])
    telemetry.log({"event": "step", "step": 1, "loss": 2.5, "freshness_p50_s": 3.0})
    telemetry.log({"event": "step", "step": 300, "loss": float("nan"), "message": "no number"})
    telemetry.log({"event": "window", "window": 7, "documents_dropped/duplicate": 4})
    telemetry.log({"event": "evaluation", "step": 0, "bits_per_byte/wire/2026-01": 8.0})
    telemetry.close()
    first, start, *events = read(files(tmp_path)[0])
    assert (start.step, start.session_log.status) == (1, SessionLog.START), "TensorBoard ignores the first one it sees"
    assert first.file_version == "brain.Event:2" and first.wall_time > 1e9
    found = [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in events]
    assert found[0] == (1, {"loss": 2.5, "freshness_p50_s": 3.0})
    assert found[1][0] == 300 and list(found[1][1]) == ["loss"] and str(found[1][1]["loss"]) == "nan"
    assert found[2:] == [
        (300, {"window": 7.0, "documents_dropped/duplicate": 4.0}),
        (0, {"bits_per_byte/wire/2026-01": 8.0}),
    ]


def test_summary_and_champion_come_back_as_texts(tmp_path):
    sink = TensorBoard(Store.open(str(tmp_path)), FOLDER)
    sink.log({"step": 9, "loss": 1.0})
    sink.conclude({"sample_fingerprint": "abc"})
    sink.promoted(Champion("news/9", None, "s", (), {}, {"rounds": 4}))
    sink.close()
    texts = {v.tag: v for event in read(files(tmp_path)[0])[3:] for v in event.summary.value}
    assert {v.metadata.plugin_data.plugin_name for v in texts.values()} == {"text"}
    assert b'"sample_fingerprint": "abc"' in texts["summary"].tensor.string_val[0]
    assert b'"rounds": 4' in texts["champion"].tensor.string_val[0]


def shown(folder):
    """The losses that TensorBoard shows of a run: every START but the first takes away later steps."""
    losses, started = {}, False
    for event in (event for path in files(folder) for event in read(path)):
        if event.session_log.status == SessionLog.START:
            losses = {step: loss for step, loss in losses.items() if not started or step < event.step}
            started = True
        for value in event.summary.value:
            losses[event.step] = value.simple_value
    return losses


def test_steps_that_are_trained_again_replace_those_that_were_lost(tmp_path):
    first = TensorBoard(Store.open(str(tmp_path)), FOLDER)
    for step in [1, 2, 3, 4, 5, 4]:  # the workers were started again from step 3, and died
        first.log({"event": "step", "step": step, "loss": float(step)})
    first.close()
    assert shown(tmp_path) == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    second = TensorBoard(Store.open(str(tmp_path)), FOLDER, resumed_step=2)
    assert shown(tmp_path) == {1: 1.0, 2: 2.0}
    second.log({"event": "step", "step": 3, "loss": 30.0})
    second.close()
    assert shown(tmp_path) == {1: 1.0, 2: 2.0, 3: 30.0}


def test_a_full_disk_is_told_once_and_stops_nothing(tmp_path, caplog):
    sink = TensorBoard(Store.open(str(tmp_path)), FOLDER)
    sink._file.close()
    sink._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115 - the sink closes it
    for step in range(3):
        sink.log({"step": step, "loss": 1.0})
    sink.close()
    assert caplog.text.count("TensorBoard gets nothing more from this driver") == 1


def test_a_bucket_that_fails_stops_nothing(tmp_path, caplog, monkeypatch):
    sink = TensorBoard(Bucket(str(tmp_path), "file", str(tmp_path)), FOLDER)

    def away(*_):
        raise OSError("the network is away")

    monkeypatch.setattr(Store, "upload", away)
    sink.close()
    assert "did not reach the store: the network is away" in caplog.text


@pytest.mark.slow
def test_a_run_that_asks_for_no_tensorboard_does_without_its_package():
    script = "import sys, ray_jobs.driver.loop; print({'tensorboardX', 'tensorboard'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout == "set()\n"
