"""Is every mistake that the driver can see answered with one sentence: what, the value, and what to do?"""

import json
import os
import sys
from dataclasses import asdict, replace

import pytest

from cluster.storage.store import Store
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import next_window
from data_ops.mixing.versions import MixtureVersion, publish_version
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.commands.status import status, status_lines
from ray_jobs.config.reading import read_config
from ray_jobs.driver import run as driver
from ray_jobs.driver.preflight import check_run, check_tasks
from ray_jobs.ingest.opening import open_store
from ray_jobs.outcome import ConfigError
from ray_jobs.store import lease as leases
from ray_jobs.store.lease import Heart, acquire
from tests.support.checkpoints import commit_at

LOOK = {"follow": False, "stop": lambda: False, "warned": set(), "report": lambda event: None}


@pytest.fixture
def texts(tmp_path):
    """A corpus of two documents."""
    place = tmp_path / "texts" / "a.jsonl"
    place.parent.mkdir()
    place.write_text('{"text": "one"}\n{"text": "two"}\n')
    return place


@pytest.fixture
def given(texts, tmp_path):
    """The overrides of a configuration without a mistake."""
    return [f"store={tmp_path / 'store'}", "name=news", f"sources.mine.path={texts}", "tokenizer.kind=bytes"]


def mistakes(*overrides, follow=False, drives=True):
    """The sentences with which a run is refused; [] if it is not."""
    try:
        check_run(read_config([], overrides), follow=follow, drives=drives)
    except ConfigError as error:
        return str(error).split("\n")
    return []


def mistake(*overrides):
    (sentence,) = mistakes(*overrides)
    return sentence


def commit(config, step=1):
    """Leave a checkpoint of this run behind."""
    facts = {"model": config.model.model_dump(mode="json"), "batch_tokens": config.engine.batch_tokens}
    commits.publish(Store.open(config.store), commit_at(config.name, step, 0, step, tokens=512, **facts))


def test_a_right_configuration_is_let_through_and_leaves_nothing_behind(given, tmp_path):
    assert mistakes(*given) == []
    assert Store.open(str(tmp_path / "store")).list() == []
    open_store(read_config([], given))
    commit(read_config([], given))
    assert mistakes(*given) == []


def test_1_an_unknown_key(given):
    assert mistake(*given, "optim.lrate=1") == "optim.lrate is unknown; did you mean optim.lr?"


def test_2_a_value_of_the_wrong_type(given):
    assert mistake(*given, "model.width=wide") == (
        "model.width='wide': input should be a valid integer, unable to parse string as an integer"
    )


def test_3_files_that_are_not_there(given, tmp_path):
    pattern = tmp_path / "txets" / "*.jsonl"
    assert mistake(*given, f"sources.mine.path={pattern}") == (
        f"sources.mine.path={pattern} matches no file; check the path, or set sources.mine.wait=true "
        "to start before data arrives"
    )
    assert mistakes(*given, f"sources.mine.path={pattern}", "sources.mine.wait=true") == []


def test_4_an_empty_corpus(given, texts):
    texts.write_text("")
    sentence = mistake(*given)
    assert sentence.startswith("sources mine hold no record; add documents")
    assert "--follow" in sentence
    assert mistakes(*given, follow=True) == []


