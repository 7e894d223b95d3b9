"""Does every kind of model, ours or a stranger's, keep the promises that engine, checkpoints and evaluation rest on?"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from cluster.rows import Rows
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.device import MicroBatch, micro_batches
from models.engine import checkpoint
from models.engine.engine import Engine, StepResult, start
from models.kinds.building import build, load_weights
from models.kinds.kind import Handover, Kind, Pretrained
from models.kinds.kinds import KINDS, kind_of, model_config
from models.kinds.loss import Head
from models.kinds.partial import Parameter, Role
from models.measures.scoring import scorer
from models.size import padded_vocab
from tests.support.packages import forget, install

VOCAB, ROW_TOKENS, BATCH_ROWS = 90, 16, 4
NAMES = (*KINDS, "pairs")
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}
TOKENIZER = '{"added_tokens": [{"id": 0, "content": "<|document|>"}]}'


class PairsConfig(ModelConfig):
    """A model of pairs of tokens."""

    kind: str = "pairs"
    rank: int = Field(8, ge=1, description="Width of a token.")


class PairsModule(nn.Module):
    """Predicts a token from the one before it."""

    def __init__(self, config: PairsConfig, vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(padded_vocab(vocab_size), config.rank)
        self.head = Head(config.rank, vocab_size, padded_vocab(vocab_size))

    def forward(self, inputs: Tensor, labels: Tensor, each: bool) -> Tensor:
        return self.head(self.embed(inputs), labels, each)


class Pairs:
    """A kind that a stranger might add: its forward takes other arguments, its configuration has a key of its own."""

    config = PairsConfig

    def num_parameters(self, config: PairsConfig, vocab_size: int) -> int:
        return 2 * padded_vocab(vocab_size) * config.rank

    def parameters(self, config: PairsConfig, vocab_size: int) -> dict[str, Parameter]:
        shape = (padded_vocab(vocab_size), config.rank)
        embed = Parameter(shape, "embed.weight", Role.LOOKUP)
        return {"embed.weight": embed, "head.weight": Parameter(shape, "head.weight")}

    def flops_per_token(self, config: PairsConfig, vocab_size: int) -> float:
        return 6.0 * padded_vocab(vocab_size) * config.rank

    def arrange(self, rows: Rows) -> Rows:
        return rows

    def build(self, config: PairsConfig, vocab_size: int, seed: int | None) -> nn.Module:
        model = PairsModule(config, vocab_size)
        for name, parameter in model.named_parameters() if seed is not None else ():
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            nn.init.normal_(parameter, std=0.02, generator=generator)
        return model

    def loss(self, forward: Any, batch: MicroBatch) -> Tensor:
        return forward(batch.inputs, batch.labels, each=False)

    def nats(self, forward: Any, batch: MicroBatch) -> Tensor:
        return forward(batch.inputs, batch.labels, each=True)

    def export(self, model: Pretrained, handover: Handover, directory: Path) -> None:
        raise ValueError("pairs have no form that transformers load; export another kind")

    def read(self, directory: Path) -> Pretrained:
        raise ValueError(f"{directory} holds no pairs; start from scratch")


@pytest.fixture(autouse=True)
def _stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind that a stranger added by one line joins all others."""
    monkeypatch.setitem(KINDS.own, "pairs", Pairs())
    yield


def config_of(name: str, **values: object) -> ModelConfig:
    shape: dict[str, object] = {"kind": name, "layers": 2, "width": 16, "heads": 2, "row_tokens": ROW_TOKENS}
    if name == "transformers":
        shape["family"] = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32} | SPECIAL
    return model_config({**shape, **values})


def rows_of(step: int) -> Rows:
    """Two or three documents a row, some padding."""
    random = np.random.default_rng(step)
    tokens = random.integers(1, VOCAB, (BATCH_ROWS, ROW_TOKENS + 1)).astype(np.int32)
    cuts = np.sort(random.integers(1, ROW_TOKENS, (BATCH_ROWS, 2)), axis=1)
    segments = (np.arange(ROW_TOKENS)[None, :, None] >= cuts[:, None, :]).sum(-1).astype(np.int32)
    labels = tokens[:, 1:].copy()
    labels[-1, -4:], segments[-1, -4:] = -100, -1
    return Rows(tokens[:, :-1].copy(), labels, segments)


def batch_of(rows: Rows) -> MicroBatch:
    (batch,) = micro_batches(rows, BATCH_ROWS)
    return batch


def engine_of(name: str) -> Engine:
    batch = EngineConfig(precision="fp32", batch_tokens=BATCH_ROWS * ROW_TOKENS, micro_batch_rows=2)
    return start(config_of(name), VOCAB, batch, OptimConfig(), seed=5)


def train(engine: Engine, step: int) -> StepResult:
    rows = rows_of(step)
    return engine.step(rows, int((rows.labels != -100).sum()), lr=1e-3)


