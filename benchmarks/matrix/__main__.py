"""Which loader resumes exactly? `python -m benchmarks.matrix [ours] [mixture] [grain] [mosaic] [--quick] ...`.

Runs what is named, or all, and adds it to results/<date>-matrix.json and .md after each corpus or change.
--quick runs a chain of each pair of world sizes on the hardest corpus and writes to quick-matrix.*. The peers'
environments are built in the cache, with pinned versions, the first time. Exit code 1 if a cell of ours is not exact.
--start full or lora: ours begins with the weights of a folder, and trains all of it or adapters alone, at {same, 1 → 2,
2 → 1} workers, on sources that do not grow and that grow once; results/<date>-matrix-base.*. --optimizer lion or muon:
the same chains, from random weights too, with another optimizer than AdamW.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.matrix.protocol import CHANGED_WORLDS, CHANGES, STAGES, WORLDS, Corpus, corpora, mixed
from benchmarks.root import RESULTS

PARTS = ("ours", "mixture", "grain", "mosaic")
QUICK = tuple(zip(WORLDS, (1, 3, 2, 3, 0), strict=True))  # every stage once
BASE_WORLDS, BASE_CORPORA = tuple(WORLDS)[:3], ("unchanged", "grown once")  # of starts from a base
CACHE = Path.home() / ".cache" / "headrace" / "matrix"


def main(arguments: list[str]) -> int:
    """Run the parts and write the results; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description="The resume matrix.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which: {', '.join(PARTS)}; default all")
    parser.add_argument(
        "--corpus",
        action="append",
        choices=[*corpora(), *changed()],
        help="these, or changes of the mixture, alone; default all",
    )
    parser.add_argument("--quick", action="store_true", help="five chains on the corpus that grows three times")
    parser.add_argument("--stage", action="append", type=int, choices=STAGES, help="with --start: these; default all")
    parser.add_argument("--start", action="append", choices=("random", "full", "lora"), help="of ours; default random")
    parser.add_argument("--optimizer", choices=("adamw", "lion", "muon"), default="adamw", help="of ours")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the peers' environments are built")
    given = parser.parse_args(arguments)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"{unknown[0]!r} is no part; use some of {', '.join(PARTS)}")
    stem = "quick-matrix" if given.quick else f"{datetime.now(UTC):%Y-%m-%d}-matrix"
    path = RESULTS / f"{stem}.json"
    hardest_first = list(corpora().items())[::-1]
    ok = True
    if given.optimizer != "adamw" or (given.start and given.start != ["random"]):
        return int(not measure_bases(path.with_name(path.name.replace("matrix", "matrix-base")), given))
    for part in given.parts or PARTS:
        named = [(name, mixed()) for name in changed()] if part == "mixture" else hardest_first
        for name, corpus in named[: 1 if given.quick else None]:
            if name in (given.corpus or [name]):
                sys.stderr.write(f"{part}: {name} ...\n")
                load, began = os.getloadavg(), time.monotonic()
                rows = measure(part, name, corpus, given.quick, given.cache)
                circumstances = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "load_before": load}
                circumstances |= {"seconds": round(time.monotonic() - began), "load_after": os.getloadavg()}
                write(path, part, name, {**circumstances, "rows": rows})
                ok &= part not in ("ours", "mixture") or all(row["ok"] for row in rows)
    sys.stdout.write(path.with_suffix(".md").read_text())
    return int(not ok)


def changed() -> dict[str, tuple[str, int]]:
    """The parts of the matrix of changed mixtures: a change, and a number of workers."""
    return {f"{name} at {world}": (name, world) for name in CHANGES for world in CHANGED_WORLDS}


def measure_bases(path: Path, given: argparse.Namespace) -> bool:
    """Run ours from a base and write the results; is all of it exact?"""
    from benchmarks.matrix import ours  # torch, Ray: as below
    from benchmarks.matrix.beginning import Start

    ok, labels = True, BASE_WORLDS[: 1 if given.quick else None]
    starts, names = given.start or ["random"], given.corpus or BASE_CORPORA
    wanted = [(start, name, stage) for start in starts for name in names for stage in STAGES]
    for text, name, stage in wanted:
        start, cells = Start(text), [(label, stage) for label in labels]
        if stage not in (given.stage or STAGES):
            continue
        title = f"{name}{start.title}" + (f", {given.optimizer}" if given.optimizer != "adamw" else "")
        sys.stderr.write(f"ours: {title}, ZeRO-{stage} ...\n")
        load, began = os.getloadavg(), time.monotonic()
        rows = ours.measure(title, corpora()[name], cells, start=start, optimizer=given.optimizer)
        measured = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "load_before": load}
        measured |= {"seconds": round(time.monotonic() - began), "load_after": os.getloadavg()}
        write(path, "ours", title, {**measured, "rows": _beside(path, title, rows)})
        ok &= all(row["ok"] for row in rows)
    sys.stdout.write(path.with_suffix(".md").read_text())
    return ok


def _beside(path: Path, title: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These rows, and those of other chains that were measured before."""
    raw: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    before = raw["parts"].get("ours", {}).get(title, {}).get("rows", [])
    names = {row["run"] for row in rows}
    return [*(row for row in before if row["run"] not in names), *rows]


def measure(part: str, name: str, corpus: Corpus, quick: bool, cache: Path) -> list[dict[str, Any]]:
    """The rows of one part on one corpus."""
    cells = QUICK if quick else tuple((label, stage) for label in WORLDS for stage in STAGES)
    if part == "mixture":
        from benchmarks.matrix import mixture

        return mixture.measure(*changed()[name])
    if part == "ours":
        from benchmarks.matrix import ours  # torch, Ray: not for those who run the peers alone

        return ours.measure(name, corpus, cells)
    from benchmarks.matrix import peers

    return peers.measure(part, name, corpus, sorted({label for label, _ in cells}, key=list(WORLDS).index), cache)


def write(path: Path, part: str, corpus: str, measured: dict[str, Any]) -> None:
    """Add what was measured of one part on one corpus to the results, raw and as a page."""
    from benchmarks.__main__ import circumstances
    from benchmarks.matrix.table import page

    raw: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    raw["parts"].setdefault(part, {})[corpus] = measured
    raw |= circumstances()
    path.write_text(json.dumps(raw, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(raw))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