def test_5_a_store_that_cannot_be_written(given, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "store"
    sentence = mistake(*given, f"store={place}")
    assert str(place) in sentence
    assert sentence.endswith("a part of the path is a file; choose another store")


def test_6_another_tokenizer_on_an_old_store(given, tmp_path):
    open_store(read_config([], given))
    sentence = mistake(*given, "tokenizer.kind=bpe")
    assert sentence.startswith('tokenizer={"kind": "bpe"')
    assert f"which store {tmp_path / 'store'} was made with; set it back, or use another store" in sentence


def test_6_another_tokenizer_file_on_an_old_store(given, tmp_path):
    from data_ops.documents.tokenizer import byte_tokenizer, train_bpe

    files = {"a": byte_tokenizer(), "b": train_bpe(["some text and some more text"] * 3, 270)}
    for name, tokenizer in files.items():
        (tmp_path / f"{name}.json").write_text(tokenizer.to_json())
    of = {name: [*given[:3], "tokenizer.kind=file", f"tokenizer.path={tmp_path / name}.json"] for name in files}
    open_store(read_config([], of["a"]))
    assert mistakes(*of["a"]) == []
    sentence = mistake(*of["b"])
    assert f"b.json has fingerprint {files['b'].fingerprint}" in sentence
    assert f"was made with {files['a'].fingerprint}; give that tokenizer, or use another store" in sentence


def test_7_another_seed_on_an_old_store(given, tmp_path):
    open_store(read_config([], given))
    store = tmp_path / "store"
    assert mistake(*given, "seed=7") == (
        f"seed=7 differs from 0, which store {store} was made with; set it back, or use another store"
    )
    assert mistake(*given, "held_out=0.01") == (
        f"held_out=0.01 is less than 0.05, which store {store} holds out; it may only be raised: set held_out=0.05 or "
        "more, or use another store"
    )


def test_8_a_number_of_workers_that_does_not_divide_the_batch(given):
    assert mistake(*given, "engine.workers=3", "engine.batch_tokens=4096") == (
        "engine.batch_tokens=4096 cannot be split over 3 workers in rows of 256 tokens: "
        "use 1, 2 or 4 workers, or batch_tokens=4608."
    )


def test_9_a_run_that_is_live(given, tmp_path):
    store = Store.open(str(tmp_path / "store"))
    heart = Heart(store, acquire(store, "news"))
    sentence = mistake(*given)
    assert sentence.startswith(f"run news is being driven by process {os.getpid()} on ")
    assert sentence.endswith("; wait for it, stop it, or choose another name")
    assert mistakes(*given, drives=False) == []
    assert mistakes(*given, "name=other") == []
    heart.release()
    assert mistakes(*given) == []


def test_a_run_whose_driver_was_elsewhere_is_left_to_the_lease_which_waits_for_its_heart(given, tmp_path):
    store = Store.open(str(tmp_path / "store"))
    lease = replace(acquire(store, "news"), host="elsewhere:1234")
    store.write(leases._claim_path("news", 0), json.dumps(asdict(lease)).encode())
    assert mistakes(*given) == []


def test_10_a_model_of_another_shape_than_the_runs_checkpoint(given):
    commit(read_config([], given))
    assert mistake(*given, "model.layers=5") == (
        "model.layers=5 differs from 4, with which run news was trained; set it back, or use another name for a new run"
    )
    assert mistakes(*given, "model.layers=5", "name=other") == []
    assert mistakes(*given, "model.recompute=true") == []
    assert mistake(*given, "engine.batch_tokens=4096").startswith("engine.batch_tokens=4096 differs from 16384")


def test_another_optimizer_than_that_of_the_runs_checkpoint(given):
    commit(read_config([], given))
    assert mistake(*given, "optim.kind=lion") == (
        "optim.kind=lion differs from adamw, whose states checkpoint news/00000001 holds; set it back, or begin "
        "another run with its weights: name=... model.from=news/00000001"
    )
    assert mistakes(*given, "optim.kind=lion", "name=other") == []


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("optim.kind=lion", "optim.momentum=0.9"), "optim: momentum=0.9 is not read by kind=lion"),
        (("optim.kind=sgd",), "optim.kind='sgd': input should be 'adamw', 'lion' or 'muon'"),
        (("optim.kind=muon", "engine.offload=optimizer"), "engine.offload=optimizer keeps on hosts"),
    ],
)
def test_what_an_optimizer_cannot_do(given, overrides, sentence):
    assert sentence in mistake(*given, *overrides)


def test_a_run_that_has_a_mixture_cannot_shed_by_backlog(given, tmp_path):
    sheds = "round.max_backlog_tokens=500"
    assert mistakes(*given, sheds) == []
    publish_version(Store.open(str(tmp_path / "store")), "news", MixtureVersion(version=0, mixture=None))
    assert "max_backlog_tokens=500 cannot be had beside a mixture, which run news has" in mistake(*given, sheds)
    assert "leave one of them out" in mistake(*given, sheds, "mixture.shares=by_time")
    assert "mixture names web, which is no source; there are mine" in mistake(*given, "mixture.shares={web: 1}")


def test_11_no_sources(tmp_path):
    assert mistake(f"store={tmp_path / 'store'}") == (
        "sources is empty; name at least one, for example sources.mine.path='texts/*.jsonl'"
    )


def test_mistakes_of_different_kinds_are_said_together(given, tmp_path):
    (tmp_path / "file").write_text("")
    store = tmp_path / "file" / "store"
    found = mistakes(*given, f"store={store}", "sources.mine.path=/nowhere/*.txt")
    assert len(found) == 2
    assert found[0].startswith("sources.mine.path=/nowhere/*.txt matches no file")
    assert str(store) in found[1]


