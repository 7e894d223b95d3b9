"""What becomes of a real pretrained model that is continued on dated text on this machine, with and without replay?

`headrace run` with the weights of `smollm2.py` and the text of `dated_text.py`: first on prose alone, the old text; then
changelogs arrive, in two copies of that store: one trains them alone, one with as much replayed text of both kinds
beside them. Held-out bits per byte of the weights as they came, behind the prose and behind the changelogs, by source
and year, and what they say after the same prompt.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.models.dated_text import write_corpus
from benchmarks.models.smollm2 import smollm2
from benchmarks.rows import Row

PROMPT = "bash (5.2.37-2) unstable; urgency=medium\n\n  *"
STEP_TOKENS = 512


def measure(quick: bool) -> list[Row]:
    """Continue the model and compare it with itself."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as scratch:
        folder = Path(scratch)
        write_corpus(folder / "texts", *((12, 6) if quick else (60, 40)))
        first = run(folder / "first", folder / "texts", ["prose"], 0)
        (base,) = (path.parts[-3] for path in folder.glob("first/lake/runs/base@*/checkpoints/00000000.json"))
        rows = [Row("tokens of old text trained", "", [first["tokens"]], note=first["reasons"][0])]
        for name, replay in (("without replay", 0), ("half of it replay", 0.5)):
            shutil.copytree(folder / "first", folder / name)
            done = run(folder / name, folder / "texts", ["prose", "changes"], replay)
            rows += told(folder / name, name, (f"{base}/0", first["checkpoint"], done["checkpoint"]))
            rows.append(Row(f"tokens trained in all, {name}", "", [done["tokens"]], note=done["reasons"][0]))
    return rows


def run(folder: Path, texts: Path, names: list[str], replay: float) -> dict[str, Any]:
    """One `headrace run` in a folder; its summary."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(json.dumps(settings(texts, names, replay)))  # JSON is YAML too
    return command(folder, "run", "-c", "run.yaml")


def told(folder: Path, name: str, checkpoints: tuple[str, str, str]) -> list[Row]:
    """How well each slice is predicted as the weights came, behind the old text and behind the fresh one."""
    settled = ("-c", "run.yaml", "--checkpoint")
    came, known, left = (command(folder, "evaluate", *settled, one)["slices"] for one in checkpoints)
    rows = []
    for part in sorted(left):
        bits = [slices[part]["bits_per_byte"] for slices in (came, known, left)]
        what = f"bits per byte of {left[part]['documents']} documents, {part}, {name}"
        rows.append(
            Row(
                what,
                "",
                [bits[2]],
                "before the changelogs",
                [bits[1]],
                [bits[2] / bits[1]],
                note=f"{bits[0]:.3f} as it came",
            )
        )
    asked = (PROMPT, "store=./lake", "--tokens", "40", "--temperature", "0", "--checkpoint")
    before, after = (command(folder, "generate", *asked, one) for one in (checkpoints[0], checkpoints[2]))
    said = f"{before['text']!r} before, {after['text']!r} after"
    return [*rows, Row(f"tokens said after a prompt, {name}", "", [after["tokens"]], note=f"{PROMPT!r}: {said}")]


def settings(texts: Path, names: list[str], replay: float) -> dict[str, Any]:
    """The run: 512 tokens a step, 30 % of the documents held out, no decay branch."""
    return {
        "name": "continued",
        "store": "./lake",
        "sources": {name: {"path": f"{texts}/{name}.jsonl", "time": "time"} for name in names},
        "held_out": 0.3,
        "model": {"from": str(smollm2()), "row_tokens": 128},
        "engine": {"batch_tokens": STEP_TOKENS, "micro_batch_rows": 4, "threads": 2, "hang_seconds": "1h"},
        "round": {"tokens": 8 * STEP_TOKENS, "replay_share": replay},
        "optim": {"lr": 2e-4, "schedule": {"kind": "constant", "warmup_tokens": 4 * STEP_TOKENS}},
        "evaluate": {"period": "year", "every_rounds": 1000},
        "checkpoint": {"every_seconds": "1h"},
        "wandb": {"mode": "disabled"},
    }


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of headrace in a folder; what it gives as JSON."""
    argv = [sys.executable, "-m", "ray_jobs", *arguments, "--json"]
    done = subprocess.run(argv, cwd=folder, env={**os.environ}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"headrace {arguments[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
