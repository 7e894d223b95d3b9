"""How fast does a model train on one GPU, and where does the time go? `python -m benchmarks.training.gpu [SHAPE ...]`.

The train step of the product (`models.engine.engine`: DeepSpeed ZeRO-1, bf16 with float32 accumulation, AdamW), without
Ray, on rows packed from documents of log-normal length. In turns within one process: the product's own (compiled), the
same without compiling, and rows that hold one document each, which is what published figures use. A profile of one step
says what the time is spent on. Results go to results/<date>-gpu.json and .md. Each shape has a process of its own; one
that runs out of memory is tried again with half the rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.root import RESULTS, ROOT
from cluster.rows import Rows
from data_ops.rounds.packing import fill, pack
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.engine.engine import Engine, start
from models.kinds.decoder import Decoder
from models.measures.metrics import peak_flops

VOCABULARY, DOCUMENT_TOKEN, ROW_TOKENS = 50_257, 50_256, 2048
MEDIAN_DOCUMENT, DEVIATION = 600, 1.0  # tokens; of its logarithm
OUT_OF_MEMORY = 3  # exit code of a child


class Shape(NamedTuple):
    """A model, its global batch in rows, and rows of a micro batch on 80 GB."""

    model: ModelConfig
    batch_rows: int
    micro_rows: int


def decoder(layers: int, width: int, heads: int) -> ModelConfig:
    """A Llama-like decoder in the proportions of GPT-3's table 2.1."""
    return ModelConfig(layers=layers, width=width, heads=heads, row_tokens=ROW_TOKENS)


SHAPES = {
    "125M": Shape(decoder(12, 768, 12), 128, 32),
    "350M": Shape(decoder(24, 1024, 16), 64, 16),
    "1.3B": Shape(decoder(24, 2048, 16), 32, 8),
    "3B": Shape(decoder(32, 2560, 20), 16, 4),
}
# What a kernel is for, by a part of its name; first match. The rest is "other elementwise".
KINDS = {
    "attention": ("flash", "fmha", "attention"),
    "matrix products": ("gemm", "nvjet", "cutlass", "xmma", "cublas", "splitk"),
    "optimizer": ("multi_tensor", "adam"),
    "compiled elementwise": ("triton",),
    "copies": ("memcpy", "memset", "copy"),
    "norm": ("norm",),
}


