"""Your own files, from the first command to the trained model: is every record of 100,000 where it belongs?

JSON lines, 1 % of them broken in eight ways and 2 % repeats, through `headrace run` as a user starts it. Afterwards the
lake is compared with what the generator knows, record by record, and `headrace verify` must find every good document
trained or held out. Not a comparison of speeds: the figure beside it says what such a run costs on this machine.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.corpus import LIMIT_BYTES, lines, write
from benchmarks.data.ingest import HELD_OUT, mistakes
from benchmarks.rows import Goal, Row
from cluster.storage.store import Store
from data_ops.lake.lake import Lake

SEED, NUM_FILES = 7, 8


def measure(quick: bool) -> list[Row]:
    """Run and compare; rows of what went wrong and of the speed."""
    num_records = 2_000 if quick else 100_000
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        made = list(lines(num_records, sentences=1))
        places = write(Path(folder) / "corpus", made, NUM_FILES)
        (Path(folder) / "run.yaml").write_text(yaml.safe_dump(recipe(folder, num_records)))
        began = time.perf_counter()
        summary = headrace(folder, "run")
        seconds = time.perf_counter() - began
        audit = headrace(folder, "verify")
        lake = Lake(Store.open(f"{folder}/lake"))
        wrong = mistakes(lake.documents(0, lake.last_window()), made, places, SEED)
    good = sum(line.fate == "alive" for line in made)
    astray = good - audit["trained"] - audit["held_out"] + audit["lost"] + audit["repeated"]
    raw = {"verify": audit, "tokens": summary["tokens"], "wrong": wrong[:20]}
    what = f"`headrace run` on {num_records:,} JSON lines"
    zero = Goal(0, at_least=False, of_ratio=False)
    why = "A record is not where it belongs: a defect."
    note = f"{audit['quarantined']:,} broken in eight ways, {audit['dropped']:,} repeats; from the command to its end."
    return [
        Row(what, "records/s", [num_records / seconds], note=note, raw=raw),
        Row(f"{what}: in the wrong place", "records", [float(len(wrong))], goal=zero, why=why),
        Row(f"{what}: good, but neither trained nor held out", "documents", [float(astray)], goal=zero, why=why),
    ]


def recipe(folder: str, num_records: int) -> dict[str, Any]:
    """A small model that has seen everything in some minutes."""
    return {
        "name": "own",
        "store": f"{folder}/lake",
        "seed": SEED,
        "held_out": HELD_OUT,
        "sources": {"made": {"path": f"{folder}/corpus/*.jsonl", "time": "at", "max_record_bytes": LIMIT_BYTES}},
        "window": {"max_documents": max(1000, num_records // 10)},
        "tokenizer": {"kind": "bpe", "vocabulary": 2048},
        "reservoir": {"capacity": 10_000, "half_life": "30d"},
        "round": {"tokens": 2**18 if num_records > 10_000 else 2**14, "replay_share": 0.25},
        "model": {"layers": 1, "width": 64, "heads": 2, "row_tokens": 128},
        "engine": {"workers": 2, "zero_stage": 2, "batch_tokens": 2**13, "micro_batch_rows": 16, "precision": "fp32"},
        "wandb": {"mode": "disabled"},
    }


def headrace(folder: str, command: str) -> dict[str, Any]:
    """Run a command to its end; the JSON object of its last line."""
    argv = [sys.executable, "-m", "ray_jobs", command, "-c", f"{folder}/run.yaml", "--json"]
    done = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"headrace {command} ended with {done.returncode}: {done.stdout[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
