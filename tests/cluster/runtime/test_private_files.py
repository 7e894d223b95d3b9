"""Can a store be kept from the other users of a machine?"""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.runtime.private_files import is_private, keep_private
from tests.support.root import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_private_process_knows_it() -> None:
    assert not is_private()
    keep_private()
    assert is_private()


@pytest.mark.parametrize(("mode", "others"), [("private", 0), ("umask", 0o044)])
def test_what_a_command_writes_is_its_owners_alone_if_the_store_is_private(
    tmp_path: Path, mode: str, others: int
) -> None:
    """The umask decides for every library that writes; a command of our own stands for all of them."""
    script = (
        "import sys\nfrom ray_jobs.command_line.reading import read\nfrom cluster.storage.store import Store\n"
        "def touch() -> None:\n"
        "    store = Store.open(read(None, sys.argv[1:]).store)\n    store.write('runs/x/y.json', b'{}')\n"
        "    store.publish('runs/x/z.json', b'{}')\ntouch()\n"
    )
    arguments = [f"store={tmp_path}/lake", f"store_mode={mode}"]
    subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, check=True, timeout=120, umask=0o022)
    written = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert len(written) == 2
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in written} == {others}
