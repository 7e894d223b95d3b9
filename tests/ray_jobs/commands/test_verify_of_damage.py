"""Does `headrace verify --deep` name everything that changed, and nothing else?"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cluster.storage.store import Store
from ray_jobs.__main__ import app
from ray_jobs.commands.verify import verify_deep
from ray_jobs.config.schema import Config
from tests.support.small_store import RUN, make_store

pytestmark = pytest.mark.slow

CHANGED = {
    "tokenizer.json": "tokenizer.json has fingerprint",
    "store.json": "store.json is damaged",
    "registry/champion.json": "registry/champion.json is damaged",
    "registry/decisions/small-00000006.json": "small-00000006.json is damaged",
    f"runs/{RUN}/checkpoints/00000003.json": "checkpoints/00000003.json is damaged",
    f"runs/{RUN}/lease/00000000.json": "lease/00000000.json is damaged",
    f"runs/{RUN}/config.json": "config.json is damaged",
    f"runs/{RUN}/evaluations/00000006.arrow": "evaluations/00000006.arrow is damaged",
    f"runs/{RUN}/rounds/00000001.arrow": "rounds/00000001.arrow is damaged; it is made anew",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A store of every kind of file; whoever changes one puts it back."""
    return make_store(tmp_path_factory.mktemp("small"))


def test_a_whole_store_is_whole(config: Config) -> None:
    found = verify_deep(config)
    assert (found.damaged, found.windows_without_digest) == ([], 0)
    assert (found.windows, found.runs) == (5, 1)


@pytest.mark.parametrize("path", CHANGED)
def test_a_file_that_changed_is_named(config: Config, path: str) -> None:
    store = Store.open(config.store)
    data = store.read(path)
    place = data.index(b'"a"') + 1 if path == "tokenizer.json" else len(data) // 3
    changed = bytes([data[place] ^ 2]) if path == "tokenizer.json" else bytes([data[place] ^ 1])
    store.write(path, data[:place] + changed + data[place + 1 :])
    try:
        damaged = verify_deep(config).damaged
    finally:
        store.write(path, data)
    assert any(CHANGED[path] in sentence for sentence in damaged), damaged


def test_a_rank_file_that_changed_is_named_with_its_checkpoint(config: Config) -> None:
    place = next(Path(config.store).glob(f"runs/{RUN}/checkpoints/00000006-*/rank-00000.safetensors"))
    data = place.read_bytes()
    place.write_bytes(data[:-244] + bytes([data[-244] ^ 1]) + data[-243:])  # the weight stands first
    damaged = verify_deep(config).damaged
    place.write_bytes(data)
    assert any("rank-00000.safetensors is damaged: it does not hold the bytes of small/00000006" in s for s in damaged)
    assert any("the champion small/00000006 has weights" in sentence for sentence in damaged)


def test_the_command_ends_with_one_and_names_what_is_damaged(config: Config) -> None:
    words = ["verify", f"name={RUN}", f"store={config.store}", "--json"]
    for place in Path(config.store).glob("documents/*.parquet"):
        rows = pq.read_table(place)
        texts = pa.array([text and text.replace("Document 20", "Document 21") for text in rows["text"].to_pylist()])
        pq.write_table(rows.set_column(rows.column_names.index("text"), rows.schema.field("text"), texts), place)
    ended = CliRunner().invoke(app, [*words, "--deep"])
    found = json.loads(ended.stdout.splitlines()[-1])
    assert ended.exit_code == 1
    assert not found["ok"]
    damage = [sentence for sentence in found["problems"] if "/documents is damaged" in sentence]
    assert damage and all(".parquet" in sentence for sentence in damage) and found["damaged"] >= len(damage)


def test_a_ledger_that_is_gone_or_went_back_is_named(config: Config, tmp_path: Path) -> None:
    folder = Path(config.store) / "ledger"
    newest = max((folder / "_delta_log").glob("*.json"))
    for gone in (newest, folder):
        gone.rename(tmp_path / "aside")
        try:
            damaged = verify_deep(config).damaged
        finally:
            (tmp_path / "aside").rename(gone)
        assert any("ledger holds no note of" in each and f"{RUN}/00000006; start" in each for each in damaged), damaged


def test_settings_whose_digest_was_taken_off_are_named(config: Config) -> None:
    place = Path(config.store) / "store.json"
    data = place.read_text()
    content = json.loads(data)
    del content["digest"]
    place.write_text(json.dumps(content))
    try:
        damaged = verify_deep(config).damaged
    finally:
        place.write_text(data)
    assert any("store.json is damaged: it has no digest" in sentence for sentence in damaged), damaged
