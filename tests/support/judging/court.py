"""How does a test ask the real gate and registry, with models that are only figures?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.blocks import GateConfig
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.judged_text import NOTHING
from ray_jobs.registry import judge as judging
from ray_jobs.registry.champion import Verdict
from ray_jobs.registry.judge import Candidate, judge_and_promote
from tests.support.checkpoints import commit_at
from tests.support.lakes import add_window, make_documents


@dataclass
class Court:
    """A store whose windows hold held-out text, and models that pay 1.8 bits a byte and their own change of it.

    change: by model, more bits per byte on fresh text and on old text (what arrived before `seen` of that model).
    """

    store: Store
    patched: pytest.MonkeyPatch
    config: Config
    change: dict[str | None, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    until: dict[str, Frontier] = field(default_factory=dict)
    scored: list[str | None] = field(default_factory=list)

    @staticmethod
    def open(store: Store, patched: pytest.MonkeyPatch) -> "Court":
        """Begin with a lake that is empty, and a gate that needs no long history."""
        Lake(store).create()
        court = Court(store, patched, Config(store=store.uri, name="news", gate=GateConfig()))
        patched.setattr(judging, "scores_of", court.scores)
        patched.setattr(judging, "given_until", lambda lake, commit: court.until[commit.name] if commit else NOTHING)
        patched.setattr(judging, "weights_of", lambda store, commit: sha256(commit.name.encode()).hexdigest())
        return court

    def arrive(self, documents: int = 300) -> int:
        """Take in a window of held-out documents; returns its number."""
        lake = Lake(self.store)
        number = lake.last_window() + 1
        add_window(lake, make_documents(number, ["held_out"] * documents, 1000 * number))
        return number

    def train(self, run: str, step: int, bits: float | Callable[[np.ndarray], np.ndarray]) -> commits.Commit:
        """Commit a model that has seen all there is; bits: what it pays more than 1.8, as a function of the windows."""
        done = commit_at(run, step, 0, step)
        assert commits.publish(self.store, done)
        self.until[done.name] = Frontier.through(Lake(self.store).last_window())
        self.change[done.name] = bits if callable(bits) else lambda windows: np.full(len(windows), bits)
        return done

    def ask(self, *candidates: commits.Commit, config: Config | None = None) -> Verdict:
        """Let the gate judge them."""
        asking = [Candidate(one, {"weights_sha256": sha256(one.name.encode()).hexdigest()}) for one in candidates]
        return judge_and_promote(config or self.config, "{}", asking)

    def scores(
        self, config: Config, tokenizer_json: str, name: str | None, last_window: int, only: pa.Array
    ) -> pa.Table:
        """Figures of a model on the documents that are asked for, with noise of its own."""
        self.scored.append(name)
        lake = Lake(self.store)
        table = lake.documents(0, last_window, ["id", "source", "event_time", "window", "num_bytes"], ["held_out"])
        table = table.filter(pc.is_in(table["id"], only)).sort_by("id")
        rng = np.random.default_rng(list(str(name).encode()))
        more = self.change[name](table["window"].to_numpy()) if name else np.full(table.num_rows, 6.0)
        bits = 1.8 + more + rng.normal(0, 0.02, table.num_rows)
        names = pc.binary_join_element_wise(table["source"], pc.strftime(table["event_time"], format="%Y-%m"), "/")
        nats = bits * table["num_bytes"].to_numpy() * math.log(2)
        return pa.table({"id": table["id"], "slice": names, "num_bytes": table["num_bytes"], "nats": nats})
