"""How does one seed become a judged run, and many seeds a result?

Plan -> undisturbed twin (shared by plans of the same corpus and settings) -> disturbed life -> checker and comparison.
"""

import json
import shutil
import subprocess
import tempfile
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.chaos import faults
from tests.chaos.bucket import Bucket
from tests.chaos.checker.comparison import compare
from tests.chaos.checker.history import Verdict, check, read_history
from tests.chaos.checker.recovery import recoveries
from tests.chaos.life import RUN, Life
from tests.chaos.schedule import POISONS, SETTINGS, Plan, plan
from tests.support.runs import ROOT, STARTED

SEED, HELD_OUT, MIN_CHARS = 7, 0.1, 20  # as the recipe has them
SAME = ("weights_sha256", "sample_fingerprint", "steps", "rounds", "tokens", "documents")  # of summary.json


class Campaign:
    """Runs of several seeds in one folder; what failed is left there to be looked at."""

    def __init__(self, folder: Path, told: Callable[[str], None]) -> None:
        self.folder, self.told = folder, told
        self.lock = threading.Lock()
        self.mounted: set[Path] = set()
        self.twins: dict[str, tuple[threading.Lock, list[Life]]] = {}

    def run(self, seeds: list[int], faults_per_run: int, parallel: int, hang: bool) -> Any:
        """Yield the result of every seed as it comes."""
        with ThreadPoolExecutor(parallel) as pool:
            jobs = [pool.submit(self.one, plan(seed, faults_per_run, hang)) for seed in seeds]
            yield from (job.result() for job in as_completed(jobs))

    def abandon(self) -> None:
        """End every command at once and take the disks away, for a campaign that is stopped from outside."""
        for command in STARTED:
            command.kill()
        for folder in self.mounted:
            faults.unmount(folder)

    def one(self, plan: Plan) -> dict[str, Any]:
        """Live through one plan and judge it."""
        folder = Path(tempfile.mkdtemp(prefix=f"seed-{plan.seed}-", dir=self.folder))
        wants_disk = any(fault.kind == "disk_full" for stage in plan.stages for fault in stage)
        if wants_disk and faults.mount(folder):
            self.mounted.add(folder)
        life = Life(folder, plan, faults.bring_about, bucket=Bucket(plan.seed) if plan.bucket else None)
        try:
            result = self._judge(life)
        except Exception as error:  # the other seeds still have to be run
            (folder / "failure.txt").write_text(traceback.format_exc())
            result = _result(life, Verdict(), [f"the machine itself failed: {error!r}"], [], 0.0)
        finally:
            if life.driver is not None and life.driver.poll() is None:
                life.driver.kill()
            if life.bucket is not None:
                life.bucket.close()
            if folder in self.mounted:
                self.mounted.remove(folder)
                shutil.copytree(folder / "lake", folder / "lake-kept", ignore=shutil.ignore_patterns("ballast"))
                faults.unmount(folder)
        self.told(_line(result))
        if result["ok"]:
            shutil.rmtree(folder)
        return result

    def _judge(self, life: Life) -> dict[str, Any]:
        plan = life.plan
        lived = life.run()
        if life.bucket is not None:
            life.bucket.copy(life.folder / "lake")
        twin = self._twin(life)
        same_bits = keeps_settings(plan)
        verdict, problems = Verdict(), ["given up"]
        if lived:
            history = read_history(life.folder / "lake", RUN)
            verdict = check(history, life.folder / "corpus", SEED, HELD_OUT, MIN_CHARS)
            other = read_history(twin.folder / "lake", RUN)
            problems = verdict.problems + compare(history, other, same_rounds=not plan.grows, same_bits=same_bits)
            problems += _audit(life, twin, same_bits=same_bits)
            skipped = history.checkpoints[-1]["state"]["position"]["skipped"] if history.checkpoints else []
            if len(skipped) > sum(fired.fault.kind in POISONS for fired in life.fired):
                problems.append(f"steps {skipped} were skipped, more than were poisoned")
        found = recoveries(life)
        problems += [f"{e['steps_lost']} steps were lost at a SIGTERM" for e in found if _lost_at_sigterm(e)]
        problems += life.interventions + life.leftovers
        result = _result(life, verdict, problems, found, twin.seconds)
        record = {**result, "sightings": life.sightings, "summaries": life.summaries}
        (life.folder / "result.json").write_text(json.dumps(record, indent=1))
        return result

    def _twin(self, life: Life) -> Life:
        """The undisturbed run of the same pieces of corpus; made once."""
        plan, pieces = life.plan, life.pieces[: len(life.plan.stages)]
        settings = plan.settings if keeps_settings(plan) else SETTINGS[:1]
        quiet = replace(plan, stages=tuple(() for _ in plan.stages), settings=settings[:1], grows=False, bucket=False)
        with self.lock:
            lock, made = self.twins.setdefault(f"{plan.corpus} {pieces} {settings}", (threading.Lock(), []))
        with lock:
            if not made:
                folder = Path(tempfile.mkdtemp(prefix="twin-", dir=self.folder))
                twin = Life(folder, quiet, faults.bring_about, pieces=[list(sizes) for sizes in pieces])
                if not twin.run() or twin.interventions:
                    raise RuntimeError(f"the undisturbed run in {folder} did not end well")
                made.append(twin)
        return made[0]


