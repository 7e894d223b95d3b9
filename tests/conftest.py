"""No test starts Ray by accident: only `cluster.session.connect` does, in a process of its own."""

import os

os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
