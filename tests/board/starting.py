"""What does the command line load before it knows what is asked? Nothing heavy, by construction."""

import json
import subprocess
import sys

from tests.support.root import ROOT

HEAVY = ("numba", "torch", "ray", "deltalake", "deepspeed", "pandas", "transformers")
PROBE = """
import json, sys
import ray_jobs.__main__, ray_jobs.config.reading
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""


def heavy_modules() -> list[str]:
    """Return which heavy modules a process holds that has imported the command line and the configuration."""
    code = PROBE.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return [str(name) for name in json.loads(done.stdout.splitlines()[-1])]