def test_a_damaged_checkpoint_keeps_nobody_from_resuming(given):
    config = read_config([], given)
    for step in (1, 2):
        commit(config, step)
    Store.open(config.store).write("runs/news/checkpoints/00000002.json", b'{"format": 1, "st')
    assert mistakes(*given) == []
    assert mistake(*given, "model.layers=5").startswith("model.layers=5 differs from 4")


def test_a_checkpoint_of_another_version_is_one_sentence_too(given):
    config = read_config([], given)
    commit(config)
    Store.open(config.store).write("runs/news/checkpoints/00000001.json", b'{"format": 99}')
    assert mistake(*given) == "checkpoint news/1 has format 99; this version reads up to 2"


def test_status_reads_a_store_and_changes_nothing_in_it(given):
    config = read_config([], given)
    store = open_store(config).store
    commit(config)
    commit(config, 2)
    store.write("runs/news/checkpoints/00000002.json", b"")
    before = store.list()
    found = status(store)
    assert store.list() == before
    assert (found["windows"], found["champion"]) == (0, None)
    (run,) = found["runs"]
    assert (run["name"], run["driver"], run["step"], run["tokens"]) == ("news", None, 1, 512)
    lines = status_lines(found)
    assert "champion none yet" in lines[0]
    assert "news   step 1 (round 0)   no commit yet   at rest" in lines[1]


def test_an_open_window_that_this_configuration_would_read_otherwise_is_told_before_a_cluster_is_touched(
    given, tmp_path
):
    store = Store.open(str(tmp_path / "store"))
    both = tmp_path / "both.jsonl"
    both.write_text('{"text": "One of two texts.", "body": "The other one."}\n', encoding="utf-8")
    given = [*given, f"sources.mine.path={both}", "sources.mine.settle=0"]
    opened = open_store(read_config([], given))
    next_window(IngestContext(opened.lake, opened.settings, **LOOK))
    other = [*given, "sources.mine.text=body"]
    assert mistakes(*given) == []
    assert mistakes(*other) == [
        "window 0 was planned by this run with sources.mine.text=text, which is body here; set it back, or give "
        "window.as_configured=0 to have it read as configured here"
    ]
    (told,) = mistakes(*other, "name=other", drives=False)
    assert "by run news, which is not at work, with sources.mine.text=text, which is body here; start run news" in told
    assert mistakes(*other, "window.as_configured=0") == []
    for lease in ("news", "news@sweep"):
        heart = Heart(store, acquire(store, lease))
        assert mistakes(*other, "name=other") == [], "it is at work and will finish it"
        heart.release()


def test_a_starting_driver_deletes_what_a_killed_one_left_half_written(given, tmp_path, monkeypatch):
    left = tmp_path / "store/runs/news/rounds/.00000003.arrow.ab12.aside"
    left.parent.mkdir(parents=True)
    left.write_text("tokens of documents")
    os.utime(left, (0, 0))

    def no_cluster(*given, **how):
        raise ConfigError("far enough")

    monkeypatch.setattr(driver, "connect", no_cluster)
    monkeypatch.setattr(driver, "_load", lambda: None)
    with pytest.raises(ConfigError, match="far enough"):
        driver.run(read_config([], given), None)
    assert not left.exists()


def test_tensorboard_without_its_package_is_refused_with_the_command_that_installs_it(given, monkeypatch):
    assert mistakes(*given, "telemetry.tensorboard=true") == []
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert mistakes(*given) == []
    assert "pip install 'headrace[tensorboard]'" in mistake(*given, "telemetry.tensorboard=true")


def test_a_task_that_cannot_be_asked_is_told_before_anything_is_started(tmp_path):
    pytest.importorskip("lm_eval")
    missing = read_config([], [f"store={tmp_path}", "evaluate.tasks=[{kind: lm_eval, file: gone.yaml}]"])
    with pytest.raises(ValueError, match=r"the task file gone.yaml cannot be read"):
        check_tasks(missing)
    bert = "model={kind: encoder, family: {model_type: bert}}"
    masks = read_config([], [f"store={tmp_path}", bert, "evaluate.tasks=[{kind: lm_eval, file: small_pairs}]"])
    with pytest.raises(
        ValueError, match=r"names small_pairs, which asks what follows, and model.kind=encoder fills masks"
    ):
        check_tasks(masks)
