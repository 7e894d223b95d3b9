"""Packages that are installed for one test: a folder on the path with metadata and a module."""

import sys
from pathlib import Path

import pytest

from cluster import extensions


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, dict[str, str]], **modules: str) -> None:
    """Make a package with entry points (group -> name -> value) and modules (name -> source) importable here."""
    number = len(list(folder.glob("*.dist-info")))
    info = folder / f"stranger{number}-1.{number}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: stranger{number}\nVersion: 1.{number}\n")
    lines = [f"[{group}]\n" + "\n".join(f"{n} = {v}" for n, v in named.items()) for group, named in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    forget()


def forget() -> None:
    """Let the next question look at what is installed now."""
    extensions._entries.cache_clear()
    extensions._load.cache_clear()
