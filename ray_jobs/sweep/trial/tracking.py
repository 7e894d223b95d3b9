"""What does W&B see of one trial of a sweep? Its curve of the training loss, and its verdicts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from cluster.storage.store import Store
from cluster.telemetry.wandb_run import open_wandb
from ray_jobs.config.schema import Config
from ray_jobs.store.paths import run_path
from ray_jobs.sweep.trial.job import MarkVerdict, Segment, SweepJob
from ray_jobs.sweep.trial.score import thinned


class Tracking:
    """A trial in W&B, in the group of its sweep; nothing is sent where `wandb.mode` says so."""

    def __init__(self, job: SweepJob, segment: Segment, config: Config, store: Store) -> None:
        mark = hashlib.sha256(job.store.encode()).hexdigest()[:6]  # tells sweeps of one name in two stores apart
        name = f"{job.run}-{segment.key}-{mark}".replace("@", "-")
        group = config.wandb.model_copy(update={"group": config.wandb.group or job.run})
        settings = {**config.model_dump(mode="json"), "trial": asdict(segment) | {"config": None}}
        folder = store.local_path(run_path(job.run, "wandb"))
        self.batch_tokens = config.engine.batch_tokens
        self.shown = 0  # points of the curve since the last verdict that W&B has
        self.run = open_wandb(group, name, segment.key, settings, folder)

    def log_curve(self, curve: Sequence[tuple[int, float]]) -> None:
        """Send the training loss since the last look. curve: (tokens, loss) since the last verdict."""
        if self.run is not None:
            for tokens, loss in thinned(curve[self.shown :]):
                self.run.log({"step": tokens // self.batch_tokens, "tokens": tokens, "loss": loss})
        self.shown = len(curve)

    def log_verdict(self, verdict: MarkVerdict) -> None:
        """Send a verdict; the curve begins anew behind it."""
        self.shown = 0
        if self.run is None:
            return
        bits = {"score": verdict["score"], "fresh": verdict["fresh"], "old": verdict["old"]}
        shown = {"tokens": verdict["tokens"], **{name: value for name, value in bits.items() if value is not None}}
        slices = {f"bits_per_byte/{name}": value for name, value in verdict["slices"].items()}
        self.run.log({"step": verdict["trained"] // self.batch_tokens, **shown, **slices})

    def close(self, conclusion: Mapping[str, int] | None) -> None:
        """Let the run go; without a conclusion W&B shows it as failed."""
        if self.run is not None:
            if conclusion is not None:
                self.run.conclude(conclusion)
            self.run.close()
