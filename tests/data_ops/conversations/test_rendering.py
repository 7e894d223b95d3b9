"""Does a chat template write what transformers have it write, and does a harmful one cost no more than a sentence?"""

import re
import time
from pathlib import Path

import pytest

from data_ops.conversations.rendering import Renderer
from data_ops.conversations.sandbox import BEGIN, END
from data_ops.conversations.template import ChatTemplate
from tests.support.talks.templates import LLAMA3, QWEN

SAID = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Hé <b>?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And?"},
]


def renderer(source, **tokens):
    return Renderer(ChatTemplate(source, tuple(tokens.items())))


@pytest.mark.slow
@pytest.mark.parametrize("source", [LLAMA3, QWEN])
def test_a_template_writes_what_transformers_have_it_write(source):
    from transformers.utils.chat_template_utils import render_jinja_template

    mine = renderer(source, bos_token="<s>", eos_token="</s>")
    others = {"bos_token": "<s>", "eos_token": "</s>"}
    for asks in (False, True):
        ((theirs,), _) = render_jinja_template([SAID], chat_template=source, add_generation_prompt=asks, **others)
        assert mine.render(SAID, time.time(), asks=asks).text == theirs


def test_the_date_that_a_template_asks_for_is_that_of_the_conversation():
    assert renderer("{{ strftime_now('%d %b %Y') }}").render(SAID, 86400.0 * 365).text == "01 Jan 1971"


def test_what_stands_before_each_answer_comes_with_a_template_without_marks():
    plain = renderer("{% for m in messages %}{{ m.content }}|{% endfor %}{% if add_generation_prompt %}?{% endif %}")
    assert plain.render(SAID, 0.0).prompts == (" Be brief. |Hé <b>?|?",)
    marked = renderer("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}")
    assert marked.render(SAID[2:3], 0.0).text == f"{BEGIN}Yes.{END}" and marked.render(SAID, 0.0).prompts is None
    assert marked.render(SAID[2:3], 0.0, asks=True).text == "Yes."


BOUNDED = "2 GiB of memory|did not end within 5 s"
HARM = {
    "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}": "did not end within 5 s",
    "{% set n = namespace(s='ab') %}{% for a in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}": BOUNDED,
    "{{ 'a' * 99999999 }}": "makes 99999999 characters",
    "{{ messages.__class__.__mro__ }}": "does not take these messages",
    "{{ cycler.__init__.__globals__ }}": "does not take these messages",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "does not take these messages",
    "{% for": "does not take these messages",
}


@pytest.mark.slow
@pytest.mark.parametrize(("source", "words"), HARM.items())
def test_a_template_that_never_ends_grows_or_reaches_out_is_a_sentence(source, words):
    assert re.search(words, renderer(source).render(SAID, 0.0).refusal or "")


def test_a_process_that_ended_is_started_again():
    mine = renderer("{{ messages | length }}")
    assert mine.render(SAID, 0.0).text == "4"
    mine._process.kill()
    mine._process.wait()
    assert "its process ended" in (mine.render(SAID, 0.0).refusal or "")
    assert mine.render(SAID, 0.0).text == "4"


def test_a_template_is_told_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("KAFKA_PASSWORD", "secret")
    mine = renderer("{{ messages | length }}")
    mine.render(SAID, 0.0)
    environment = Path(f"/proc/{mine._process.pid}/environ").read_bytes()
    assert b"secret" not in environment and b"PYTHONPATH=" in environment
