"""Do models of transformers go on with a text as that library lets them, token by token?"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from data_ops.documents.tokenizer import Tokenizer
from models.kinds.building import build
from models.kinds.kind import Handover, Pretrained
from models.kinds.kinds import kind_of, model_config
from models.measures.generation import ReadsAlong, generate
from models.sampling import Sampling
from ray_jobs.__main__ import app
from ray_jobs.config.blocks import ServeConfig
from ray_jobs.outcome import ConfigError
from ray_jobs.serving.generate import stream
from ray_jobs.serving.served import load_served
from tests.models.kinds.causal.test_causal import FAMILIES, SMALL, TOKENS, config_of
from tests.support.folders import DOCUMENT, JSON, VOCAB, taken
from tests.support.imports.late import late

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = late("transformers")
pytestmark = pytest.mark.slow

PROMPT = [DOCUMENT, 3, 99, 14, 15, 92, 65]
GREEDY = {"do_sample": False, "eos_token_id": VOCAB, "pad_token_id": DOCUMENT}  # nothing ends a text
WINDOW = {"mistral": SMALL | {"num_key_value_heads": 2, "sliding_window": 4, "max_position_embeddings": 64}}
STATE = {"mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}}  # no keys and values to be kept


def model_of(name: str) -> Any:
    """A small model with random weights."""
    if name in FAMILIES:
        return build(config_of(name, packed=FAMILIES[name][1]), VOCAB, seed=3)
    family = {"model_type": name} | TOKENS | {**WINDOW, **STATE}[name]
    shape = {"kind": "transformers", "layers": 2, "width": 32, "heads": 4, "row_tokens": 64, "init_std": 0.2}
    return build(model_config(shape | {"family": family, "vocabulary": VOCAB, "packed": True}), VOCAB, seed=3)


def library_tokens(model: Any, prompt: list[int], most: int) -> list[int]:
    """What transformers.generate says, greedily."""
    inputs = torch.tensor([prompt])
    there = torch.ones_like(inputs)  # else it takes the first token, which documents are padded with, for padding
    with torch.no_grad():
        said: Any = model.model.generate(inputs, attention_mask=there, max_new_tokens=most, **GREEDY)
    return list(said[0, len(prompt) :].tolist())


@pytest.mark.parametrize("name", [*FAMILIES, *WINDOW, *STATE])
def test_the_likeliest_tokens_are_those_of_the_library(name: str) -> None:
    model = model_of(name).eval()
    assert isinstance(model, ReadsAlong)
    like = torch.empty(0)
    for prompt in (PROMPT, PROMPT[:1]):
        ours = list(generate(model, prompt, 24, (), Sampling(temperature=0), like))
        assert ours == library_tokens(model, prompt, 24)
    drawn = [list(generate(model, PROMPT, 24, (), Sampling(temperature=3, seed=seed), like)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_token_costs_one_position_where_keys_and_values_are_kept() -> None:
    model, read = model_of("gpt2").eval(), list[int]()
    model.model.transformer.wte.register_forward_hook(lambda _, given, __: read.append(given[0].shape[-1]))
    list(generate(model, PROMPT, 4, (), Sampling(temperature=0), torch.empty(0)))
    assert read == [len(PROMPT), 1, 1, 1]


def test_the_command_lets_a_checkpoint_of_transformers_speak_and_serve_refuses_it(tmp_path: Path) -> None:
    config = config_of("gpt2", packed=True)
    model: Any = build(config, VOCAB, seed=3).eval()
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    kind_of(config).export(Pretrained(config, VOCAB, weights), Handover(JSON, DOCUMENT), tmp_path / "base")
    store, name = taken(tmp_path, "model.kind=transformers", "model.row_tokens=32")
    asked = ["generate", "ab", f"store={store.uri}", "--checkpoint", name, "engine.precision=fp32", "--temperature=0"]
    done = CliRunner().invoke(app, [*asked, "--tokens", "20", "--json"])
    assert done.exit_code == 0, done.output
    found, tokenizer = json.loads(done.stdout.splitlines()[-1]), Tokenizer.from_json(JSON)
    expected = library_tokens(model, [DOCUMENT, *tokenizer.encode(["ab"])[0].as_py()], 20)
    expected = expected[: expected.index(DOCUMENT)] if DOCUMENT in expected else expected
    said = stream(tokenizer, ((token,) for token in expected), lambda _: None)
    assert (found["text"], found["tokens"]) == (said.text, said.tokens)
    refused = CliRunner().invoke(app, [*asked, "--tokens", "62"])
    assert isinstance(refused.exception, ConfigError)
    assert "3 tokens of the prompt and 62 that may follow are more than the 64 positions" in str(refused.exception)
    with pytest.raises(ValueError, match="is of kind transformers, whose texts cannot go on together; use headrace g"):
        load_served(store, name, "fp32", ServeConfig())
