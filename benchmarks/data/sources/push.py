"""How many documents a second does the listener make durable, one a request and many a request?

Senders keep their connections and send the next request when the last one was answered: documents of 2 kB, on the same
cores as the listener. Every answered document is then counted in the spool. Group commit and `fdatasync` of the disk
below are in every figure.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from benchmarks.rows import Goal, Row

TEXT_BYTES = 2000
LISTEN = "from ray_jobs.ingest.listen import listen_command; listen_command({!r}, '127.0.0.1', {}, 8 << 20, None)"


def measure(quick: bool) -> list[Row]:
    """Documents a second, and the latency of an answer."""
    seconds, repeats = (1.0, 2) if quick else (4.0, 5)
    cases = [
        ("one document a request, 64 senders", 64, 1, 1500),
        ("50 documents a request, 16 senders", 16, 50, 20_000),
    ]
    found = []
    for what, senders, size, least in cases:
        speeds, slowest = [], []
        for number in range(repeats):
            with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
                speed, late_ms = one(Path(folder), 18_000 + number, senders, size, seconds)
                speeds.append(speed)
                slowest.append(late_ms)
        why = "Senders and other work share two cores with the listener, and its disk."
        found.append(Row(f"push, {what}", "documents/s", speeds, goal=Goal(least, of_ratio=False), why=why))
        found.append(Row(f"push, {what}: 99 % are answered within", "ms", slowest))
    return found


def one(folder: Path, port: int, senders: int, size: int, seconds: float) -> tuple[float, float]:
    """Send for some seconds to a new listener; documents a second, and the 99th percentile of an answer in ms."""
    process = subprocess.Popen([sys.executable, "-c", LISTEN.format(str(folder), port)])
    try:
        answered, waits, took = asyncio.run(load(port, senders, size, seconds))
    finally:
        process.terminate()
        process.wait()
    stored = sum(1 for segment in folder.glob("*.jsonl") for _ in segment.open("rb"))
    if stored != answered:
        raise ValueError(f"{stored} documents are in the spool, {answered} were answered")
    return answered / took, 1e3 * sorted(waits)[int(0.99 * len(waits))]


async def load(port: int, senders: int, size: int, seconds: float) -> tuple[int, list[float], float]:
    """Let senders send until the time is up: documents answered, seconds of each request, seconds in all."""
    body = orjson.dumps([{"text": "w" * TEXT_BYTES} for _ in range(size)])
    head = (
        f"POST /documents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request, waits, links = head.encode() + body, [], []
    deadline = time.monotonic() + 60
    while len(links) < senders:
        try:
            links.append(await asyncio.open_connection("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    began = time.perf_counter()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        count = 0
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 201"):
                raise ValueError(f"{answer[:200]!r} is no answer that documents are stored")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            waits.append(time.perf_counter() - sent)
            count += size
        writer.close()
        return count

    counts = await asyncio.gather(*(send(*link) for link in links))
    return sum(counts), waits, time.perf_counter() - began
