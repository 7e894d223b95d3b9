"""Is the chat template of a store written down once, and another one, or one that cannot be learnt with, refused?"""

import json
from pathlib import Path

import pytest

from data_ops.conversations.template import CHATML, WORDS
from ray_jobs.ingest.opening import open_store
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_chat
from tests.support.folders import config_of, folder_of
from tests.support.small_store import make_store, small_config

INSTRUCT = ("sources.chat.path=talks.jsonl", "sources.chat.objective=instruct")
ENDED = CHATML.replace("<|im_end|>", "{{ eos_token }}")


def with_template(folder: Path, source: str | None) -> Path:
    """A model's folder that brings a template."""
    folder_of(folder / "base")
    settings = {"eos_token": "<|document|>"} | ({"chat_template": source} if source else {})
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_the_template_of_the_model_is_the_stores_from_its_first_conversations_on(tmp_path: Path) -> None:
    folder = with_template(tmp_path, ENDED)
    assert open_store(config_of(folder)).settings.chat is None, "without conversations there is none"
    opened = open_store(config_of(folder, *INSTRUCT))
    chat = opened.settings.chat
    assert chat is not None and chat == read_chat(opened.store) and chat.source == ENDED
    assert opened.warnings == () and opened.settings.sources["chat"].max_tokens == 63, "what a row of 64 holds"
    with_template(tmp_path, ENDED.replace("user", "you") + " ")
    with pytest.raises(ConfigError, match=r"has fingerprint \w+, store .* by \w+ \(the model's\)"):
        open_store(config_of(folder, *INSTRUCT))
    with_template(tmp_path, None)
    assert open_store(config_of(folder, *INSTRUCT)).settings.chat == chat, "the store remembers it"


def test_without_a_template_a_default_is_stated(tmp_path: Path) -> None:
    opened = open_store(config_of(with_template(tmp_path, None), *INSTRUCT))
    assert opened.settings.chat is not None and opened.settings.chat.source == WORDS
    assert opened.warnings == ("conversations are written by plain words, as the tokenizer has no template",)


@pytest.mark.parametrize("source", ["{% for", "{{ messages }}", CHATML])
def test_a_template_with_which_nothing_can_be_learnt_is_refused_before_anything_is_read(tmp_path, source) -> None:
    with pytest.raises(ConfigError, match=r"the chat template \(the model's\) cannot be trained with"):
        open_store(config_of(with_template(tmp_path, source), *INSTRUCT))


@pytest.mark.slow
def test_a_store_that_has_text_takes_in_conversations_from_now_on(tmp_path: Path) -> None:
    make_store(tmp_path)
    config = small_config(tmp_path)
    assert read_chat(open_store(config).store) is None
    chat = type(config.sources["wire"]).model_validate({"path": f"{tmp_path}/talks.jsonl", "objective": "instruct"})
    both = config.model_copy(update={"sources": {**config.sources, "chat": chat}})
    assert open_store(both).settings.chat == read_chat(open_store(config).store)
