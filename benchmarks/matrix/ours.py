"""Does Headrace train the same global batches and weights, whatever is killed, resized and grown?

Per corpus there is one store, in which every chain is a run of its own: ingest, curation, dedup, planner, reservoir,
worker, DeepSpeed, checkpoints, commits and ledger are the product's. All chains are started and killed; the sources
grow and are ingested once; all are resumed and killed; and so on. The undisturbed runs come last, on the grown
sources, so that the moment of growth must not matter either.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from benchmarks.matrix.beginning import Start, settings_of
from benchmarks.matrix.desk import live, use_forkserver
from benchmarks.matrix.protocol import RESUMES, WORLDS, Attempt, Corpus, Difference, compare, consumed
from benchmarks.matrix.rank import Job, name_of
from benchmarks.root import ROOT
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from data_ops.audit.account import account
from data_ops.documents.document import document_id
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import ingest
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.config.reading import check
from ray_jobs.config.schema import Config
from ray_jobs.ingest.opening import OpenStore, open_store
from ray_jobs.origin.shape import begun
from ray_jobs.origin.taking import take_in
from ray_jobs.store.lease import acquire
from ray_jobs.training.actors.commit_coordinator import Claim
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed, FeedSettings
from ray_jobs.training.group.training import feed_settings

AT_ONCE = 4  # chains that train side by side; much of an attempt is waiting for processes to start
KILLS = (13, 27, 41)  # global steps behind which an attempt is killed: in rounds 1, 3 and 5
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-4, 1e-3  # at another world size: order of additions, over all steps
SETTINGS: dict[str, Any] = {
    "seed": 7,
    "held_out": 0,
    "window": {"max_documents": 100},
    "tokenizer": {"kind": "bytes"},
    "reservoir": {"capacity": 80, "half_life": ["10d", "none"], "shards": 1},
    "round": {"tokens": 16384, "replay_share": 0.25},
    "model": {"layers": 1, "width": 32, "heads": 2, "row_tokens": 256},
    "engine": {"precision": "fp32", "batch_tokens": 2048, "micro_batch_rows": 4},
    # at 3e-3 two undisturbed runs drift apart by 0.03 from rounding alone; at 1e-3 they stay within 1e-5
    "optim": {"lr": 1e-3, "schedule": {"kind": "constant", "warmup_tokens": 4096}},
    "checkpoint": {"every_seconds": 0.2},
    "evaluate": {"every_rounds": 1_000_000},
}
RATES = {"lion": 1e-4}  # of signs, which rounding turns where a sum is near zero


@dataclass
class Chain:
    """One run: its world sizes, its ZeRO stage, and what its attempts have trained."""

    label: str
    stage: int
    worlds: tuple[int, ...]
    kills: tuple[int, ...]  # one less than worlds
    attempts: list[Attempt] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    trouble: str = ""

    @property
    def run(self) -> str:
        """Name of the run."""
        return f"{'-'.join(map(str, self.worlds))}-zero{self.stage}"


def measure(
    name: str,
    corpus: Corpus,
    cells: Sequence[tuple[str, int]],
    kills: tuple[int, ...] = KILLS,
    start: Start = Start.RANDOM,
    optimizer: str = "adamw",
) -> list[dict[str, Any]]:
    """Run the chains (label of WORLDS, ZeRO stage) of one corpus, killed behind these steps: a row for each."""
    use_forkserver(ROOT)
    chains = [Chain(label, stage, (WORLDS[label] * 2)[: len(kills) + 1], kills) for label, stage in cells]
    quiet = {stage: Chain("undisturbed", stage, (2,), ()) for stage in sorted({stage for _, stage in cells})}
    with tempfile.TemporaryDirectory(prefix="headrace-matrix-") as folder, connect(ClusterConfig()):
        bench = Bench(Path(folder), start, optimizer)
        for number, arrived in enumerate((corpus.first, *corpus.growth)):
            bench.grow(arrived)
            bench.attempts(chains, number)
        bench.attempts(list(quiet.values()), 0)
        check_undisturbed(bench, corpus, quiet)
        return [row(bench, name, corpus, chain, quiet[chain.stage]) for chain in chains]


class Bench:
    """A store that grows, and the runs in it."""

    def __init__(self, folder: Path, start: Start = Start.RANDOM, optimizer: str = "adamw") -> None:
        self.folder, self.start, self.last_window = folder, start, -1
        optim = SETTINGS["optim"] | {"kind": optimizer, "lr": RATES.get(optimizer, SETTINGS["optim"]["lr"])}
        self.settings = {**SETTINGS, "optim": optim}
        self.taking = Lock()
        self.opened: OpenStore | None = None

    def config(self, chain: Chain, world: int) -> Config:
        """The configuration of one attempt."""
        sources = {s: {"path": f"{self.folder}/{s}/*.jsonl", "text": "text", "time": "at"} for s in ("a", "b")}
        engine = {**SETTINGS["engine"], "workers": world, "zero_stage": chain.stage}
        own = {"name": chain.run, "store": f"{self.folder}/lake", "sources": sources, "engine": engine}
        return begun(check({**settings_of(self.start, self.folder, self.settings), **own}))

    def grow(self, arrived: Sequence[Any]) -> None:
        """Let text arrive, and take it in."""
        for delivery in arrived:
            delivery.append_to(self.folder)
        self.opened = self.opened or open_store(self.config(Chain("", 0, (1,), ()), 1))
        self.last_window = ingest(IngestContext(self.opened.lake, self.opened.settings), self.opened.tokenizer_json)

    def attempts(self, chains: Sequence[Chain], number: int) -> None:
        """Attempt `number` of every chain, some side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda chain: self.attempt(chain, number), chains))

    def attempt(self, chain: Chain, number: int) -> None:
        """Train as attempt `number` of a chain, until killed or done, and note what it trained."""
        if chain.trouble:
            return
        assert self.opened is not None
        world, hold_at = chain.worlds[number], (*chain.kills, 0)[number]
        config, opened, began = self.config(chain, world), self.opened, time.monotonic()
        notes = self.folder / "notes" / chain.run / str(number)
        notes.mkdir(parents=True)
        lease = acquire(opened.store, chain.run)
        feed = self.feed(feed_settings(config, opened.tokenizer), chain)
        feed.drained(self.last_window)
        coordinator = Coordinator(config.store, Claim(chain.run, lease, config.checkpoint.keep))
        opened.store.write(f"runs/{chain.run}/lease/{lease.number:08d}.beat", b"released")  # its driver dies with it
        with self.taking:
            base = take_in(opened.store, config, opened.tokenizer)
        job = Job(world, config.model_dump_json(), opened.tokenizer_json, base, "", notes, hold_at)
        try:
            live(feed, coordinator, job, hold_at)
            found, losses = read_notes(notes, world)
        except (RuntimeError, TimeoutError) as error:
            chain.trouble = f"attempt {number} at {world} workers: {error}"
            return
        finally:
            for shard in feed.shards:  # in a run they end with the actor that the feed is
                shard.kill()
        chain.attempts.append(found)
        chain.losses[found.start :] = losses
        sys.stderr.write(
            f"  {chain.run} attempt {number}: {world} workers from step {found.start}, "
            f"{len(found.batches)} steps, {time.monotonic() - began:.1f} s\n"
        )

    def feed(self, settings: FeedSettings, chain: Chain) -> Feed:
        """The feed of one attempt."""
        return Feed(settings)

    def weights(self, chain: Chain) -> dict[str, torch.Tensor]:
        """Final weights of a run."""
        assert self.opened is not None
        last = commits.latest(self.opened.store, chain.run)
        if last is None:
            raise ValueError(f"run {chain.run} has no checkpoint")
        return dict(full_weights(self.opened.store, last, self.folder))

    def manifests(self, chain: Chain) -> list[Manifest]:
        """What a run planned."""
        assert self.opened is not None
        rows = self.opened.lake.rounds(chain.run)
        return sorted((Manifest.from_row(rows, i) for i in range(rows.num_rows)), key=lambda m: m.round)