def main(arguments: list[str]) -> int:
    """Measure what is named, or all; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.gpu", description="Training speed of one GPU.")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"some of {', '.join(SHAPES)}; default all")
    parser.add_argument("--steps", type=int, default=5, help="steps of each repeat; the first is not counted")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument("--micro-rows", type=int, help=argparse.SUPPRESS)  # a child: measure one shape so
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.shapes if name not in SHAPES]:
        parser.error(f"{unknown[0]!r} is no shape; use some of {', '.join(SHAPES)}")
    if not torch.cuda.is_available():
        parser.error("there is no GPU here")
    if given.micro_rows:
        try:
            print(json.dumps(measure(SHAPES[given.shapes[0]], given.micro_rows, given.steps)))
        except torch.OutOfMemoryError as error:
            sys.stderr.write(f"{error}\n")
            return OUT_OF_MEMORY
        return 0
    return measure_all(given.shapes or list(SHAPES), given.steps, given.results)


def measure_all(names: list[str], steps: int, results: Path) -> int:
    """Measure each shape in a process of its own, write results as they come, print the table."""
    began = datetime.now(UTC)
    raw: dict[str, Any] = {"date": began.isoformat(timespec="seconds"), **circumstances(), "shapes": {}, "failed": {}}
    results.mkdir(parents=True, exist_ok=True)
    for name in names:
        sys.stderr.write(f"{name} ...\n")
        found = apart(name, steps)
        raw["failed" if isinstance(found, str) else "shapes"][name] = found
        (results / f"{began:%Y-%m-%d}-gpu.json").write_text(json.dumps(raw, indent=1) + "\n")
        (results / f"{began:%Y-%m-%d}-gpu.md").write_text(page(raw))
    print(page(raw))
    return int(bool(raw["failed"]))


def apart(name: str, steps: int) -> dict[str, Any] | str:
    """Measure one shape in another process, with as many rows as memory takes; a sentence if it failed."""
    micro_rows = SHAPES[name].micro_rows
    while micro_rows:
        argv = [
            sys.executable,
            "-m",
            "benchmarks.training.gpu",
            name,
            "--steps",
            str(steps),
            "--micro-rows",
            str(micro_rows),
        ]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found
        if done.returncode != OUT_OF_MEMORY:
            break
        sys.stderr.write(f"{name}: {micro_rows} rows do not fit\n")
        micro_rows //= 2
    sys.stderr.write(done.stderr[-3000:])
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def measure(shape: Shape, micro_rows: int, steps: int) -> dict[str, Any]:
    """One shape's figures: seconds of each step, in turns, and the profile of one."""
    config = EngineConfig(
        zero_stage=1, precision="bf16", batch_tokens=shape.batch_rows * ROW_TOKENS, micro_batch_rows=micro_rows
    )
    engine = start(shape.model, VOCABULARY, config, OptimConfig(), seed=1)
    random = np.random.default_rng(1)
    packed, whole = packed_rows(shape, random), whole_rows(shape, random)
    torch.cuda.reset_peak_memory_stats()
    found: dict[str, Any] = {"micro_rows": micro_rows, "accumulation": engine.accumulation, "seconds": {}}
    found["seconds"]["packed, compiled"] = seconds(engine, packed, steps)
    found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    found["seconds"]["one document a row, compiled"] = seconds(engine, whole, steps)
    found["profile"] = profile(engine, packed)
    torch.use_deterministic_algorithms(False)
    found["seconds"]["packed, compiled, additions in any order"] = seconds(engine, packed, steps)
    torch.use_deterministic_algorithms(True)
    with torch.compiler.set_stance("force_eager"):
        found["seconds"]["packed, not compiled"] = seconds(engine, packed, steps)
    found["parameters"] = Decoder().num_parameters(shape.model, VOCABULARY)
    found["batch_tokens"] = shape.batch_rows * ROW_TOKENS
    found["flops_per_token"] = Decoder().flops_per_token(shape.model, VOCABULARY)
    found["flops_needed_per_token"] = flops_needed(shape.model, packed)
    return found


def seconds(engine: Engine, rows: Rows, steps: int) -> list[float]:
    """Seconds of each step, the first left out."""
    times = []
    for _ in range(steps):
        torch.cuda.synchronize()
        began = time.perf_counter()
        result = engine.step(rows, int((rows.labels != -100).sum()), lr=1e-4)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        if result.skipped:
            raise AssertionError(f"the step was skipped at a loss of {result.loss:.3g}")
    return times[1:]


