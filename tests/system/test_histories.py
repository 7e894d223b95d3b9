"""Does the pure core keep its promise at every crash point, in any order of events?

Hypothesis drives ledger, rounds, reservoir and account over a real lake: the corpus grows, windows are taken in, rounds
are planned, steps trained, checkpoints committed, and at every point between two durable acts everything in memory may
be lost. At the end the run drains, and the checker of the breaking machine, which shares no code with the account, has
to agree with it; so has a run that was never disturbed, of the same windows.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.curation.config import CurateConfig
from data_ops.ingest.config import IngestSettings, WindowConfig
from data_ops.ingest.seen import Histories
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Shape
from data_ops.sources.kinds import FilesConfig
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import sha256_of
from ray_jobs.checkpoints.ledger import record
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.checkpoints.retention import retain
from ray_jobs.store.lease import Lease
from ray_jobs.store.paths import checkpoint_folder, run_path
from tests.chaos.checker.history import check, read_history
from tests.chaos.corpus import grow
from tests.support.checkpoints import commit_at
from tests.support.log_without_ray import Planner, plan_window, run_window

RUN, SEED, HELD_OUT = "r", 7, 0.2
LEASE = Lease(RUN, 0, "token", "here", 1, "", -1)
ROUNDS, SHAPE = RoundConfig(tokens=4096, replay_share=0.25), Shape(row_tokens=128, batch_rows=4)
INGEST_CRASHES = (None, None, "planned", "documents")  # after plan_window; after documents, before the commit
COMMIT_CRASHES = (None, None, "published")  # after the checkpoint, before the ledger


class Run(RuleBasedStateMachine):
    """One store and one run; what a crash loses is what `start` sets."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-test-"))
        self.pieces = 0
        self.crashes = 0

    @initialize(size=st.integers(5, 30))
    def begin(self, size):
        self.append(size)
        Lake(Store.open(str(self.folder / "lake"))).create()
        self.start()

    def start(self):
        """What every driver does first: find the last whole checkpoint and note where it stands."""
        corpus = self.folder / "corpus"
        self.store = Store.open(str(self.folder / "lake"))
        self.lake = Lake(self.store)
        self.seen = Histories(self.lake, CurateConfig().remembered)
        self.planner = Planner(self.lake, RUN, ROUNDS, SHAPE, SEED)
        sources = {
            "notes": FilesConfig(path=f"{corpus}/notes/*.jsonl", text="body", time="at"),
            "wire": FilesConfig(path=f"{corpus}/wire.jsonl", text="body", time="at"),
        }
        rules = CurateConfig(rules=("too_short",))
        self.settings = IngestSettings(sources, WindowConfig(max_documents=12), rules, SEED, HELD_OUT)
        found = commits.latest(self.store, RUN)
        self.position = (found.step, found.round, found.step_in_round) if found else (0, 0, 0)
        if found:
            record(self.lake, found, LEASE)
        elif self.lake.ledger(RUN).num_rows:
            entry = {"step": 0, "round": 0, "step_in_round": 0, "checkpoint": "", "state": "{}"}
            self.lake.add_ledger(RUN, entry)

    def crash(self):
        self.crashes += 1
        self.start()

    @rule(size=st.integers(1, 30))
    def append(self, size):
        grow(self.folder, 1, self.pieces, size)
        self.pieces += 1

    @rule(crash=st.sampled_from(INGEST_CRASHES))
    def ingest(self, crash):
        window = plan_window(self.lake, self.settings)
        if window is None:
            return
        if crash == "planned":
            self.crash()
            return
        done, rows = run_window(self.lake, self.settings, window, self.seen)
        if crash == "documents":
            self.lake._append("documents", "documents", window.window, rows.cast(STORED_DOCUMENT_SCHEMA))
            self.crash()
            return
        self.lake.commit_window(done, rows)

    @rule(steps=st.integers(1, 8), crash=st.booleans(), drained=st.booleans())
    def train(self, steps, crash, drained):
        """Some steps, over the ends of rounds; a crash comes right behind a manifest or in the middle of a round."""
        while steps > 0 and self.advance(drained):
            steps -= 1
        if crash:
            self.crash()

    def advance(self, drained):
        """One step; False if there is no round for it."""
        step, number, within = self.position
        manifest = self.planner.plan(number, drained, self.lake.add_round)
        if manifest is None:
            return False
        within += 1
        self.position = (step + 1, number + 1, 0) if within == manifest.steps else (step + 1, number, within)
        return True

    @precondition(lambda self: self.position[0] > 0)
    @rule(crash=st.sampled_from(COMMIT_CRASHES))
    def commit(self, crash):
        step, number, within = self.position
        path = f"{checkpoint_folder(RUN, step, str(self.crashes))}/rank-00000.safetensors"
        data = self.content()
        self.store.write(path, data)
        local = self.store.local_path(path)
        file = StoredFile(path, len(data), sha256_of(local))
        done = commit_at(RUN, step, number, within, (file,))
        published = commits.publish(self.store, done)
        if crash == "published":
            self.crash()
        elif published:
            record(self.lake, done, LEASE)
            retain(self.store, RUN, 2)

    def content(self):
        """What stands for weights and optimizer here."""
        return json.dumps(self.position).encode()

    @precondition(lambda self: commits.commits(self.store, RUN))
    @rule(torn=st.booleans())
    def damage(self, torn):
        """The machine goes down and takes the end of the last checkpoint, or of its manifest, with it."""
        last = commits.load(self.store, RUN, commits.commits(self.store, RUN)[-1])
        manifest = run_path(RUN, "checkpoints", f"{last.step:08d}.json")
        path = self.store.local_path(manifest if torn else last.files[0].path)
        path.write_bytes(path.read_bytes()[:-3])
        self.crash()

    @rule()
    def die(self):
        self.crash()

    @invariant()
    def nothing_is_lost_or_repeated(self):
        found = account(self.lake, RUN)
        assert found.ok, found

    def teardown(self):
        """Drain, undisturbed; then the checker looks at all of it."""
        try:
            if hasattr(self, "lake"):
                self.drain()
                corpus, kept = self.folder / "corpus", self.folder / "lake"
                (kept / f"runs/{RUN}").mkdir(parents=True, exist_ok=True)
                (kept / f"runs/{RUN}/metrics.jsonl").touch()
                if self.position[0]:
                    verdict = check(read_history(kept, RUN), corpus, SEED, HELD_OUT, 20)
                    assert verdict.ok, verdict
                    assert verdict.states["trained"] == account(self.lake, RUN).trained
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def drain(self):
        while (window := plan_window(self.lake, self.settings)) is not None:
            self.lake.commit_window(*run_window(self.lake, self.settings, window, self.seen))
        while self.advance(drained=True):
            pass
        if self.position[0]:
            self.commit(None)


Run.TestCase.settings = settings(max_examples=10, stateful_step_count=12)
test_no_order_of_events_and_crashes_loses_or_repeats_a_document = pytest.mark.slow(Run.TestCase)
