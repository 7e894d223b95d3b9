"""How much CPU time have the training workers of a run used, and do they have a core of their own?"""

import contextlib
import os
import threading
import time

import numpy as np
import psutil

WORKER = "ray::RayTrainWorker"  # the title that Ray gives its training workers
OTHER_CORE = 0


class Workers:
    """Watches the training workers of a run: their CPU time, and that they alone have their core, if one is given."""

    def __init__(self, core: int | None) -> None:
        self.core, self.seen, self.ended = core, list[tuple[float, float]](), threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.before = os.sched_getaffinity(0)

    def __enter__(self) -> "Workers":
        if self.core is not None:
            os.sched_setaffinity(0, {OTHER_CORE})  # ours and every process that we start
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended.set()
        self.thread.join()
        os.sched_setaffinity(0, self.before)

    def cpu_s(self, times: list[float]) -> list[float]:
        """CPU-seconds of all workers at those times, between two looks in a straight line."""
        at, used = zip(*self.seen, strict=True)
        return np.interp(times, at, used).tolist()

    def _watch(self) -> None:
        while not self.ended.wait(0.1):
            workers = [p for p in psutil.Process().children(recursive=True) if _title(p).startswith(WORKER)]
            if workers:
                self.seen.append((time.time(), sum(_used(worker) for worker in workers)))
            for worker in workers if self.core is not None else ():
                _pin(worker, self.core)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _used(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _pin(process: psutil.Process, core: int | None) -> None:
    """Each of its threads; those of later look as well."""
    with contextlib.suppress(psutil.Error, OSError):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core or 0})
