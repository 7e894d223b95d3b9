"""Is an index whole, and right, after SIGKILL before or after any change of its files?"""

import pytest

from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds
from tests.data_ops.index.dying import WINDOWS, keep_index, log, processes


@pytest.mark.slow
def test_killed_at_every_act_one_after_the_other_it_loses_nothing_and_says_nothing(tmp_path):
    context, acts, code = processes("tests.data_ops.index.dying"), 0, -9
    reached = -1
    while code != 0:
        process = context.Process(target=keep_index, args=(str(tmp_path), acts))
        process.start()
        process.join()
        code, acts = process.exitcode, acts + 1
        assert code in (0, -9)
        known = KnownIds(IndexFolder(Store.open(str(tmp_path)), "index/ids"), str)
        assert not known.notes and known.window >= reached and known.contains(log().upto(known.window)).all()
        assert len(known) == len(log().upto(known.window))
        reached = known.window
    assert acts > 8 and reached == WINDOWS - 1