def packed_rows(shape: Shape, random: np.random.Generator) -> Rows:
    """A global batch of documents of log-normal length, packed as the product packs them."""
    wanted = shape.batch_rows * ROW_TOKENS
    drawn = random.lognormal(np.log(MEDIAN_DOCUMENT), DEVIATION, wanted // 100).astype(np.int64)
    lengths = np.clip(drawn, 1, 16 * ROW_TOKENS)
    lengths = lengths[: np.searchsorted(lengths.cumsum(), 2 * wanted)]
    tokens = random.integers(0, DOCUMENT_TOKEN, int(lengths.sum())).astype(np.int32)
    packing = pack(lengths + 1, ROW_TOKENS)
    offsets = np.concatenate([[0], lengths.cumsum()])
    rows = fill(packing, tokens, offsets, DOCUMENT_TOKEN, ROW_TOKENS)
    chosen = random.permutation(packing.num_rows)[: shape.batch_rows]
    return Rows(rows.inputs[chosen], rows.labels[chosen], rows.segments[chosen])


def whole_rows(shape: Shape, random: np.random.Generator) -> Rows:
    """A global batch of rows that are one document each."""
    tokens = random.integers(0, DOCUMENT_TOKEN, (shape.batch_rows, ROW_TOKENS + 1)).astype(np.int32)
    inputs, labels = tokens[:, :-1].copy(), tokens[:, 1:].copy()
    return Rows(inputs, labels, np.zeros_like(inputs))


def flops_needed(model: ModelConfig, rows: Rows) -> float:
    """FLOPs of a token if attention counts only what lies before it in its document, averaged over these rows."""
    matrices = Decoder().flops_per_token(model, VOCABULARY) - 12 * model.layers * model.width * model.row_tokens
    first = np.ones_like(rows.segments, dtype=bool)
    first[:, 1:] = rows.segments[:, 1:] != rows.segments[:, :-1]
    index = np.broadcast_to(np.arange(rows.segments.shape[1]), rows.segments.shape)
    seen = index - np.maximum.accumulate(np.where(first, index, 0), axis=1) + 1
    return matrices + 12 * model.layers * model.width * float(seen.mean())


def profile(engine: Engine, rows: Rows) -> dict[str, Any]:
    """Seconds of one step by kind of kernel, the time the GPU had nothing to do, and the longest kernels."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as recorded:
        torch.cuda.synchronize()
        began = time.perf_counter()
        engine.step(rows, int((rows.labels != -100).sum()), lr=1e-4)
        torch.cuda.synchronize()
        wall = time.perf_counter() - began
    kernels: Counter[str] = Counter()
    for event in recorded.key_averages():
        kernels[event.key] += event.self_device_time_total / 1e6
    kinds: Counter[str] = Counter()
    for name, spent in kernels.items():
        kinds[kind_of(name)] += spent
    busy = sum(kernels.values())
    return {
        "wall_s": wall,
        "kinds_s": {**dict(kinds.most_common()), "GPU idle": max(0.0, wall - busy)},
        "longest_kernels_s": {name[:120]: spent for name, spent in kernels.most_common(12)},
    }


def kind_of(kernel: str) -> str:
    """What a kernel is for."""
    lowered = kernel.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in lowered for part in parts)), "other elementwise")


def circumstances() -> dict[str, Any]:
    """The device, its ceiling in matrix products, and versions."""
    one, two = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        one @ two
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(20):
        one @ two
    end.record()
    torch.cuda.synchronize()
    matmul = 20 * 2 * 8192**3 / (begin.elapsed_time(end) / 1000)
    import deepspeed

    name = torch.cuda.get_device_name()
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "deepspeed": deepspeed.__version__}
    return {"device": name, "peak_flops": peak_flops(name), "matmul_flops": matmul, "versions": versions}


def page(raw: dict[str, Any]) -> str:
    """The results as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in raw["versions"].items())
    lines = [
        f"# Training on one GPU, {raw['date'][:10]}",
        "",
        f"{raw['device']}, {versions}. A product of two 8192 x 8192 bf16 matrices runs at "
        f"{raw['matmul_flops'] / 1e12:.0f} TFLOP/s here, {raw['matmul_flops'] / raw['peak_flops']:.0%} of the data "
        f"sheet's {raw['peak_flops'] / 1e12:.0f}. Rows of {ROW_TOKENS} tokens, a vocabulary of {VOCABULARY:,}, ZeRO-1, "
        "bf16 with float32 accumulation, no recomputation. *MFU* counts as LLM Foundry does: attention over the whole "
        "row, causal half included. *MFU needed* counts only what lies before a token in its document. Median "
        "[smallest..largest] of the steps. `python -m benchmarks.training.gpu`",
        "",
        "| model | rows | micro batch | tokens/s | MFU | MFU needed | peak memory |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in raw["shapes"].items():
        for variant, times in found["seconds"].items():
            speeds = sorted(found["batch_tokens"] / spent for spent in times)
            speed = statistics.median(speeds)
            shares = [speed * found[key] / raw["peak_flops"] for key in ("flops_per_token", "flops_needed_per_token")]
            needed = f"{shares[1]:.1%}" if variant.startswith("packed") else ""
            memory = f"{found['peak_memory_gb']:.1f} GB" if variant == "packed, compiled" else ""
            lines.append(
                f"| {name} | {variant} | {found['micro_rows']} | {speed:,.0f} [{speeds[0]:,.0f}..{speeds[-1]:,.0f}] "
                f"| {shares[0]:.1%} | {needed} | {memory} |"
            )
    kinds = list(dict.fromkeys(kind for found in raw["shapes"].values() for kind in found["profile"]["kinds_s"]))
    lines += ["", "Where a step's time goes (packed, compiled; one step under the profiler):", ""]
    lines += ["| model | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    for name, found in raw["shapes"].items():
        shares = [found["profile"]["kinds_s"].get(kind, 0.0) / found["profile"]["wall_s"] for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    lines += [f"\n**{name} failed:** {said}" for name, said in raw["failed"].items()]
    lines += [f"\n{note}" for note in raw.get("notes", ())]  # of who put figures of several calls together
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