@pytest.mark.parametrize("name", NAMES)
class TestEveryKind:
    def test_is_found_by_the_configuration_which_comes_back_from_json(self, name: str):
        config = config_of(name)
        again = model_config(config.model_dump(mode="json"))
        assert again == config and type(again) is type(config) is KINDS[name].config and kind_of(again) is KINDS[name]
        with pytest.raises(ValueError, match=f"the model {name} has no key 'nonsense'"):
            config_of(name, nonsense=1)

    def test_counts_what_it_builds(self, name: str):
        kind: Kind = KINDS[name]
        model = kind.build(config_of(name), VOCAB, 1)
        assert kind.num_parameters(config_of(name), VOCAB) == sum(p.numel() for p in model.parameters())
        said = {name: found.shape for name, found in kind.parameters(config_of(name), VOCAB).items()}
        assert said == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        assert 0 < kind.flops_per_token(config_of(name), VOCAB) < float("inf")

    def test_initial_weights_are_a_function_of_seed_and_name(self, name: str):
        models = [KINDS[name].build(config_of(name), VOCAB, seed) for seed in (1, 1, 2, None)]
        one, same, other, undrawn = (dict(model.named_parameters()) for model in models)
        assert {n: p.shape for n, p in one.items()} == {n: p.shape for n, p in undrawn.items()}
        assert all(torch.equal(one[n], same[n]) for n in one) and not all(torch.equal(one[n], other[n]) for n in one)
        assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in one.values())

    def test_the_loss_is_the_sum_of_the_nats_and_teaches(self, name: str):
        kind, rows = KINDS[name], KINDS[name].arrange(rows_of(0))
        model, batch = build(config_of(name), VOCAB, 1), batch_of(rows)
        loss, nats = kind.loss(model, batch), kind.nats(model, batch)
        assert nats.shape == batch.labels.shape and (nats[batch.labels == -100] == 0).all()
        torch.testing.assert_close(loss.detach(), nats.sum(), rtol=1e-5, atol=1e-4)
        loss.backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())

    def test_a_document_is_not_read_by_its_neighbours(self, name: str):
        kind, rows = KINDS[name], rows_of(0)
        other = Rows(*(field.copy() for field in rows))
        second = rows.segments == 1
        other.inputs[second] = other.inputs[second] % (VOCAB - 1) + 1
        model = build(config_of(name), VOCAB, 1)
        before, after = (kind.nats(model, batch_of(kind.arrange(r))) for r in (rows, other))
        assert torch.equal(before[~torch.from_numpy(second)], after[~torch.from_numpy(second)])
        assert not torch.equal(before, after)

    def test_arranged_rows_keep_their_shape_and_the_number_of_labels(self, name: str):
        rows, arranged = rows_of(0), KINDS[name].arrange(rows_of(0))
        assert [field.shape for field in arranged] == [field.shape for field in rows]
        assert (arranged.labels != -100).sum() == (rows.labels != -100).sum()

    def test_leaves_for_another_library_and_comes_back_or_says_why_not(self, name: str, tmp_path: Path):
        kind, config = KINDS[name], config_of(name)
        weights = {n: p.detach() for n, p in build(config, VOCAB, 1).named_parameters()}
        try:
            kind.export(Pretrained(config, VOCAB, weights), Handover(TOKENIZER, 0), tmp_path / "model")
        except ValueError as error:
            assert ";" in str(error), "the sentence says what to do"
            return
        back = kind.read(tmp_path / "model")
        assert back.vocab_size == VOCAB and set(back.weights) == set(weights)
        load_weights(kind.build(back.config, VOCAB, None), back.weights)

    @pytest.mark.slow
    def test_trains_is_kept_and_goes_on_with_the_same_bits(self, name: str, tmp_path: Path):
        whole = engine_of(name)
        straight = [train(whole, step) for step in range(4)]
        assert straight[-1].loss != straight[0].loss and not any(result.skipped for result in straight)
        probe = whole.probe()
        whole.close()
        first = engine_of(name)
        assert [train(first, step) for step in range(2)] == straight[:2]
        checkpoint.snapshot(first).write(tmp_path / "rank.safetensors")
        first.close()
        second = engine_of(name)
        checkpoint.restore_engine(second, [tmp_path / "rank.safetensors"])
        assert [train(second, step) for step in (2, 3)] == straight[2:]
        assert second.probe() == probe
        nats, predictions = second.evaluate(rows_of(9))
        checkpoint.snapshot(second).write(tmp_path / "rank.safetensors")
        second.close()
        weights = checkpoint.read_full_weights([tmp_path / "rank.safetensors"])
        alone, counted = scorer(config_of(name), VOCAB, 0, weights)(rows_of(9))
        np.testing.assert_allclose(alone, nats, rtol=1e-6)
        assert np.array_equal(counted, predictions)


def test_a_checkpoint_of_a_version_without_kinds_holds_a_decoder():
    assert model_config({"layers": 3}) == ModelConfig(layers=3) and model_config({"layers": 3}).kind == "decoder"


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="there is no kind of model 'decodr'; did you mean 'decoder'"):
        model_config({"kind": "decodr"})


def test_what_is_no_kind_is_refused_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch, {"headrace.kinds": {"odd": "oddities:ODD"}}, oddities="ODD = 5")
    try:
        with pytest.raises(ValueError, match=r"odd = oddities:ODD of stranger0 1\.0 is 5, not an object"):
            model_config({"kind": "odd"})
    finally:
        forget()


def test_a_shape_that_cannot_be_built_is_refused_by_every_kind():
    with pytest.raises(ValidationError, match="use width=99"):
        ModelConfig(width=100, heads=3)
    with pytest.raises(ValueError, match="the model pairs has rank=0"):
        config_of("pairs", rank=0)
