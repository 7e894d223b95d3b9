"""Are the weights that a run begins with taken in once, whole, and a fact of the run from then on?"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.rows import Rows
from models.config import EngineConfig, OptimConfig
from models.engine import checkpoint
from models.engine.engine import Engine, start
from models.engine.weights import StoredWeights, measure_weights
from models.kinds.building import build
from models.kinds.exchange.folder import read_folder
from models.kinds.exchange.writing import write_folder
from models.kinds.kind import Handover, Precision, Pretrained
from models.kinds.kinds import kind_of, model_config
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.ranges import fetch, open_parts
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.config.reading import read_config
from ray_jobs.driver.preflight import check_origin
from ray_jobs.ingest.opening import open_store
from ray_jobs.origin.record import read_files, read_origin
from ray_jobs.origin.shape import begun
from ray_jobs.origin.taking import take_in
from ray_jobs.outcome import ConfigError
from tests.support.folders import DOCUMENT, JSON, VOCAB, config_of, folder_of, taken


def half(tmp_path: Path) -> None:
    """A folder in bfloat16."""
    folder_of(tmp_path / "whole")
    write_folder(read_folder(tmp_path / "whole"), Handover(JSON, DOCUMENT, Precision.BF16), tmp_path / "base")


@pytest.mark.parametrize("make", [half, lambda tmp_path: folder_of(tmp_path / "base", shard_bytes=40_000)])
def test_a_folder_becomes_a_checkpoint_of_the_same_weights_in_their_precision(tmp_path: Path, make: object) -> None:
    make(tmp_path)  # type: ignore[operator]
    store, name = taken(tmp_path)
    commit, given = commits.by_name(store, name), read_folder(tmp_path / "base").weights
    paths = fetch_files(store, commit, tmp_path)
    weights = checkpoint.read_full_weights(paths)
    assert weights.keys() == given.keys()
    assert all(torch.equal(weights[key], weight.float()) for key, weight in given.items())
    width = next(iter(given.values())).itemsize
    assert commit.size_bytes < 1.1 * width * sum(weight.numel() for weight in given.values()) + 10_000
    assert checkpoint.weights_sha256(paths) == measure_weights(given).sha256 == read_origin(store, "mine").sha256  # type: ignore[union-attr]
    assert read_files(store, commit.state.base)["config.json"] == (tmp_path / "base/config.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_engine_reads_what_it_owns_of_it_and_computes_the_same(tmp_path: Path, stage: int) -> None:
    model = folder_of(tmp_path / "base")
    config = config_of(tmp_path)
    store, name = taken(tmp_path)
    layout = EngineConfig(precision="fp32", batch_tokens=256, zero_stage=stage)  # type: ignore[arg-type]
    engine = start(config.model, config.model.tokens_of(0), layout, OptimConfig(), seed=None)
    parts = open_parts(store, commits.by_name(store, name), tmp_path)
    fetch(parts, checkpoint.ranges_needed(checkpoint.owned_stretches(engine), parts))
    checkpoint.restore_engine(engine, parts)
    again = start(config.model, config.model.tokens_of(0), layout, OptimConfig(), 0, dict(model.named_parameters()))
    assert engine.probe() == again.probe()
    engine.close()
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_that_began_with_weights_goes_on_with_the_same_bits(tmp_path: Path, stage: int) -> None:
    folder_of(tmp_path / "base")
    config = config_of(tmp_path)
    store, name = taken(tmp_path)
    layout = EngineConfig(precision="fp32", batch_tokens=256, micro_batch_rows=2, zero_stage=stage)  # type: ignore[arg-type]
    tokens = torch.randint(0, 250, (4, 4, 65), generator=torch.Generator().manual_seed(0)).int().numpy()

    def engine_at(files: list[Path]) -> Engine:
        engine = start(config.model, config.model.tokens_of(0), layout, OptimConfig(), seed=None)
        checkpoint.restore_engine(engine, files)
        return engine

    def train(engine: Engine, steps: range) -> list[str]:
        rows = (Rows(tokens[n, :, :-1].copy(), tokens[n, :, 1:].copy(), np.zeros((4, 64), np.int32)) for n in steps)
        return [engine.step(row, 256, lr=1e-3).loss.hex() for row in rows]

    base = fetch_files(store, commits.by_name(store, name), tmp_path)
    whole = engine_at(base)
    straight = train(whole, range(4))
    whole.close()
    first = engine_at(base)
    assert train(first, range(2)) == straight[:2]
    checkpoint.snapshot(first).write(tmp_path / "rank.safetensors")
    first.close()
    second = engine_at([tmp_path / "rank.safetensors"])
    assert train(second, range(2, 4)) == straight[2:]
    second.close()


def test_what_is_there_already_is_not_written_again_and_runs_share_it(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    before = {path: (tmp_path / "lake" / path).stat().st_mtime_ns for path in store.list("runs")}
    assert taken(tmp_path) == (store, name)
    assert taken(tmp_path, "name=other") == (store, name)
    after = {path: (tmp_path / "lake" / path).stat().st_mtime_ns for path in store.list("runs")}
    assert after.items() >= before.items()
    assert after.keys() - before.keys() == {"runs/other/origin.json"}


def test_whose_checkpoint_it_was_is_written_down_where_it_is_of_the_same_store(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    assert taken(tmp_path, f"model.from={name}", "name=other") == (store, name)
    found = [read_origin(store, run) for run in ("mine", "other")]
    assert [origin and origin.copied_from for origin in found] == [None, name]


def test_weights_that_have_no_room_in_the_store_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    os.truncate(tmp_path / "base/model.safetensors", 2**43)  # it takes no room itself
    with pytest.raises(ConfigError, match=r"^the weights of model\.from=.*base take 8796\.1 GB in .*, which has"):
        check_origin(config_of(tmp_path))


def test_a_run_may_begin_with_a_checkpoint_of_another_store_and_hands_back_the_files_of_its_folder(
    tmp_path: Path,
) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    elsewhere = [f"store={tmp_path}/new", f"model.from={store.uri}#{name}", "name=mine"]
    config = begun(read_config([], elsewhere))
    assert config.tokenizer.kind == "model"
    opened = open_store(config)
    other = opened.store
    again = take_in(other, config, opened.tokenizer)
    assert again is not None
    mine, theirs = commits.by_name(other, again), commits.by_name(store, name)
    assert checkpoint.weights_sha256(fetch_files(other, mine, tmp_path)) == checkpoint.weights_sha256(
        fetch_files(store, theirs, tmp_path)
    )
    assert read_files(other, mine.state.base) == read_files(store, theirs.state.base)
    assert begun(read_config([], elsewhere)) == config


def test_tables_grow_to_the_tokens_that_were_added(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    path = tmp_path / "base/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["added_tokens"] += [tokenizer["added_tokens"][0] | {"id": VOCAB, "content": "<|more|>"}]
    path.write_text(json.dumps(tokenizer))
    store, name = taken(tmp_path, f"model.vocabulary={VOCAB + 1}")
    os.utime(tmp_path / "base/model.safetensors", ns=(1, 1))
    assert taken(tmp_path, f"model.vocabulary={VOCAB + 1}") == (store, name), "touched, and the same"
    weights = StoredWeights(fetch_files(store, commits.by_name(store, name), tmp_path))
    given = read_folder(tmp_path / "base").weights
    assert torch.equal(weights["embed.weight"][:VOCAB], given["embed.weight"][:VOCAB])
    assert torch.equal(weights["embed.weight"][VOCAB], given["embed.weight"][:VOCAB].mean(0))
    assert config_of(tmp_path, f"model.vocabulary={VOCAB + 1}").model.vocabulary == VOCAB + 1
    with pytest.raises(ConfigError, match=f"model.vocabulary={VOCAB - 1} differs from {VOCAB}"):
        config_of(tmp_path, f"model.vocabulary={VOCAB - 1}", "name=other")


@pytest.mark.slow
def test_a_model_of_transformers_is_taken_in_as_it_is_and_keeps_what_was_found_out(tmp_path):
    pytest.importorskip("transformers")
    family = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    family |= {"bos_token_id": DOCUMENT, "eos_token_id": DOCUMENT}
    shape = model_config({"kind": "transformers", "family": family, "vocabulary": VOCAB, "row_tokens": 64})
    weights = {name: one.detach() for name, one in build(shape, VOCAB, 3).named_parameters()}
    kind_of(shape).export(Pretrained(shape, VOCAB, weights), Handover(JSON, DOCUMENT), tmp_path / "base")
    with pytest.raises(ConfigError, match=r"model_type=gpt2; .*compute it: model.kind=transformers"):
        config_of(tmp_path)
    with pytest.raises(ConfigError, match="row_tokens=128 is longer than the context of 64"):
        config_of(tmp_path, "model.kind=transformers", "model.row_tokens=128")
    store, name = taken(tmp_path, "model.kind=transformers")
    commit = commits.by_name(store, name)
    assert commit.state.model["packed"] is True and commit.state.model["kind"] == "transformers"
    kept = full_weights(store, commit, tmp_path)
    assert set(kept) == set(weights) and all(torch.equal(kept[one], weights[one]) for one in weights)
