"""Does `headrace run` answer a user's mistake with one sentence and exit code 2, before any cluster starts?

Each mistake is a process of its own, as the user starts it. Ray is given a folder for its sessions: it stays empty.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from cluster.storage.store import Store
from data_ops.documents.tokenizer import train_bpe
from ray_jobs.config.reading import read_config
from ray_jobs.ingest.opening import open_store
from ray_jobs.store.lease import Heart, acquire
from tests.support.folders import folder_of
from tests.support.runs import environment

pytestmark = pytest.mark.slow
GIVEN = ("store=./lake", "name=news", "sources.mine.path=texts/*.jsonl", "tokenizer.kind=bytes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with two documents in it."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    return tmp_path


def run(folder: Path, *overrides: str, given: Sequence[str] = GIVEN) -> str:
    """Start `headrace run`; the one sentence it is refused with."""
    sessions = folder / "ray-sessions"
    sessions.mkdir()
    argv = [sys.executable, "-m", "ray_jobs", "run", "--json", *given, *overrides]
    variables = environment() | {"RAY_TMPDIR": str(sessions)}
    done = subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    (sentence,) = done.stderr.splitlines()
    assert json.loads(done.stdout) == {"error": sentence, "code": 2}
    assert not list(sessions.iterdir())
    return sentence


def lose_a_shard(base: Path) -> None:
    next(base.glob("model-00002*")).unlink()


def pickles_only(base: Path) -> None:
    for path in base.glob("model*"):
        path.unlink()
    (base / "pytorch_model.bin").write_bytes(b"")


def no_room(base: Path) -> None:
    os.truncate(next(base.glob("model-00001*")), 2**43)  # it takes no room itself


def say(**values: object) -> Callable[[Path], None]:
    """Let config.json say something else."""

    def change(base: Path) -> None:
        path = base / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def other_tokenizer(base: Path) -> None:
    (base / "tokenizer.json").write_text(train_bpe(["one two three four five six"] * 9, 300).to_json())


@pytest.mark.parametrize(
    ("spoil", "overrides", "sentence"),
    [
        (lose_a_shard, (), "lacks model-00002-of-00005.safetensors (1 of 5 files); fetch all its files"),
        (say(model_type="gpt2"), (), "has model_type=gpt2; choose a checkpoint of one of llama, mistral"),
        (
            lambda base: None,
            ("tokenizer.kind=bytes",),
            "is not the tokenizer that ./base was trained with",
        ),
        (
            other_tokenizer,
            (),
            "tokens, its tables have 257 rows; fetch its own tokenizer.json, or let",
        ),
        (
            say(auto_map={"AutoModel": "theirs.py"}),
            (),
            "brings code of its own (auto_map in its config.json)",
        ),
        (pickles_only, (), "holds its weights as *.bin (pickles, which may run code when they are read)"),
        (no_room, (), "8796.1 GB in "),
        (say(num_hidden_layers=3), (), "lacks model.layers.2.input_layernorm.weight, which its config.json promises"),
        (lambda base: None, ("model.row_tokens=128",), "model.row_tokens=128 is longer than the context of 64"),
        (lambda base: None, ("model.width=96",), "model.width=96 differs from 48, which ./base has; leave it out"),
    ],
)
def test_a_mistake_with_a_pretrained_model_is_a_sentence(
    folder: Path, spoil: Callable[[Path], None], overrides: tuple[str, ...], sentence: str
) -> None:
    folder_of(folder / "base", shard_bytes=60_000)
    spoil(folder / "base")
    given = [one for one in GIVEN if not one.startswith("tokenizer")]
    assert sentence in run(folder, "model.from=./base", "model.row_tokens=64", *overrides, given=given)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("optim.leraning_rate=1e-3", "optim.leraning_rate is unknown; did you mean optim.lr?"),
        ("model.width=wide", "model.width='wide': input should be a valid integer"),
        ("sources.mine.path=txets/*.jsonl", "matches no file; check the path"),
        (
            "engine.workers=3",
            "cannot be split over 3 workers in rows of 256 tokens: use 1, 2 or 4 workers",
        ),
        ("sources.mine.kind=flies", "sources.mine.kind='flies' is unknown; did you mean files?"),
        ("-c nothing.yaml", "-c nothing.yaml is neither a file nor a recipe; recipes are chat, demo"),
        ("round.tokens=100", "round.tokens=100 is less than one step of engine.batch_tokens=16384"),
        ("tokenizer.kind=file", "tokenizer.path"),
    ],
)
def test_a_mistake_in_the_configuration(folder: Path, mistake: str, sentence: str) -> None:
    assert sentence in run(folder, *mistake.split())


def test_an_empty_corpus(folder: Path) -> None:
    (folder / "texts" / "a.jsonl").write_text("")
    assert run(folder).startswith("sources mine hold no record; add documents, or wait for them with --follow")


def test_a_store_that_cannot_be_written(folder: Path) -> None:
    (folder / "lake").write_text("a file")
    sentence = run(folder)
    assert str(folder / "lake") in sentence
    assert sentence.endswith("choose another store")


def test_another_tokenizer_on_an_old_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    open_store(read_config([], GIVEN))
    sentence = run(folder, "tokenizer.kind=bpe")
    assert sentence.startswith('tokenizer={"kind": "bpe"')
    assert sentence.endswith("set it back, or use another store")


def test_a_run_that_is_live(folder: Path) -> None:
    store = Store.open(str(folder / "lake"))
    heart = Heart(store, acquire(store, "news"))
    try:
        sentence = run(folder)
    finally:
        heart.release()
    assert sentence.startswith(f"run news is being driven by process {os.getpid()} on ")


def test_a_dry_run_leaves_nothing_behind(folder: Path) -> None:
    argv = [sys.executable, "-m", "ray_jobs", "run", "--dry-run", "--json", *GIVEN]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=True)
    assert json.loads(done.stdout)["name"] == "news"
    argv.remove("--json")
    told = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=True)
    *head, changed = told.stdout.split("\nname: ")
    assert yaml.safe_load(f"name: {changed}")["sources"] == {"mine": {"path": f"{folder}/texts/*.jsonl"}} and head
    assert [path.name for path in folder.iterdir()] == ["texts"]
