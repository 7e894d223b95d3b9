"""What becomes of a real pretrained model that is continued on a few thousand tokens of dated text on this machine?

`headrace run` with the weights of `smollm2.py` and the text of `dated_text.py`: held-out bits per byte of the weights
as they came and after, by source and year, and what both say after the same prompt.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.models.dated_text import write_corpus
from benchmarks.models.smollm2 import smollm2
from benchmarks.root import ROOT
from benchmarks.rows import Row

PROMPT = "bash (5.2.37-2) unstable; urgency=medium\n\n  *"
STEP_TOKENS = 512


def measure(quick: bool) -> list[Row]:
    """Continue the model and compare it with itself."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as scratch:
        folder = Path(scratch)
        write_corpus(folder / "texts", *((12, 6) if quick else (28, 10)))
        (folder / "run.yaml").write_text(json.dumps(settings(folder)))  # JSON is YAML too
        summary = command("run", "-c", f"{folder}/run.yaml")
        (base,) = (path.parts[-3] for path in folder.glob("lake/runs/base@*/checkpoints/00000000.json"))
        names = (f"{base}/0", summary["checkpoint"])
        settled = ("-c", f"{folder}/run.yaml", "--checkpoint")
        came, left = (command("evaluate", *settled, name)["slices"] for name in names)
        asked = (PROMPT, f"store={folder}/lake", "--tokens", "40", "--temperature", "0", "--checkpoint")
        before, after = (command("generate", *asked, name) for name in names)
    rows = [compared(name, came[name], left[name]) for name in sorted(left)]
    loss, told = summary["loss"], f"{summary['steps']} steps; {summary['reasons'][0]}"
    rows.append(Row("tokens trained", "", [summary["tokens"]], note=told))
    rows.append(Row("loss of the last step", "nats", [loss["last"]], "first step", [loss["first"]]))
    said = f"{before['text']!r} before, {after['text']!r} after"
    return [*rows, Row("tokens said after a prompt", "", [after["tokens"]], note=f"{PROMPT!r}: {said}")]


def settings(folder: Path) -> dict[str, Any]:
    """The run: 512 tokens a step, 30 % of the documents held out, no decay branch."""
    sources = {name: {"path": f"{folder}/texts/{name}.jsonl", "time": "time"} for name in ("changes", "prose")}
    return {
        "name": "continued",
        "store": f"{folder}/lake",
        "sources": sources,
        "held_out": 0.3,
        "model": {"from": str(smollm2()), "row_tokens": 128},
        "engine": {"batch_tokens": STEP_TOKENS, "micro_batch_rows": 4, "threads": 2, "hang_seconds": "1h"},
        "round": {"tokens": 32 * STEP_TOKENS, "replay_share": 0},
        "optim": {"lr": 5e-5, "schedule": {"kind": "constant", "warmup_tokens": 4 * STEP_TOKENS}},
        "evaluate": {"period": "year", "every_rounds": 1000},
        "checkpoint": {"every_seconds": "1h"},
        "wandb": {"mode": "disabled"},
    }


def command(*arguments: str) -> dict[str, Any]:
    """Run a command of headrace; what it gives as JSON."""
    argv = [sys.executable, "-m", "ray_jobs", *arguments, "--json"]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"headrace {arguments[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compared(name: str, came: dict[str, float], left: dict[str, float]) -> Row:
    """A slice's held-out bits per byte, after and before."""
    before, after = came["bits_per_byte"], left["bits_per_byte"]
    what = f"bits per byte of {left['documents']} documents, {name}"
    return Row(what, "", [after], "as it came", [before], [after / before])
