"""Models that are only answers: one that knows them, and one whose answers are hashes."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from ray_jobs.evaluation.harness.bundle import read_bundle

Row = dict[str, object]


class Hashed:
    """Whatever is asked, the answer is a hash of it: no better than chance, whatever the lengths of the choices."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        return [(-1.0 - self.share(f"{a}\0{b}") * len(b), False) for a, b in pairs]

    def rolling(self, texts: Sequence[str]) -> list[float]:
        return [-float(len(text)) for text in texts]

    def generate(self, prompts: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        return [f" {hashlib.sha256(prompt.encode()).hexdigest()}" for prompt, _ in prompts]

    def share(self, text: str) -> float:
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


class Knowing(Hashed):
    """It knows the answer of each question of a task that is brought along."""

    def __init__(self, name: str) -> None:
        (data,) = read_bundle(name).files.values()
        self.rows: list[Row] = [json.loads(line) for line in data.splitlines()]
        self.right = RIGHT[name]

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        return [(0.0, True) if (a, b) in self.answers else (-99.0, False) for a, b in pairs]

    @property
    def answers(self) -> set[tuple[str, str]]:
        return {self.right(row) for row in self.rows}

    def generate(self, prompts: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        known = dict(self.answers)
        return [known[prompt] for prompt, _ in prompts]


RIGHT: dict[str, Callable[[Row], tuple[str, str]]] = {
    "small_choice": lambda r: (f"Question: {r['question']}\nAnswer:", f" {r['choices'][r['gold']]}"),  # type: ignore[index]
    "small_pairs": lambda r: (
        f"{r['first']}\n{r['second']}\nQuestion: Do both sentences say the same?\nAnswer:",
        (" no", " yes")[int(str(r["same"]))],
    ),
    "small_extract": lambda r: (f"{r['context']}\nQuestion: {r['question']}\nAnswer:", f" the {r['answers'][-1]}."),  # type: ignore[index]
    "small_translation": lambda r: (f"German: {r['german']}\nEnglish:", str(r["english"])),
}
