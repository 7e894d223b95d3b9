"""`python -m tests.nodes [SCENE…]`: four raylets on two machines, cut, drained, killed, joined; write what was seen.

Needs root and `ip` (iproute2) for the network namespaces. The result goes to benchmarks/results/<date>-nodes.{json,md};
scenes that are not played now keep their last result of that day. Exit code 1 if one failed.
"""

import argparse
import fcntl
import json
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.__main__ import machine
from tests.chaos.life import RUN
from tests.nodes import network
from tests.nodes.playing import judged, play, undisturbed
from tests.nodes.result import page
from tests.nodes.scenes import SCENES
from tests.support.runs import ROOT

LOCK = Path(tempfile.gettempdir()) / "headrace-nodes.lock"


def main(arguments: list[str]) -> int:
    """Play the scenes; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.nodes", description="Runs over nodes that come and go.")
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(SCENES)}; all by default")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results", help="where the result goes")
    parser.add_argument("--folder", type=Path, help="where the runs live; default a new folder in the temporary one")
    given = parser.parse_args(arguments)
    names = given.scenes or list(SCENES)
    if unknown := sorted(set(names) - set(SCENES)):
        parser.error(f"no scene {', '.join(unknown)}; there are {', '.join(SCENES)}")
    if missing := network.why_not():
        parser.error(missing)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.error("scenes are being played already on this host; wait for them")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down, as with ^C
        return _play(names, given.results, given.folder or Path(tempfile.mkdtemp(prefix="headrace-nodes-runs-")))


def _play(names: list[str], results: Path, folder: Path) -> int:
    base = results / f"{datetime.now(UTC):%Y-%m-%d}-nodes"
    known: dict[str, dict[str, Any]] = {}
    if base.with_suffix(".json").exists():
        known = {one["scene"]: one for one in json.loads(base.with_suffix(".json").read_text())["scenes"]}
    failed = False
    for name in names:
        scene = SCENES[name]
        place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        one = play(name, scene, place)
        twin = folder / "-".join(["undisturbed", str(scene.twin), str(scene.records), *scene.arguments])
        if not (twin / f"lake/runs/{RUN}/summary.json").exists():
            shutil.rmtree(twin, ignore_errors=True)
            twin.mkdir(parents=True)
            undisturbed(twin, scene)
        known[name] = one = judged(one, scene, twin)
        failed |= not one["ok"]
        print(f"{name}: {'ok' if one['ok'] else 'FAILED: ' + '; '.join(one['problems'])} {one['found']}", flush=True)
        scenes = [{k: v for k, v in known[n].items() if k != "folder"} for n in SCENES if n in known]
        base.with_suffix(".json").write_text(json.dumps({"machine": machine(), "scenes": scenes}, indent=1) + "\n")
        base.with_suffix(".md").write_text(page(scenes, machine()))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
