"""Which real, dated text is on every machine with Debian packages? Their changelogs: entries with their hour.

An entry is a document: package, version and what changed, without the name of who made it. Beside them stands prose of
another kind and time, which a continued model must not lose: the docstrings of Python's own modules.
"""

import ast
import gzip
import hashlib
import json
import re
import sysconfig
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

DOCUMENTS = Path("/usr/share/doc")
ENTRY = re.compile(r"^(\S+ \([^)]+\)) [^\n]*\n(.*?)^ -- [^\n]*?>  ([^\n]+)$", re.MULTILINE | re.DOTALL)
LENGTHS = (500, 2000)  # characters
PROSE_TIME = "2015-01-01T00:00:00Z"


def write_corpus(folder: Path, entries: int, prose: int) -> None:
    """Write changes.jsonl, the newest entries in the order of time, and prose.jsonl; the same at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = sorted(changelog_entries(), key=lambda entry: (entry["time"], entry["text"]))[-entries:]
    texts = sorted(module_docstrings(), key=lambda text: hashlib.sha256(text.encode()).digest())[:prose]
    told = [{"text": text, "time": PROSE_TIME} for text in texts]
    for name, documents in (("changes", newest), ("prose", told)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))


def changelog_entries() -> Iterator[dict[str, str]]:
    """Each entry of a fitting length, once: packages of one source share their changelog."""
    seen = set[str]()
    for path in sorted(DOCUMENTS.glob("*/changelog.Debian.gz")):
        whole = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        for head, body, time in ENTRY.findall(whole):
            text = f"{head}\n\n" + re.sub(r"\n\s*\n", "\n", body).strip("\n")
            if not LENGTHS[0] <= len(text) <= LENGTHS[1] or text in seen:
                continue
            seen.add(text)
            try:
                yield {"text": text, "time": parsedate_to_datetime(time).isoformat()}
            except ValueError:  # a date that somebody wrote by hand
                continue


def module_docstrings() -> Iterator[str]:
    """The docstrings of the standard library's modules that are long enough, cut at the end of a paragraph."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        if len(text) >= LENGTHS[0]:
            yield text[: LENGTHS[1]].rpartition("\n\n")[0] or text[: LENGTHS[1]]