def read_notes(folder: Path, world: int) -> tuple[Attempt, list[float]]:
    """What the ranks of an attempt trained together, as far as all of them came; and the losses."""
    ranks = []
    for rank in range(world):
        lines = (folder / f"{rank}.jsonl").read_text().splitlines(keepends=True)
        ranks.append([json.loads(line) for line in lines if line.endswith("\n")])
    start = ranks[0][0]["start"]
    if any(notes[0]["start"] != start for notes in ranks) or any(n["skipped"] for r in ranks for n in r[1:]):
        raise RuntimeError(f"the ranks of {folder} started at different steps, or skipped one")
    steps = list(zip(*(notes[1:] for notes in ranks), strict=False))
    batches = tuple(tuple(piece for note in step for piece in note["pieces"]) for step in steps)
    return Attempt(start, batches), [step[0]["loss"] for step in steps]


def pieces_of(text: str, row_tokens: int, document_token: int) -> Iterator[str]:
    """Name the pieces of a document as the rows hold them: it is cut only where it is longer than a row."""
    labels = [*text.encode(), document_token]
    for start in range(0, len(labels), row_tokens):
        yield name_of(labels[start : start + row_tokens])


def check_undisturbed(bench: Bench, corpus: Corpus, quiet: dict[int, Chain]) -> None:
    """The undisturbed runs trained each text once and what was replayed besides, in the same batches at each stage."""
    assert bench.opened is not None
    token, row_tokens = bench.opened.tokenizer.document_token, SETTINGS["model"]["row_tokens"]
    texts = [text for delivery in corpus.deliveries for text in delivery.trained]
    by_id = {document_id(text): text for text in texts}
    for chain in quiet.values():
        if chain.trouble:
            raise RuntimeError(f"the undisturbed run failed: {chain.trouble}")
        replayed = [row["id"] for m in bench.manifests(chain) for row in m.replay.to_arrow()]
        planned = texts + [by_id[one] for one in replayed]
        expected = Counter(piece for text in planned for piece in pieces_of(text, row_tokens, token))
        trained = Counter(piece for batch in consumed(chain.attempts) for piece in batch)
        if trained != expected or consumed(chain.attempts) != consumed(next(iter(quiet.values())).attempts):
            raise RuntimeError(f"{chain.run} did not train each text once and the replayed ones besides, in order")


