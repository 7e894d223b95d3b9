"""Does a run get heads for further tokens on a model that has none, and leave them out where they do not belong?"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cluster.storage.store import Store
from models.kinds.exchange.folder import read_folder
from models.kinds.kinds import model_config
from models.sampling import Sampling
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.commands.promote import export_checkpoint
from ray_jobs.config.reading import read_config
from ray_jobs.driver.preflight import check_origin
from ray_jobs.ingest.opening import open_store
from ray_jobs.origin.shape import begun
from ray_jobs.origin.taking import take_in
from ray_jobs.outcome import ConfigError
from ray_jobs.serving.speaker import Speaker
from tests.support.folders import config_of, folder_of, taken

THREE = "model.mtp={tokens: 3}"


def weights_of(store: Store, name: str, scratch: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint."""
    return dict(full_weights(store, commits.by_name(store, name), scratch))


def continued(tmp_path: Path, name: str, *overrides: str) -> str:
    """Begin another run of the store with one of its checkpoints."""
    given = [f"store={tmp_path}/lake", "name=other", f"model.from={name}", "model.row_tokens=64", *overrides]
    config = begun(read_config([], given))
    opened = open_store(config)
    taken_in = take_in(opened.store, config, opened.tokenizer)
    assert taken_in is not None
    return taken_in


def test_heads_are_drawn_by_seed_and_name_and_the_trunk_stays(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path, THREE)
    found, given = weights_of(store, name, tmp_path), read_folder(tmp_path / "base").weights
    heads = {key for key in found if key.startswith("ahead.")}
    assert found.keys() - heads == given.keys() and {key.split(".")[1] for key in heads} == {"0", "1"}
    assert all(torch.equal(found[key], weight) for key, weight in given.items())
    assert not torch.equal(found["ahead.0.q.weight"], found["ahead.1.q.weight"])
    assert found["ahead.0.norm.weight"].eq(1).all() and 0 < found["ahead.0.q.weight"].std() < 0.03
    check_origin(config_of(tmp_path, THREE))  # a resume: nothing changed
    config = config_of(tmp_path, THREE, "name=again", "seed=5")
    other = take_in(store, config, open_store(config_of(tmp_path, THREE)).tokenizer)
    assert other is not None and not torch.equal(
        weights_of(store, other, tmp_path)["ahead.0.q.weight"], found["ahead.0.q.weight"]
    )


def test_heads_go_on_with_their_checkpoint_and_are_dropped_or_added_where_that_is_asked(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path, THREE)
    before = weights_of(store, name, tmp_path)
    kept = model_config(commits.by_name(store, continued(tmp_path, name, "name=a")).state.model)
    assert kept.further == 2
    for tokens, names in (("{tokens: 2}", {"0"}), ("{tokens: 4}", {"0", "1", "2"}), ("null", set[str]())):
        given = (f"name=with{len(names)}", f"model.mtp={tokens}")
        after = weights_of(store, continued(tmp_path, name, *given), tmp_path)
        assert {key.split(".")[1] for key in after if key.startswith("ahead.")} == names
        assert all(torch.equal(weight, before[key]) for key, weight in after.items() if key in before)


def test_export_leaves_heads_out_and_says_so_and_the_trunk_comes_back_with_its_bits(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    _, name = taken(tmp_path, THREE)
    told = export_checkpoint(config_of(tmp_path, THREE), name, str(tmp_path / "out"))
    assert told["left_out"] == "the 2 heads of further tokens (model.mtp), which no family has"
    out, given = read_folder(tmp_path / "out"), read_folder(tmp_path / "base")
    assert out.config == given.config and out.weights.keys() == given.weights.keys()
    assert all(torch.equal(out.weights[key], weight) for key, weight in given.weights.items())


def test_a_checkpoint_with_heads_speaks_as_its_trunk(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path, THREE)
    plain = continued(tmp_path, name, "model.mtp=null")
    for how in (Sampling(temperature=0), Sampling(seed=3)):
        texts = []
        for each in (name, plain):
            speaker = Speaker(store, commits.by_name(store, each), "fp32")
            texts.append([token for tokens in speaker.go_on("ab", 12, how) for token in tokens])
        assert texts[0] == texts[1]


def test_adapters_on_a_model_with_heads_are_refused_with_what_to_do(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    _, name = taken(tmp_path, THREE)
    with pytest.raises(ConfigError, match=r"lora stands beside mtp of tokens=3, .* set one of them to null"):
        continued(tmp_path, name, "model.lora={rank: 2}")
