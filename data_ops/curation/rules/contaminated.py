"""Does a text hold what a benchmark asks? Then a model that was trained on it answers from memory.

A sequence of 13 words in common is taken for a copy, as by Brown et al. 2020, appendix C (arXiv:2005.14165).
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from pydantic import Field, field_validator

from cluster.storage.uri import expanded_path
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts

if TYPE_CHECKING:
    from data_ops.kernels.texts.overlap import Overlap


class Contaminated(Rule):
    """Drop texts that hold a sequence of words of the given benchmarks."""

    files: tuple[str, ...] = Field(
        min_length=1,
        description="Benchmarks: of .json and .jsonl files every text in them, other files whole. On every node.",
    )
    words: int = Field(13, ge=5, le=100, description="Words of a sequence; shorter texts of a benchmark are not found.")

    @field_validator("files")
    @classmethod
    def _absolute(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(expanded_path(file).absolute()) for file in files)

    def judge(self, texts: Texts) -> RuleVerdict:
        """One sequence in common is enough; case, marks and line ends do not count."""
        return RuleVerdict(_overlap(self.files, self.words).with_any(texts.text))


@lru_cache(maxsize=4)
def _overlap(files: tuple[str, ...], words: int) -> "Overlap":
    """Read once a process: a rule travels with its settings alone."""
    from data_ops.kernels.texts.overlap import Overlap  # numba, 0.5 s: not for reading a configuration

    return Overlap((text for file in files for text in _texts_of(Path(file))), words)


def _texts_of(path: Path) -> list[str]:
    """Every text of a benchmark; ValueError, in a sentence, where it cannot be read."""
    try:
        data = path.read_bytes()
        if path.suffix == ".json":
            return _strings(orjson.loads(data))
        if path.suffix == ".jsonl":
            return [text for line in data.splitlines() if line.strip() for text in _strings(orjson.loads(line))]
        return [data.decode()]
    except (OSError, ValueError) as error:
        raise ValueError(f"the benchmark {path} of the rule contaminated cannot be read: {error}") from error


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _strings(part)]
