"""What text does a run under test see, and how does it grow?

Paragraphs of the standard library, which every Python carries, in two sources: `wire` is one file that grows by lines,
`notes` grows by new files. Some records are repeats, some are too short, some cannot be read: each fate has to come
out right. A pure function of (seed, stage); the same stage is the same text wherever it is written.
"""

import json
import sysconfig
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from random import Random

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
BROKEN = ('{"body": "torn', "[1, 2]", '{"at": "2024-01-01T00:00:00Z"}', '{"body": 7}')


@lru_cache(maxsize=1)
def paragraphs() -> list[str]:
    """Real text: what stands between empty lines in the standard library, 120 to 600 characters each."""
    library = Path(sysconfig.get_path("stdlib"))
    found: dict[str, None] = {}
    for path in sorted(library.glob("*.py")):
        for paragraph in path.read_text(encoding="utf-8", errors="ignore").split("\n\n"):
            if 120 <= len(paragraph.strip()) <= 600:
                found[paragraph.strip()] = None
    return list(found)


def lines(seed: int, stage: int, count: int) -> list[str]:
    """The records of one stage, one JSON line each; some repeat records of this stage or of earlier ones."""
    texts = Random(f"text {seed}").sample(paragraphs(), len(paragraphs()))
    random = Random(f"stage {seed} {stage}")
    told: list[str] = []
    first = 1000 * stage
    for n in range(count):
        text, chance = texts[(first + n) % len(texts)], random.random()
        if chance < 0.02:
            told.append(random.choice(BROKEN))
            continue
        if chance < 0.04:
            text = f"no {n % 3}"
        elif chance < 0.09 and first + n:
            text = texts[random.randrange(first + n) % len(texts)] + "  \r\n"  # the same document, spelt otherwise
        elif chance < 0.12:
            text += " Cafe\u0301 au lait."  # not in NFC
        at = BEGIN + timedelta(hours=first + n)
        told.append(json.dumps({"body": text, "at": at.isoformat()}, ensure_ascii=chance < 0.5))
    return told


def grow(folder: Path, seed: int, stage: int, count: int, torn: bool = False) -> None:
    """Write a stage: two thirds of it as lines behind `wire.jsonl`, the rest as a new file of `notes`.

    torn: the last line comes in two pieces, as from a writer who does not know of lines.
    """
    told = lines(seed, stage, count)
    cut = 2 * len(told) // 3
    (folder / "corpus/notes").mkdir(parents=True, exist_ok=True)
    aside = folder / f"{stage:03d}.tmp"
    aside.write_text("".join(f"{line}\n" for line in told[cut:]))
    aside.rename(folder / f"corpus/notes/{stage:03d}.jsonl")
    data = "".join(f"{line}\n" for line in told[:cut]).encode()
    middle = len(data) - 40 if torn else len(data)
    with (folder / "corpus/wire.jsonl").open("ab") as wire:
        wire.write(data[:middle])
        wire.flush()
        if torn:
            time.sleep(0.4)
        wire.write(data[middle:])
