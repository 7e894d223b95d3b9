"""An ingest of a bucket with notifications is killed again and again, while objects come; is each record there once?

`python -m tests.data_ops.sources.files.notified.killing --kills 40` tells; the test beside it is the short one. The
server is a process of its own, and so is the ingest, which kills itself by SIGKILL before a step of a window, or is
killed at any time.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import next_window
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA
from ray_jobs.config.reading import read_config
from ray_jobs.ingest.settings import ingest_settings
from tests.support.log_without_ray import run_window
from tests.support.notified.bucket import AWS, NotifiedBucket, bridged, event, notified_bucket
from tests.support.runs import environment

STEPS = ("read", "documents", "windows", "acknowledge")
PATIENCE_S = 600.0


class Outcome(NamedTuple):
    """What became of the records that were put into the bucket."""

    put: int
    kills: int
    lost: int
    repeated: int
    problems: int
    quarantined: int
    left: int  # messages in the queue and among the dead letters


def end_here() -> None:
    """End this process as if the machine had gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def take_in(folder: Path, queue: str, dies_before: str, *, follow: bool, end: Callable[[], None] = end_here) -> None:
    """Take in what there is; end before a step of the first window, if one is named."""
    config = read_config([], settings_of(folder, queue))
    settings, lake = ingest_settings(config, None), Lake(Store.open(config.store))
    lake.create()
    seen = Histories(lake, settings.curate.remembered)
    context = IngestContext(lake, settings, follow=follow, stop=(folder / "done").exists)
    while planned := next_window(context):
        for step in STEPS:
            if step == dies_before:
                end()
            if step == "read":
                done, rows = run_window(lake, settings, planned, seen)
            elif step == "documents":
                lake._append("documents", "documents", done.window, rows.cast(STORED_DOCUMENT_SCHEMA))
            elif step == "windows":
                lake.commit_window(done, rows)
            else:
                context.progress.take(done)
                context.sources.opened["news"].acknowledge(context.progress.cursors["news"])


def settings_of(folder: Path, queue: str) -> list[str]:
    """The overrides of a small ingest."""
    news = {"path": "s3://acme/news/**/*.jsonl", "wait": True, "notifications": {"queue": queue, "sweep": "30s"}}
    given = [f"store={folder}/store", f"sources.news={json.dumps(news)}", "held_out=0", "tokenizer.kind=bytes"]
    return [*given, "window.max_documents=25", "window.max_seconds=0.3"]


def start(folder: Path, bucket: NotifiedBucket, dies_before: str = "", *, follow: bool) -> subprocess.Popen[bytes]:
    """Start an ingest in a process of its own."""
    name = "tests.data_ops.sources.files.notified.killing"
    argv = [sys.executable, "-m", name, "--take-in", str(folder), bucket.queue, dies_before, str(int(follow))]
    return subprocess.Popen(argv, env={**environment(), **AWS, "AWS_ENDPOINT_URL": bucket.endpoint})


def publish(bucket: NotifiedBucket, random: Random, first: int, count: int) -> list[str]:
    """Put objects of some records each, with notifications that come twice, late, wrongly and not at all."""
    texts: list[str] = []
    for number in range(first, first + count):
        mine = [f"record {n} of object {number} tells of the mill" for n in range(random.randint(1, 9))]
        key = f"news/{random.choice(['a', 'b', 'c d'])}/{number:05}.jsonl"
        bucket.put(key, *mine)
        texts += mine
        if random.random() < 0.3:
            bucket.send(random.choice([event(key.replace(" ", "+")), bridged(key)]))
        if random.random() < 0.05:
            bucket.send(random.choice(["{", event("news/x", bucket="other"), event(f"news/gone{number}.jsonl")]))
    return texts


def prove(folder: Path, bucket: NotifiedBucket, kills: Sequence[str], seed: int = 1, objects: int = 12) -> Outcome:
    """Kill an ingest so often, before a step that is named or ("") at any time, and compare what is left."""
    random, texts = Random(seed), list[str]()
    for number, step in enumerate(kills):
        texts += publish(bucket, random, number * objects, objects)
        ingest = start(folder, bucket, step, follow=True)
        if not step:
            time.sleep(random.uniform(1, 8))
            ingest.kill()
        if ingest.wait(PATIENCE_S) != -signal.SIGKILL:
            raise ValueError(f"the ingest ended with {ingest.returncode} where it was to be killed")
    texts += publish(bucket, random, len(kills) * objects, objects)
    if (code := start(folder, bucket, follow=False).wait(PATIENCE_S)) != 0:
        raise ValueError(f"the last ingest ended with {code}")
    return compare(folder, bucket, texts, len(kills))


def compare(folder: Path, bucket: NotifiedBucket, texts: Sequence[str], kills: int) -> Outcome:
    """Compare the lake with what was put into the bucket; no text was put twice."""
    lake = Lake(Store.open(f"{folder}/store"))
    rows = lake.documents(0, lake.last_window(), ["text", "fate"]).to_pylist()
    kept = Counter(row["text"] for row in rows if row["fate"] == "kept")
    quarantined = sum(row["fate"] == "quarantined" for row in rows)
    audit = account(lake, "headrace")
    return Outcome(
        put=len(texts),
        kills=kills,
        lost=len(set(texts) - kept.keys()) + audit.lost,
        repeated=len(rows) - len(set(texts)) - quarantined + audit.repeated,
        problems=len(audit.problems),
        quarantined=quarantined,
        left=bucket.count() + bucket.count(bucket.dead),
    )


def main() -> None:
    """Prove it, or be the ingest that is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--take-in", nargs=4, metavar=("FOLDER", "QUEUE", "STEP", "FOLLOW"))
    given = parser.parse_args()
    if given.take_in:
        folder, queue, step, follow = given.take_in
        take_in(Path(folder), queue, step, follow=follow == "1")
        return
    kills = [("", *STEPS)[n % 5] for n in range(given.kills)]
    with tempfile.TemporaryDirectory(prefix="headrace-") as name, notified_bucket(Path(name)) as bucket:
        bucket.notify()
        print(json.dumps(prove(Path(name), bucket, kills, given.seed)._asdict()))


if __name__ == "__main__":
    main()
