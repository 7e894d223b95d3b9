"""Which real texts of many kinds are on every machine with Python and Debian packages?

Documentation, licences, notes of packages, and the docstrings of the installed packages: prose, lists, tables and code.
"""

import gzip
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PLACES = (Path("/usr/share/doc"), Path("/usr/share/perl"), Path(sysconfig.get_path("purelib")))
NAMES = re.compile(r".*\.(txt|rst|md|html?|pod)|[^.]*|METADATA")
DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
FEWEST, MOST = 200, 100_000  # characters


def real_texts(count: int) -> list[str]:
    """Return at most so many different texts, shuffled; the same on the same machine."""
    found = list(dict.fromkeys(text[:MOST] for text in _all() if len(text) >= FEWEST))
    random.Random(0).shuffle(found)
    return found[:count]


def _all() -> Iterator[str]:
    for place in PLACES:
        for path in sorted(place.rglob("*")):
            packed = path.suffix == ".gz"
            name = path.name.removesuffix(".gz")
            if path.is_symlink() or not path.is_file() or not (name.endswith(".py") or NAMES.fullmatch(name)):
                continue
            try:
                text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode()
            except (OSError, UnicodeDecodeError, EOFError):
                continue
            yield from DOCSTRING.findall(text) if name.endswith(".py") else [text]
