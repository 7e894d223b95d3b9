"""Change champions under load: `python -m tests.chaos.swaps --requests 1000 --promotions 5 [--write FILE.md]`."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.swaps.load import SENDERS, Ask, Tally, swap_under_load
from tests.support.serving.server import ServerProcess
from tests.support.serving.stores import served_store


def main() -> int:
    """Change them; 1 if a request failed, or an answer is not the one that its checkpoint gives alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--promotions", type=int, default=5, help="the last of them back to the first checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", type=int, default=0, help="replicas to kill, of two, each during a promotion")
    parser.add_argument("--write", type=Path, help="write the page there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="swaps-") as folder:
        store, names = served_store(Path(folder), given.promotions)
        settings = ["engine.precision=fp32", "serve.look_every=0.2s", "serve.batch=4"]
        settings += ["serve.replicas=2"] * bool(given.kill)
        server = ServerProcess(store, Path(folder) / "log.txt", *settings)
        asking = {"asking": _openai, "kills": given.kill} if given.kill else {}
        try:
            tally = swap_under_load(server, store, [*names, names[0]], given.requests, given.seed, **asking)
            code = server.terminate()
        finally:
            server.process.kill()
    text = page(given, tally, code)
    print(text)
    if given.write:
        given.write.write_text(text)
    return int(bool(tally.failed or tally.mixed))


def _openai(url: str, tally: Tally) -> Ask:
    from tests.chaos.swaps.client import OpenAiClient  # seconds, for who kills replicas alone

    return OpenAiClient(url, tally).ask


def page(given: argparse.Namespace, tally: Tally, code: int) -> str:
    """The result as a page."""
    killing = f" --kill {given.kill}" if given.kill else ""
    counts = ", ".join(str(count) for count in tally.answered.values())
    lines = [
        f"# Champions that change under load ({time.strftime('%Y-%m-%d')})",
        "",
        f"`python -m tests.chaos.swaps --requests {given.requests} --promotions {given.promotions} "
        f"--seed {given.seed}{killing}`: {tally.answered.total():,} of {given.requests:,} requests answered by "
        f"{SENDERS} senders over {tally.swaps} promotions, the last one back, **{len(tally.failed)} failed, "
        f"{len(tally.mixed)} mixed**.",
        "",
        f"- answers by checkpoint: {counts}; {tally.seconds:.0f} s, the slowest answer {tally.slowest_s:.1f} s "
        f"(load of the machine {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores)",
        "- half of the requests are streams; every chunk of a stream names the same checkpoint and fingerprint",
        "- every text equals, character by character, what the same checkpoint answered alone before",
        *_of_replicas(tally),
        f"- ended by SIGTERM with exit code {code}",
        *[f"- failed: {failure}" for failure in tally.failed[:10]],
        *[f"- mixed: {mixed}" for mixed in tally.mixed[:10]],
    ]
    return "\n".join(lines) + "\n"


def _of_replicas(tally: Tally) -> list[str]:
    if not tally.killed:
        return []
    return [
        f"- of two replicas behind one port {tally.killed} were killed (SIGKILL) under load and started again",
        f"- asked by OpenAI's client, whose own retries (2) are all that whole answers have: it repeated "
        f"{tally.retried} requests; streams that broke and were asked for again: {tally.broken_streams}",
    ]


if __name__ == "__main__":
    sys.exit(main())
