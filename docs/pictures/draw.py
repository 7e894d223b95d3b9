"""Draw the pictures of the README from a real run: `python docs/pictures/draw.py STORE` after `headrace run -c demo`.

terminal.svg is what the run's display shows, played again from its events; report.png is the top of its report, as
chromium shows it (and Pillow packs it). made.json says of which recipe they are; a test asks for new pictures when the
recipe has changed.
"""

import hashlib
import io
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.commands.report import rewrite_report
from ray_jobs.config.reading import RECIPES, read_config
from ray_jobs.driver.loop import asked_of
from ray_jobs.report.terminal import Display
from ray_jobs.training.events import read_events

HERE = Path(__file__).parent
WIDTH, SHOWN_FIRST, SHOWN_LAST = 118, 10, 14
REPORT_SIZE, REPORT_COLOURS = (1200, 1420), 96


class EventClock:
    """The time of the event that is shown."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return it."""
        return self.now_s


def terminal(store: Store, run: str) -> str:
    """Play a run's events again on a display; the middle is left out."""
    lake, clock = Lake(store), EventClock()
    events = read_events(store, run)
    config = read_config(["demo"], [f"store={store.uri}", f"name={run}"])
    display = Display(stream=io.StringIO(), every_s=30.0, clock=clock)
    summary = json.loads(store.read(f"runs/{run}/summary.json"))
    last = commits.newest_readable(store, run)
    facts = {"name": run, "store": "./demo", "workers": summary["workers"], "zero_stage": summary["zero_stage"]}
    facts |= {"precision": last.state.precision} if last else {}
    display.starting(None)
    display.header(facts, asked_of(config))
    for event in events:
        clock.now_s = event.time
        display.event(event)
    display.ledger(account(lake, run).to_dict())
    display.report(f"./demo/runs/{run}/report.html")
    lines = display.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    middle = [f" … {len(lines) - SHOWN_FIRST - SHOWN_LAST} more lines"]
    page = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    page.print("$ headrace run -c demo", style="bold")
    for line in [*lines[:SHOWN_FIRST], *middle, *lines[-SHOWN_LAST:]]:
        page.print(line, no_wrap=True, overflow="ellipsis", markup=False)
    return page.export_svg(title="headrace", theme=MONOKAI)


def report(place: str, target: Path) -> None:
    """Photograph the top of a report."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "shot.png")
        size = ",".join(map(str, REPORT_SIZE))
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
        command = ["chromium", *flags, f"--screenshot={shot}", Path(place).as_uri()]
        subprocess.run(command, check=True, timeout=120, stderr=subprocess.DEVNULL)
        Image.open(shot).convert("RGB").quantize(REPORT_COLOURS).save(target, optimize=True)


def main(uri: str, run: str = "demo") -> None:
    """Draw all pictures."""
    store = Store.open(str(Path(uri).absolute()))
    (HERE / "terminal.svg").write_text(terminal(store, run), encoding="utf-8")
    report(rewrite_report(read_config([], [f"store={store.uri}", f"name={run}"])), HERE / "report.png")
    begun = datetime.fromtimestamp(read_events(store, run)[0].time, UTC).date()
    recipe = hashlib.sha256((RECIPES / "demo.yaml").read_bytes()).hexdigest()
    made = {"run": begun.isoformat(), "recipe": "demo", "recipe_sha256": recipe}
    (HERE / "made.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
