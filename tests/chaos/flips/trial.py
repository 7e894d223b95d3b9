"""What becomes of one flipped bit?

`noticed`: something that is used refuses it by name; `found`: use does not need it, `verify --deep` names it;
`harmless`: everything that is read is as before; `derived`: only what is written anew, or for people, is different;
`silent`: something is read otherwise, and nobody says so.
"""

import faulthandler
import logging
import resource
from pathlib import Path
from typing import Literal

import msgspec

from cluster.storage.store import Store
from ray_jobs.registry.damage import damage_of_store
from tests.chaos.flips.readings import DERIVED, Reading, read_all

Outcome = Literal["noticed", "found", "harmless", "derived", "silent", "nameless", "crash"]


MOST_BYTES = 24 << 30  # of address space: a length that was flipped may ask for any amount
TRIAL_SECONDS = 900.0  # a trial takes one; a machine that is very busy may need minutes


class Trial(msgspec.Struct):
    """A bit of a file, and what became of it."""

    kind: str
    path: str
    byte: int
    bit: int
    outcome: Outcome = "crash"
    told: list[str] = []
    changed: list[str] = []


def try_flip(folder: Path, trial: Trial, before: dict[str, Reading]) -> Trial:
    """Flip the bit, read everything, put the file back.

    A reader that never ends on such bytes shows the place of every thread, and the process leaves.
    """
    place = folder / "lake" / trial.path
    data = place.read_bytes()
    flipped = bytearray(data)
    flipped[trial.byte] ^= 1 << trial.bit
    place.write_bytes(flipped)
    faulthandler.dump_traceback_later(TRIAL_SECONDS, exit=True)
    try:
        now = read_all(folder)
        deep = damage_of_store(Store.open(f"{folder}/lake"), folder)
    finally:
        faulthandler.cancel_dump_traceback_later()
        place.write_bytes(data)
    trial.told = [reading.error for name, reading in now.items() if reading.error] + deep
    trial.changed = [name for name, reading in now.items() if reading.digest and reading.digest != before[name].digest]
    trial.outcome = judge(trial, now, deep)
    return trial


def judge(trial: Trial, now: dict[str, Reading], deep: list[str]) -> Outcome:
    """Name the outcome; what is told must name the table or the file it is about."""
    refused = [name for name, reading in now.items() if reading.error]
    changed = set(trial.changed) - DERIVED
    if changed and not deep:
        return "silent"
    if refused or deep:
        first, *rest = trial.path.split("/")
        names = (trial.path, rest[0] if first == "runs" else first, trial.path.rpartition("/")[2])
        if not any(name in sentence for sentence in trial.told for name in names):
            return "nameless"
    if set(refused) - DERIVED:
        return "noticed"
    if deep:
        return "found"
    return "derived" if trial.changed or refused else "harmless"


def bound() -> None:
    """Let the process of the trials neither fill the memory nor the screen."""
    logging.disable(logging.WARNING)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.RLIM_INFINITY))
