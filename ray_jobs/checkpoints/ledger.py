"""What does a checkpoint note in the lake's ledger, and how far had the run come?"""

import json

import msgspec

from data_ops.audit.account import read_stand
from data_ops.lake.lake import Lake
from data_ops.lake.sealed_rows import LedgerEntry
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import state_to_json
from ray_jobs.store.lease import Lease


def note_stand(lake: Lake, done: commits.Commit, lease: Lease) -> None:
    """Note that the run stands at a checkpoint, unless that is what the ledger says."""
    if read_stand(lake, done.run).checkpoint != done.name:
        record(lake, done, lease)


def record(lake: Lake, done: commits.Commit, lease: Lease) -> None:
    """Note in the ledger, as the holder of `lease`, that a checkpoint counts; repeating it changes nothing.

    Whose note it is decides between two that crossed: see account.read_stand.
    """
    files = msgspec.to_builtins(done.files)
    entry: LedgerEntry = {
        "step": done.step,
        "round": done.round,
        "step_in_round": done.step_in_round,
        "checkpoint": done.name,
        "state": json.dumps({**state_to_json(done.state), "files": files, "noted_by": lease.number}),
    }
    lake.add_ledger(done.run, entry)
