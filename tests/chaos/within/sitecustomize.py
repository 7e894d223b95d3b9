"""How is a process of the run misled from within? Python imports this module first where its folder is on the path.

By files in $CHAOS_FOLDER, where a fault may leave them at any moment:

- `clock`: so many seconds are time.time() and time.time_ns() behind. (What is not Python reads the true clock.)
- `poison`: a number by which a training loss is multiplied, as a broken card or a flipped bit may do; or "memory": the
- `poison`: a number by which a training loss is multiplied, as a broken card may do, or a flipped bit; or "memory": the
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import resource
import sys
import time
from pathlib import Path

FOLDER = os.environ.get("CHAOS_FOLDER")
LOOK_SECONDS = 0.2  # how often a process looks at its clock's file


def set_clock(file):
    """Let time.time() and time.time_ns() be behind by the seconds that a file holds."""
    true, true_ns, behind, looked = time.time, time.time_ns, 0, 0.0

    def how_far():
        nonlocal behind, looked
        if (now := time.monotonic()) - looked > LOOK_SECONDS:
            looked = now
            with contextlib.suppress(FileNotFoundError, ValueError):  # nobody has set it, or is just doing so
                behind = int(file.read_text())
        return behind

    for name, told in ("time", lambda: true() - how_far()), ("time_ns", lambda: true_ns() - how_far() * 10**9):
        told.__module__, told.__name__, told.__qualname__ = "time", name, name  # pickled by name, as the true ones are
        setattr(time, name, told)


class Poisoned(importlib.abc.MetaPathFinder):
    """Finds models.kinds.loss as usual, and changes it when it has been executed."""

    def find_spec(self, name, path, target=None):
        """Step aside for the real finders, then wrap what they found."""
        if name != "models.kinds.loss":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            forward = module.Head.forward

            def poisoned(self, *arguments, **more):
                loss = forward(self, *arguments, **more)
                return loss * _factor(loss) if loss.requires_grad else loss

            module.Head.forward = poisoned

        spec.loader.exec_module = exec_module
        return spec


def _factor(loss):
    file = Path(FOLDER, "poison")
    try:
        text = file.read_text()
        file.unlink()
    except FileNotFoundError:  # the usual case, or another rank was first
        return 1.0
    if text == "memory":
        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return loss.new_ones(1 << 32).mean()
    return float(text)


if FOLDER:
    set_clock(Path(FOLDER, "clock"))
    sys.meta_path.insert(0, Poisoned())
