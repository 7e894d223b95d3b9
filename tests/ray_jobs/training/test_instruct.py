"""Instruction data beside plain text: learnt by its answers alone, exact after SIGKILL, counted to the last record."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import yaml

from cluster.rows import Rows
from data_ops.conversations.answers import ConversationTokens
from data_ops.conversations.messages import Utterance
from data_ops.conversations.template import default_template
from data_ops.conversations.transcript import write_transcript
from data_ops.documents.tokenizer import Tokenizer
from data_ops.rounds.packing import fill, pack
from models.measures.scoring import scorer
from tests.support.folders import CONFIG, DOCUMENT, JSON, VOCAB, folder_of
from tests.support.runs import (
    RECIPE,
    WORDS,
    end_all,
    events,
    finish,
    kill,
    last_step,
    start,
    wait_for,
    write_documents,
)

KILLED_BEHIND = 6  # steps
TALKS, UNFIT = 120, 3


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def write_talks(path: Path) -> None:
    """Conversations of one or two turns; a few of them unfit."""
    lines = []
    for n in range(TALKS):
        word = Random(n).choice(WORDS)
        said = [f"Is there {word} number {n}?", f"Yes, {word} {n}.", "And another one?", f"Yes, {word} {n + 1}."]
        roles = ("user", "assistant") * 2
        messages = [{"role": r, "content": c} for r, c in zip(roles, said, strict=True)][: 2 + n % 2 * 2]
        lines.append({"messages": messages})
    lines += [{"messages": [{"role": "critic", "content": f"Number {n} is no role of ours."}]} for n in range(UNFIT)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def made(folder: Path) -> Path:
    folder.mkdir()
    write_documents(folder / "corpus/a.jsonl", 90)
    write_talks(folder / "talks/a.jsonl")
    return folder


def recipe() -> str:
    """The small recipe with a second source, of conversations."""
    given = yaml.safe_load(RECIPE)
    given["sources"]["talks"] = {"kind": "files", "path": "talks/*.jsonl", "objective": "instruct"}
    given["model"]["row_tokens"] = 128
    return yaml.safe_dump(given)


def ended(folder: Path, driver: Any) -> dict[str, Any]:
    """The summary of a run that ends well."""
    code, summary = finish(driver)
    assert code == 0, (folder / "stderr.txt").read_text()[-3000:]
    return summary


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_text_and_conversations_are_trained_in_one_run_and_to_the_same_bits_after_a_kill(tmp_path: Path) -> None:
    whole, broken = made(tmp_path / "whole"), made(tmp_path / "broken")
    straight = ended(whole, start(whole, recipe=recipe()))
    driver = start(broken, recipe=recipe())
    wait_for(broken, driver, lambda told: last_step(told) >= KILLED_BEHIND)
    kill(driver)
    resumed = ended(broken, start(broken, recipe=recipe()))
    assert resumed["resumed_from"] > 0 and resumed["weights_sha256"] == straight["weights_sha256"]
    assert resumed["sample_fingerprint"] == straight["sample_fingerprint"]
    documents = straight["documents"]
    assert documents["read"] == 90 + TALKS + UNFIT == documents["trained"] + documents["held_out"] + UNFIT
    assert documents["quarantined"] == UNFIT
    steps = [event for event in events(whole) if event["event"] == "step"]
    assert any(0 < step["predictions"] < step["positions"] for step in steps), "questions are read and not learnt"
    slices = straight["bits_per_byte"]
    assert {name.partition("/")[0] for name in slices} == {"wire", "talks"}
    assert all(found["after"] < found["before"] for found in slices.values())


def talks(tokenizer: Tokenizer) -> list[np.ndarray]:
    """Stored tokens of conversations of several lengths."""
    speech, found = ConversationTokens(default_template(tokenizer), tokenizer), []
    for n in range(6):
        turns = [Utterance(role, f"{role} {number}.") for number in range(n + 1) for role in ("user", "assistant")]
        found.append(speech.encode(write_transcript([Utterance("system", "Hé!"), *turns][: 2 * n + 3]), 0.0).ids)
    return found


def rows_of(documents: list[np.ndarray], row_tokens: int) -> tuple[Rows, Any]:
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in documents])])
    packing = pack(np.diff(offsets) + 1, row_tokens)
    return fill(packing, np.concatenate(documents), offsets, DOCUMENT, row_tokens), packing


@pytest.mark.slow
def test_the_loss_is_that_of_transformers_with_labels_on_answers_and_packed_rows_are_the_same(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, documents = folder_of(tmp_path / "base"), talks(Tokenizer.from_json(JSON))
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    nats_of = scorer(CONFIG, VOCAB, 0, weights)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
    alone, counts = [], []
    for ids in documents:
        labels = np.where(ids >= 0, ids, -100)
        inputs = torch.from_numpy(np.where(ids < 0, ~ids, ids).astype(np.int64))[None]
        with torch.no_grad():
            loss = float(theirs(inputs, labels=torch.from_numpy(labels.astype(np.int64))[None]).loss)
        nats, predictions = nats_of(rows_of([ids], len(ids) + 1)[0])
        assert predictions.sum() == (ids >= 0).sum()
        assert nats.sum() / predictions.sum() == pytest.approx(loss, rel=2e-5)
        alone.append(float(nats.sum()))
        counts.append(int(predictions.sum()))
    rows, packing = rows_of(documents, 700)
    assert packing.num_rows < len(documents), "several share a row"
    nats, predictions = nats_of(rows)
    for row in range(packing.num_rows):
        mine = packing.document[packing.row == row]
        np.testing.assert_allclose(nats[row, : len(mine)], np.array(alone)[mine], rtol=2e-5)
        assert predictions[row, : len(mine)].tolist() == np.array(counts)[mine].tolist()
