"""Does a checkpoint go on with a text, shown as it comes, and harmlessly?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.storage.state import write_json
from data_ops.conversations.template import ChatTemplate
from data_ops.documents.tokenizer import byte_tokenizer
from models.measures.generation import generate
from models.sampling import Sampling
from ray_jobs.__main__ import app
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.commands.promote import export_checkpoint
from ray_jobs.serving.generate import stream
from ray_jobs.serving.speaker import Speaker
from ray_jobs.store.paths import CHAT
from tests.support.folders import config_of, folder_of, taken


def test_a_text_is_shown_in_pieces_of_whole_characters() -> None:
    tokenizer, pieces = byte_tokenizer(), list[str]()
    ids = tokenizer.encode(["añ🙂!"])[0].as_py()
    said = stream(tokenizer, ((token,) for token in ids), pieces.append)
    assert pieces[:4] == ["a", "ñ", "🙂", "!"]
    assert (said.text, said.tokens, said.forwards) == ("añ🙂!", len(ids), len(ids))
    cut = stream(tokenizer, iter([tuple(ids[:-2])]), pieces.append)
    assert (cut.tokens, cut.forwards) == (len(ids) - 2, 1)
    assert cut.text == "añ�", "what stays half a character is shown at the end"


@pytest.mark.slow
def test_the_same_seed_says_the_same_and_the_prompt_matters(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    speaker = Speaker(store, commits.by_name(store, name), "fp32")

    def said(prompt: str, seed: int = 0) -> list[int]:
        return [token for tokens in speaker.go_on(prompt, 16, Sampling(seed=seed)) for token in tokens]

    assert said("ab") == said("ab") != said("ab", seed=1)
    assert said("ab") != said("cd")


def test_the_command_shows_the_text_and_gives_it_as_json(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    asked = [
        "generate",
        "ab\x1b[2J",
        f"store={store.uri}",
        "--checkpoint",
        name,
        "--tokens",
        "8",
        "engine.precision=fp32",
    ]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["checkpoint"], found["prompt"], found["tokens"] <= 8) == (name, "ab\x1b[2J", True)
    plain = CliRunner().invoke(app, asked)
    assert plain.stdout.startswith("ab\\x1b[2J"), "a text cannot steer the terminal"
    assert "\x1b" not in plain.stdout


@pytest.mark.parametrize("option", [("--top-p", "2"), ("--temperature", "-1"), ("--tokens", "0"), ("--top-k", "0")])
def test_an_option_out_of_its_bounds_is_refused(option: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["generate", "ab", *option])
    assert done.exit_code == 2
    assert option[0] in done.output


def test_a_question_is_asked_by_the_chat_template_which_is_exported_with_the_model(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    here, asked = [f"store={store.uri}", "--checkpoint", name, "engine.precision=fp32"], ["generate", "Why?", "--json"]
    done = CliRunner().invoke(app, [*asked, *here, "--chat"])
    assert "has no chat template to be asked by; leave --chat out" in str(done.exception)
    write_json(store, CHAT, ChatTemplate("{{ messages[0].content }}|", (), frozenset({0})))
    found = [
        json.loads(CliRunner().invoke(app, [*asked, *here, *more]).stdout.splitlines()[-1])["text"]
        for more in (["--temperature", "0", "--chat"], ["--temperature", "0"])
    ]
    speaker = Speaker(store, commits.by_name(store, name), "fp32")
    prompt = speaker.tokenizer.encode_marked("Why?|")
    first = next(generate(speaker.model, prompt, 1, (), Sampling(temperature=0), speaker.like))
    assert found[0] != found[1] and found[0].startswith(speaker.tokenizer.decode([first]))
    export_checkpoint(config_of(tmp_path), name, str(tmp_path / "out"))
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ messages[0].content }}|"
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n") and f"| Checkpoint | {name} |" in card