def row(bench: Bench, name: str, corpus: Corpus, chain: Chain, quiet: Chain) -> dict[str, Any]:
    """One line of the result: the three resumes, the weights and the ledger of a chain."""
    assert bench.opened is not None
    line: dict[str, Any] = {"corpus": name, "worlds": chain.label, "zero_stage": chain.stage, "run": chain.run}
    if chain.trouble:
        return {**line, "cells": dict.fromkeys(RESUMES, "failed"), "ok": False, "trouble": chain.trouble}
    token, row_tokens = bench.opened.tokenizer.document_token, SETTINGS["model"]["row_tokens"]
    grown = [text for arrived in corpus.growth for delivery in arrived for text in delivery.trained]
    appended = frozenset(piece for text in grown for piece in pieces_of(text, row_tokens, token))
    undisturbed = consumed(quiet.attempts)
    starts = [attempt.start for attempt in chain.attempts[1:]]
    differences: dict[str, Difference] = {}
    for number, resume in enumerate(RESUMES[: len(chain.kills)], start=1):
        end = (*starts, None)[number]  # the commit that the next resume starts from, or the end of the run
        got = consumed(chain.attempts[: number + 1])[:end]
        differences[resume] = compare(got, undisturbed[:end], appended)
    mine, theirs = bench.weights(chain), bench.weights(quiet)
    audit = account(bench.opened.lake, chain.run)
    apart = max(float((mine[k] - theirs[k]).abs().max()) for k in theirs)
    curve = max((abs(a - b) for a, b in zip(chain.losses, quiet.losses, strict=True)), default=0.0)
    same_world = set(chain.worlds) == set(quiet.worlds)
    near = apart == curve == 0 if same_world else apart <= WEIGHT_TOLERANCE and curve <= LOSS_TOLERANCE
    clean = not (audit.lost or audit.repeated or audit.problems or audit.pending)
    return {
        **line,
        "cells": {resume: str(found) for resume, found in differences.items()},
        "weights_apart": apart,
        "loss_apart": curve,
        "steps": len(undisturbed),
        "rounds": len(bench.manifests(chain)),
        "starts": starts,
        "discarded": [len(a.batches) + a.start - s for a, s in zip(chain.attempts, starts, strict=False)],
        "ledger": audit.to_dict(),
        "ok": all(found.exact for found in differences.values()) and near and clean,
    }
