"""Does every task, ours or a stranger's, answer so that the gate can judge by it?"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from cluster.rows import Rows
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.rounds.masking import RowObjective
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.gate import Against, Terms, decide
from ray_jobs.evaluation.guard import Guard
from ray_jobs.evaluation.tasks.held_out_bits import HeldOutBits, bits_of
from ray_jobs.evaluation.tasks.task import SCORES, Better, Evaluate, Scorer, Scores, Task
from ray_jobs.evaluation.tasks.tasks import TASKS, further_tasks
from tests.support.lakes import add_window, make_documents, make_lake

NAMES = (*(name for name in TASKS if name != "lm_eval"), "next_letter")  # that one asks a model: test_lm_eval.py
ROW_TOKENS = 32


class NextLetter(Task):
    """Ask which of two letters follows, right answers counted: a stranger's task, where more is better."""

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "right"
    words: tuple[str, ...] = tuple("abcdefghijklmnop")

    def run(self, scorer: Scorer) -> Scores:
        right = scorer.nats([f"{word}{word}" for word in self.words]) < scorer.nats([f"{word}Z" for word in self.words])
        ids = [hashlib.sha256(word.encode()).digest()[:16] for word in self.words]
        columns = [ids, ["letters"] * len(ids), right.astype(float), np.ones(len(ids))]
        return Scores(
            pa.table([pa.array(c, f.type) for c, f in zip(columns, SCORES, strict=True)], schema=SCORES),
            "higher",
            "right",
        )


@pytest.fixture(autouse=True)
def _stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task that a stranger added by one line joins all others."""
    monkeypatch.setitem(TASKS.own, "next_letter", NextLetter)
    yield


def model(likes_repeats: bool) -> Evaluate:
    """A model that pays little, or much, for a token that repeats the one before."""

    def evaluate(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        num_segments = max(1, int(rows.segments.max(initial=0)) + 1)
        price = np.where((rows.inputs == rows.labels) == likes_repeats, 1.0, 3.0) * (rows.labels != -100)
        ours = rows.segments[:, :, None] == np.arange(num_segments)
        return (price[:, :, None] * ours).sum(1), (ours & (rows.labels != -100)[:, :, None]).sum(1)

    return evaluate


def scorer_of(folder: Path, likes_repeats: bool = True) -> Scorer:
    lake = make_lake(folder)
    for window in range(2):
        add_window(lake, make_documents(window, ["held_out", "kept", "held_out", "dropped"] * 5, 20 * window))
    return Scorer(model(likes_repeats), byte_tokenizer(), ROW_TOKENS, lake, 1, EvaluateConfig(), RowObjective(256))


@pytest.mark.parametrize("name", NAMES)
class TestEveryTask:
    def test_is_a_frozen_configuration_that_comes_back_with_the_run_s(self, name: str):
        if name == "bits_per_byte":
            return
        config = Config(evaluate=EvaluateConfig(tasks=({"kind": name},)))
        again = Config.model_validate_json(config.model_dump_json())
        assert further_tasks(again.evaluate) == further_tasks(config.evaluate) == {name: TASKS[name]()}

    @pytest.mark.slow
    def test_answers_one_row_an_item_the_same_items_for_every_model(self, name: str, tmp_path: Path):
        task = TASKS[name]()
        one, again = (task.run(scorer_of(tmp_path / str(n))) for n in range(2))
        other = task.run(scorer_of(tmp_path / "other", likes_repeats=False))
        assert one.table.schema.equals(SCORES) and one.table.num_rows > 3 and one.table.equals(again.table)
        assert one.table.select(["id", "slice", "size"]).equals(other.table.select(["id", "slice", "size"]))
        assert not one.table["total"].equals(other.table["total"])
        ids = one.table["id"].to_pylist()
        assert len(set(ids)) == len(ids) and {len(i) for i in ids} == {16}
        assert (one.better, one.unit) == (task.better, task.unit) and task.better in ("lower", "higher")
        assert task.margin >= 0 and (TASKS[name].__doc__ or "").startswith("Ask ")

    def test_gives_every_slice_its_items_and_value(self, name: str, tmp_path: Path):
        scores = TASKS[name]().run(scorer_of(tmp_path))
        slices = scores.by_slice()
        assert sum(s.n for s in slices.values()) == scores.table.num_rows and list(slices) == sorted(slices)
        for row in scores.table.slice(0, 1).to_pylist():
            part = [r for r in scores.table.to_pylist() if r["slice"] == row["slice"]]
            expected = sum(r["total"] for r in part) / sum(r["size"] for r in part)
            assert slices[row["slice"]].value == pytest.approx(expected)

    @pytest.mark.slow
    def test_the_gate_refuses_who_is_worse_at_it_and_passes_who_is_not(self, name: str, tmp_path: Path):
        task, gate = TASKS[name](), GateConfig()
        good, bad = (task.run(scorer_of(tmp_path / str(x), likes_repeats=x)) for x in (True, False))
        if (np.sum(good.table["total"].to_numpy()) < np.sum(bad.table["total"].to_numpy())) != (task.better == "lower"):
            good, bad = bad, good
        held = bits_of(HeldOutBits().nats(scorer_of(tmp_path / "held")))
        better = Scores(held.table.set_column(2, "total", pa.array(held.table["total"].to_numpy() * 0.5)), "lower", "b")
        ids = held.table["id"]
        text = pa.table({"id": ids, "day": [str(n) for n in range(len(ids))], "fresh": [True] * len(ids)})
        verdicts = {}
        for which, guard in (
            ("worse", Guard(bad, good, 0.0)),
            ("same", Guard(good, good, 0.0)),
            ("better", Guard(good, bad, 0.0)),
        ):
            verdicts[which] = decide(better, held, text, Terms(1, 1, "a/1"), gate, Against(tasks={name: guard}))
        assert [v.promoted for v in verdicts.values()] == [False, True, True]
        assert any(
            reason.startswith((f"{name} lost more than 0 {task.unit}", f"{name} may have"))
            for reason in verdicts["worse"].reasons
        )
        result = verdicts["worse"].tasks[name][0]
        assert result.verdict == "worse" and result.unit == task.unit and result.low <= result.difference <= result.high
        assert (result.difference > 0) == (task.better == "lower")


def test_a_text_costs_the_same_alone_as_among_others_whatever_its_length(tmp_path: Path):
    scorer = scorer_of(tmp_path)
    texts = ["aab", "", "x" * 100, "abba", "水车"]
    together = scorer.nats(texts)
    assert together.tolist() == [float(scorer.nats([text])[0]) for text in texts]
    assert together[1] == 1.0, "an empty text is the one prediction of the document token"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (("next_leter",), "there is no task 'next_leter'; did you mean 'next_letter'"),
        (("next_letter", {"kind": "next_letter"}), "names next_letter twice"),
        (("bits_per_byte",), "bits_per_byte is always judged"),
        (({"words": []},), "has no kind"),
        (({"kind": "next_letter", "word": 1},), "the task next_letter has no key 'word'"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_mend(tasks: tuple, said: str):
    with pytest.raises(ValueError, match=said):
        further_tasks(EvaluateConfig(tasks=tasks))
