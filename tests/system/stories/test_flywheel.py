"""Does an answer that people corrected come back as a better one, through window, round, gate and swap?

A story as docs/flywheel.md tells it, with the commands that it names: a long proof, minutes on two free cores.
"""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.serving.feedback.desk import source_lines
from tests.support.runs import RECIPE, WORDS, finish, start
from tests.support.serving.server import ServerProcess

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(3000)]
TALKS = 'talks: {kind: files, path: "talks/*.jsonl", objective: instruct, time: at}'
CURATE = "curate: {rules: [too_long, personal_data]}\n"
SETTINGS = (RECIPE + CURATE).replace("held_out: 10%", "held_out: 20%")
SETTINGS = re.sub("sources: .*", "sources: {SOURCES}", SETTINGS).replace("max_documents: 60", "max_documents: 400")
OVERRIDES = ["engine.workers=1", "engine.zero_stage=1", "model.width=64", "model.row_tokens=128", "optim.lr=6e-3"]
OVERRIDES += ["engine.batch_tokens=512", "engine.micro_batch_rows=4", "round.replay_share=0.7", "round.tokens=8192"]
OVERRIDES += ["reservoir.capacity=600", "reservoir.half_life=[none]", "evaluate.documents_per_slice=200"]
KNOWN, MISSING = "How old is the {} {}?", "Where is the {} {}?"
BETTER = "down by the river"
NOT_GIVEN = "cellar"  # a word of questions whose askers consented to nothing


def run(folder: Path, *arguments: str, sources: str = TALKS, command: str = "run") -> dict[str, Any]:
    """What a command says that succeeds."""
    recipe = SETTINGS.replace("SOURCES", sources)
    ended, said = finish(start(folder, *arguments, *OVERRIDES, recipe=recipe, command=command), 1500)
    assert ended == 0, (folder / "stderr.txt").read_text()[-3000:]
    return said


def ask(server: ServerProcess, question: str) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 17, "temperature": 0}
    answer = requests.post(f"{server.url}/v1/chat/completions", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def say(server: ServerProcess, answer: dict[str, Any], **said: object) -> requests.Response:
    return requests.post(f"{server.url}/v1/feedback", json={"id": answer["id"], **said}, timeout=300)


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_a_correction_becomes_a_better_answer_and_nothing_without_consent_is_kept(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    with (tmp_path / "talks/0.jsonl").open("w") as file:
        for n in range(600):
            told = " ".join(Random(n).choices(WORDS, k=4))  # what nobody can know: the champion pays something for it
            row = {"prompt": KNOWN.format(WORDS[n % 16], n), "completion": told, "at": f"2026-01-0{n % 9 + 1}"}
            file.write(json.dumps(row) + "\n")
    first = run(tmp_path)
    assert first["promoted"], first["reasons"]

    store = Store.open(str(tmp_path / "lake"))
    server = ServerProcess(
        store, tmp_path / "serve.txt", "engine.precision=fp32", f"serve.feedback.folder={tmp_path}/said"
    )
    try:
        second, corrected, last = _turn(server, tmp_path, str(first["checkpoint"]))
    finally:
        server.process.kill()
    assert second["promoted"], second["reasons"]
    figures = [value for name, value in second["bits_per_byte"].items() if name.startswith("corrected/")]
    assert figures and all(one["after"] < one["before"] / 2 for one in figures), second["bits_per_byte"]
    assert BETTER.startswith(text_of(last).strip()[:12]), text_of(last)

    story = run(tmp_path, last["id"], command="trace")
    assert (story["checkpoint"], story["weights"]) == (second["checkpoint"], "same")
    lake = Lake(store)
    rows = lake.documents(0, lake.last_window(), ["source", "window", "text", "external_id"]).to_pylist()
    windows = {row["window"] for row in rows if row["source"] == "corrected"}
    assert windows and story["taught_by"][0]["last_window"] >= max(windows)
    heard = run(tmp_path, corrected["id"], command="trace")["feedback"]
    assert [one["source"] for one in heard] == ["corrected"] and heard[0]["champion"]["checkpoint"]

    everything = " ".join(str(row["text"]) for row in rows)
    kept = " ".join(path.read_text() for path in (tmp_path / "said").rglob("*.jsonl"))
    assert NOT_GIVEN not in everything + kept
    assert "miller@example.com" not in everything, "the rules for personal data hold for corrections too"
    audit = run(tmp_path, command="verify")
    assert audit["ok"] and audit["lost"] == audit["repeated"] == 0


def _turn(server: ServerProcess, folder: Path, champion: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """One turn of the wheel: answers, corrections, a run; what it says, a corrected answer, and a new one."""
    server.wait_for(champion)
    corrected: dict[str, Any] = {}
    for n in range(300):
        answer = ask(server, MISSING.format(WORDS[n % 16], n))
        assert BETTER not in text_of(answer)
        mine = f"{BETTER}." if n else f"{BETTER}, ask miller@example.com."
        if say(server, answer, rating="down", correction=mine, consent=True).status_code == 201:
            corrected = answer
    assert corrected
    for n in range(10):
        answer = ask(server, MISSING.format(NOT_GIVEN, n))
        assert say(server, answer, rating="down").json()["stored"] is False
        assert say(server, answer, correction=f"in the {NOT_GIVEN}").status_code == 400
    sources = f"{TALKS}, {source_lines(str(folder / 'said'))[0]}"
    done = run(folder, sources=sources)
    if done["promoted"]:
        server.wait_for(done["checkpoint"])
    return done, corrected, ask(server, MISSING.format(WORDS[3], 999))
