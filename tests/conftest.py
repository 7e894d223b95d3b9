"""No test starts Ray by accident, and none fails for being slow on a busy machine."""

import os

from hypothesis import settings

os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # only `cluster.session.connect` starts it, in other processes
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")
