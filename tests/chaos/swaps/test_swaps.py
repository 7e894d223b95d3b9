"""Do champions change under load without a failed request or a mixed answer? __main__.py asks for longer."""

from pathlib import Path

import pytest

from tests.chaos.swaps.load import swap_under_load
from tests.support.serving.server import ServerProcess
from tests.support.serving.stores import served_store

pytestmark = pytest.mark.slow


def test_no_request_fails_and_no_answer_is_of_two_checkpoints(tmp_path: Path) -> None:
    store, names = served_store(tmp_path, 2)
    server = ServerProcess(
        store, tmp_path / "log.txt", "engine.precision=fp32", "serve.look_every=0.1s", "serve.batch=4"
    )
    try:
        tally = swap_under_load(server, store, [*names, names[0]], num_requests=60, seed=7)
    finally:
        server.process.kill()
    assert (tally.failed, tally.mixed, tally.swaps) == ([], [], 2)
    assert tally.answered.total() >= 60
    assert min(tally.answered[name] for name in names) > 0
