"""Is a panic of a library told with the name of what it broke down over?"""

from pathlib import Path

import pytest

from cluster.storage.panics import panics_told
from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.lake.tables import Tables


class PanicException(BaseException):
    """What PyO3 raises; every library has a class of its own, none of which can be imported."""


class Panicking(Tables):
    """Tables whose library breaks down."""

    def _open(self, name: str) -> None:
        raise PanicException(f"Decoder for {name} should have been set")


def test_a_panic_is_damage_with_a_name_and_nothing_else_is(tmp_path: Path) -> None:
    said = r"a/b is damaged: a library broke down over it \(no decoder\); mend it"
    with pytest.raises(DamagedError, match=said), panics_told("a/b", "mend it"):
        raise PanicException("no  decoder")
    with pytest.raises(KeyboardInterrupt), panics_told("a/b", "mend it"):
        raise KeyboardInterrupt
    tables = Panicking(Store.open(str(tmp_path)))
    for ask in (tables.table, lambda name: tables._last_number(name, "app")):
        with pytest.raises(DamagedError, match=r"/windows is damaged.*Decoder for windows"):
            ask("windows")