def keeps_settings(plan: Plan) -> bool:
    """Must its weights be those of the twin to the bit?"""
    return len(set(plan.settings)) == 1 and not plan.grows


def _result(
    life: Life, verdict: Verdict, problems: list[str], found: list[dict[str, Any]], twin_seconds: float
) -> dict[str, Any]:
    """A run's line of the result."""
    plan, same_bits = life.plan, keeps_settings(life.plan)
    ok = verdict.ok and not problems
    return {
        "seed": plan.seed,
        "sort": "grows" if plan.grows else "same" if same_bits else "elastic",
        "settings": " ".join(f"{s.workers}w/z{s.zero_stage}" for s in plan.settings),
        "ok": ok,
        "lost": verdict.lost,
        "repeated": verdict.repeated,
        "states": dict(verdict.states),
        "problems": problems,
        "same_bits": same_bits,
        "recoveries": found,
        "life": life.to_dict(),
        "twin_seconds": round(twin_seconds, 1),
        "folder": "" if ok else str(life.folder),  # of a run that passed nothing is kept
        "code": _code(),
    }


def _code() -> str:
    """Which commit was played; a campaign may go on after a mend."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _audit(life: Life, twin: Life, *, same_bits: bool) -> list[str]:
    """What the run itself said, against what a user is promised."""
    found = [f"exit {s['code']} lost {s['lost']} repeated {s['repeated']}" for s in life.summaries if _wrong(s)]
    ends = [(at, code) for at, what, code in life.sightings if what == "exit"]
    for fired in life.fired:
        if fired.done and fired.fault.kind == "sigterm":
            code = next(code for at, code in ends if at > fired.at - 1)
            found += [f"a SIGTERM ended with {code}, not 143"] if code not in (143, 0) else []  # 0: it was just done
    if same_bits:
        mine, others = life.summaries[-1], twin.summaries[-1]
        found += [f"{k} is {mine.get(k)}, the twin's {others.get(k)}" for k in SAME if mine.get(k) != others.get(k)]
    return found


def _wrong(summary: dict[str, Any]) -> bool:
    return bool(summary.get("lost") or summary.get("repeated"))


def _lost_at_sigterm(entry: dict[str, Any]) -> bool:
    """A branch is trained whole or not at all; the steps of the main line are what a SIGTERM must not lose."""
    return entry["kind"] == "sigterm" and entry["steps_lost"] > 0 and not entry["branch"]


def _line(result: dict[str, Any]) -> str:
    done = [entry["kind"] for entry in result["recoveries"]]
    said = "ok" if result["ok"] else "FAILED: " + "; ".join(result["problems"])[:300] + f" ({result['folder']})"
    return (
        f"seed {result['seed']:>4} {result['sort']:<8} {len(done):>3} faults in {result['life']['seconds']:.0f} s "
        f"({result['twin_seconds']:.0f} s undisturbed), {result['life']['starts']} starts: {said}"
    )
