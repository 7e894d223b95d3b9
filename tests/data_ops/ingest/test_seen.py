"""Do the histories follow a log of any length in bounded memory?"""

from types import SimpleNamespace

from data_ops.curation.config import CurateConfig
from data_ops.ingest.seen import Histories, sketches_of
from tests.support.lakes import add_window, make_documents, make_lake


def test_the_log_is_read_in_stretches_however_long_it_is(tmp_path):
    lake, rules = make_lake(tmp_path), CurateConfig().remembered
    for window in range(6):
        add_window(lake, make_documents(window, ["kept"] * 4, 10 * window))
    every, documents, read = lake.documents(0, 5), lake.documents, []

    def counted(first, last, *given):
        read.append((first, last))
        return documents(first, last, *given)

    def short(first, last, rows):
        assert rows <= 100_000
        return lake.stretches(first, last, 8)

    asked = {name: getattr(lake, name) for name in ("store", "forgotten", "last_window", "mark")}
    histories = Histories(SimpleNamespace(stretches=short, documents=counted, **asked), rules)
    histories.advance(5)
    assert [window for first, last in read for window in range(first, last + 1)] == list(range(6))
    assert all(last - first <= 1 for first, last in read), "at most as many rows as a stretch holds"
    assert histories.look(6, every["id"], sketches_of(every, rules)).to_pylist() == ["duplicate"] * 24
