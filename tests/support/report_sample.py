# ruff: noqa: E501
"""What would a run of three weeks look like? Seeded sample data for the report, of any size."""

import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pyarrow as pa

from data_ops.survey.drift import latest_change
from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation.gate import Terms, decide
from ray_jobs.evaluation.tasks.held_out_bits import bits_of
from ray_jobs.report.charts.timeline import Moment
from ray_jobs.report.data import ReportData
from ray_jobs.report.losses import ChangeFigures, StageFigures

START = 1_767_600_000.0
SAMPLES = [
    ("wire/2026-01-07.jsonl:18204", "not JSON: expected ',' at byte 311", '{"body": "Minister sagt \\"ja", "published_at'),
    ("wire/2026-01-07.jsonl:18377", "field body is missing", '{"title": "Überblick", "published_at": "2026-01-07T09:12:00Z"}'),
    ("help/part-0003.parquet:9001", "text is not valid UTF-8", "caf\\xe9 machine broken since Monday"),
    ("wire/2026-01-09.jsonl:4", "record is larger than 16 MiB", "<script>alert('x')</script><img src=x onerror=alert(1)>"),
]  # fmt: skip


def sample(seed=0, rounds=17, steps_per_round=76, periods=6, sources=("wire", "help"), windows=41):
    """Return a ReportData whose shapes (forgetting, faults, spikes) are those of a real run."""
    rng = np.random.default_rng(seed)
    names = [f"{s}/2026-{p + 1:02d}" if p < 12 else f"{s}/2027-{p - 11:02d}" for s in sources for p in range(periods)]
    decision = gate_decision(rng, names, {n for n in names if n.endswith(names[-1].partition("/")[2])})
    metrics = steps(rng, rounds, steps_per_round)
    done = [window(rng, i) for i in range(windows)]
    dropped = {r: sum(w["dropped"][r] for w in done) for r in done[0]["dropped"]}
    counts = {k: sum(w[k] for w in done) for k in ("read", "held_out", "quarantined", "kept")}
    counts |= {"dropped": dropped, "pending": 2207, "shed": 0}
    counts["trained"] = counts["kept"] - counts["pending"]
    fresh = np.sort(rng.lognormal(3.1, 0.5, 4000)).round(2).tolist()
    return ReportData(
        summary={
            "steps": len(metrics), "rounds": rounds, "tokens": metrics[-1]["tokens"], "documents": counts, "lost": 0, "repeated": 0,
            "loss": {"first": metrics[0]["loss"], "last": metrics[-1]["loss"]}, "workers": 8, "zero_stage": 2,
            "tokens_per_second": 411_900, "data_wait_share": 0.0021, "freshness_s": {"p50": fresh[2000], "p95": fresh[3800]},
            "sample_fingerprint": "9f1c2b7e4aa0d3c55d10", "weights_sha256": "0d5c" * 16, "checkpoint": f"checkpoints/step-{len(metrics):08d}",
            "promoted": decision.promoted, "reasons": decision.reasons,
        },
        config={
            "name": "news", "store": "s3://acme/lake", "seed": 0, "sources": {
                "wire": {"kind": "files", "path": "s3://acme/wire/**/*.jsonl.zst", "text": "body", "time": "published_at"},
                "help": {"kind": "files", "path": "/mnt/tickets/*.parquet", "text": "text", "time": "created", "weight": 0.3}},
            "tokenizer": {"kind": "bpe", "vocabulary": 32000}, "reservoir": {"capacity": 5_000_000, "half_life": "30d"},
            "round": {"tokens": 50_000_000, "replay_share": 0.25, "starved": "stop", "max_seconds": None},
            "model": {"layers": 12, "width": 768, "heads": 12, "kv_heads": 4, "row_tokens": 2048},
            "engine": {"workers": [4, 8], "zero_stage": 2, "precision": "bf16", "batch_tokens": 524_288},
            "optim": {"lr": 3e-4, "schedule": {"kind": "infinite", "warmup": 0.01, "decay": 0.1}},
            "wandb": {"mode": "offline", "api_key": "hunter2-very-secret"}, "gate": {"old_margin": 0.01, "confidence": 0.95},
        },
        metrics=metrics,
        evaluations=evaluations(rng, names, sources, periods, rounds, steps_per_round),
        decision=decision.to_dict(),
        ages=ages(rng, sources),
        windows=done,
        quarantine=[{"place": p, "reason": r, "sample": s} for p, r, s in SAMPLES],
        losses=losses(done),
        freshness_s=fresh,
        events=events(rng, len(metrics)),
        versions={"headrace": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0", "deepspeed": "0.19.8", "cuda": None},
    )  # fmt: skip


def losses(windows):
    """What each rule took out of one source, window by window."""
    found, left = [], sum(w["read"] for w in windows)
    for reason in windows[0]["dropped"]:
        lost = [w["dropped"][reason] for w in windows]
        change = latest_change(lost, [w["read"] for w in windows])
        shares = [n / w["read"] for n, w in zip(lost, windows, strict=True)]
        told = change and ChangeFigures(**asdict(change), is_change=change.is_change)
        found.append(
            StageFigures(
                "wire", reason, "so it is", "dropped", left, left * 900, sum(lost), sum(lost) * 300, shares, told
            )
        )
        left -= sum(lost)
    return found


def steps(rng, rounds, each):
    n = rounds * each
    step = np.arange(1, n + 1)
    loss = 2.85 + 7.4 * np.exp(-step / 60) + 1.1 * np.exp(-step / 420) + rng.normal(0, 0.035, n)
    loss[step % each < 5] += 0.09
    loss[min(n - 1, n * 2 // 3)] += 0.6
    lr = 3e-4 * np.minimum(1, step / max(n // 50, 1)) * np.where(step > 0.9 * n, (n - step + 1) / (0.1 * n + 1), 1)
    speed = rng.normal(412_000, 6000, n) * np.where((step > n // 3) & (step < n // 3 + n // 12), 0.51, 1)
    wait = np.abs(rng.normal(0.001, 0.001, n)) + (rng.random(n) < 0.01) * 0.03
    return [
        {
            "step": int(s), "round": int((s - 1) // each) + 1, "tokens": int(s) * 524_288, "loss": float(loss[s - 1]), "learning_rate": float(lr[s - 1]),
            "tokens_per_second": float(speed[s - 1]), "data_wait_share": float(wait[s - 1]), "grad_norm": float(rng.lognormal(-0.5, 0.2)), "time": START + 1.3 * int(s),
        }
        for s in step
    ]  # fmt: skip


def evaluations(rng, names, sources, periods, rounds, each):
    """Each round learns the period it is fed, and forgets the others a little; replay mends it."""
    found = []
    for r in range(rounds + 1):
        now = r / max(rounds, 1) * periods
        slices = {}
        for name in names:
            source, _, period = name.partition("/")
            p = (int(period[:4]) - 2026) * 12 + int(period[5:]) - 1
            base = 0.92 + 0.16 * sources.index(source) + 0.01 * ((p * 7) % 5)
            gap = 0.05 / (1 + math.exp(3 * (now - p))) + 0.004 * max(0, now - p - 1) ** 0.7
            bits = 4.3 + 0.1 * rng.random() if r == 0 else base + gap + 0.5 * math.exp(-r / 1.3) + rng.normal(0, 0.001)
            slices[name] = {"bits_per_byte": float(bits), "documents": 240, "bytes": 410_000}
        found.append({"step": r * each, "round": r, "slices": slices})
    return found


def gate_decision(rng, names, fresh, documents=400):
    documents = documents if len(names) < 30 else 60
    slices = np.repeat(names, documents)
    num_bytes = rng.lognormal(7, 0.7, len(slices)).astype(int) + 50
    before = rng.normal(1.0, 0.15, len(slices))
    shift = np.array([-0.041 if name in fresh else rng.normal(0, 0) - 0.0002 for name in slices])
    after = before + shift + 0.012 * rng.standard_t(4, len(slices))
    ids = pa.array([rng.bytes(16) for _ in slices], pa.binary(16))
    columns = {"id": ids, "slice": pa.array(slices.tolist()), "num_bytes": pa.array(num_bytes)}
    tables = [pa.table({**columns, "nats": pa.array(x * num_bytes * math.log(2))}) for x in (after, before)]
    text = pa.table({"id": ids, "day": slices.tolist(), "fresh": [name in fresh for name in slices.tolist()]})
    return decide(*map(bits_of, tables), text, Terms(3, 1, "news/00000760"), GateConfig())


def ages(rng, sources):
    edges = [0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    mass = [2 ** (-a / 30) - 2 ** (-b / 30) for a, b in pairwise(edges)]
    replay = [int(41_000 * m * rng.normal(1, 0.03)) for m in mass]
    fresh = [5200, 4400, 5100, 2900, 1200, 300, 40, 5, 0, 0, 0]
    ideal = [41_000 * m for m in mass]
    shares = np.linspace(1, 0.35, len(sources)) / np.linspace(1, 0.35, len(sources)).sum()
    by_source = {
        s: {"fresh": int(sum(fresh) * q), "replay": int(sum(replay) * q)} for s, q in zip(sources, shares, strict=True)
    }
    return {"edges_days": edges, "fresh": fresh, "replay": replay, "ideal": {"half-life 30 d": ideal}, "sources": by_source}  # fmt: skip


def window(rng, i):
    dropped = {
        r: int(rng.poisson(n))
        for r, n in (
            ("short", 260),
            ("duplicate", 131),
            ("near_duplicate", 70),
            ("repetition", 24),
            ("language", 9),
        )
    }
    held, bad = int(rng.poisson(40)), int(rng.poisson(4))
    read = 4440
    return {"window": i, "read": read, "kept": read - sum(dropped.values()) - held - bad, "dropped": dropped, "held_out": held, "quarantined": bad, "seconds": float(rng.lognormal(0.5, 0.2))}  # fmt: skip


def events(rng, n):
    end = START + 1.3 * n
    marks = [Moment(START, "start", "8 workers on 1 node, ZeRO-2 bf16")]
    marks += [Moment(t, "checkpoint", "2.1 GB, stall 0.2 s") for t in np.linspace(START + 60, end, 28).tolist()]
    third = START + 1.3 * n / 3
    marks += [
        Moment(third, "fault", "worker 3 lost (SIGKILL), 21 steps redone"),
        Moment(third + 24, "resume", "from step 420 on 4 workers"),
        Moment(third + 140, "resume", "grown to 8 workers"),
        Moment(START + 1.3 * n * 2 / 3, "skip", "step 861 skipped: gradient norm 41"),
        Moment(end, "promote", f"checkpoint {n:,} (was 940)"),
    ]
    return marks
