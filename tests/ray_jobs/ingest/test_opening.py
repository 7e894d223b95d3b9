"""Does a store refuse a tokenizer, or settings, that are not those it was made with?"""

import json
from pathlib import Path

import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.documents.tokenizer import train_bpe
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints.manifest import publish
from ray_jobs.config.schema import Config
from ray_jobs.driver.preflight import check_writable
from ray_jobs.ingest import opening
from ray_jobs.ingest.opening import open_store, refuse_other_tokenizer
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_frozen, read_tokenizer
from tests.support.checkpoints import commit_at
from tests.support.lakes import fill_lake
from tests.support.small_store import small_config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a store that is made already."""
    config = small_config(tmp_path)
    open_store(config)
    return config


def swapped(store: Store) -> bytes:
    """The store's tokenizer with two ids exchanged."""
    raw = json.loads(store.read(opening.TOKENIZER))
    vocabulary = raw["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    return json.dumps(raw).encode()


@pytest.mark.parametrize("change", [swapped, lambda store: b"{", lambda store: b"\xff", lambda store: b"{}"])
def test_a_tokenizer_that_changed_is_refused_by_name(config, change):
    store = Store.open(config.store)
    store.write(opening.TOKENIZER, change(store))
    for use in (lambda: open_store(config), lambda: read_tokenizer(store)):
        with pytest.raises(DamagedError, match=r"/tokenizer\.json .*; restore it from a copy"):
            use()


@pytest.mark.parametrize("path", [opening.SETTINGS, opening.TOKENIZER])
def test_a_store_whose_settings_are_gone_is_not_taken_for_a_new_one(config, path):
    store = Store.open(config.store)
    fill_lake(Lake(store), [["kept"]])
    store.delete(path)
    with pytest.raises(DamagedError, match=f"/{path} is gone, and the store has windows .*; restore it from a copy"):
        open_store(config)


def test_settings_that_changed_are_refused_by_name(config):
    store = Store.open(config.store)
    store.write(opening.SETTINGS, store.read(opening.SETTINGS).replace(b'"seed": 7', b'"seed": 6'))
    with pytest.raises(DamagedError, match=r"/store\.json is damaged"):
        open_store(config)


def test_a_store_of_an_older_version_gets_a_digest_and_a_fingerprint(config):
    store = Store.open(config.store)
    old = {"format": 1, "seed": 7, "held_out": 0.2, "tokenizer": config.tokenizer.model_dump(exclude={"path"})}
    store.write(opening.SETTINGS, json.dumps(old).encode())
    assert read_tokenizer(store).fingerprint == open_store(config).tokenizer.fingerprint
    frozen = read_frozen(store)
    assert frozen is not None
    assert (frozen.format, frozen.tokenizer_fingerprint) == (2, read_tokenizer(store).fingerprint)


def test_the_held_out_share_may_be_raised_but_not_lowered(config):
    open_store(config)
    raised = config.model_copy(update={"held_out": config.held_out + 0.1})
    (warning,) = open_store(raised).warnings
    assert warning.startswith(f"from now on {raised.held_out:g} of the documents are held out")
    assert open_store(raised).warnings == () and read_frozen(Store.open(config.store)).held_out == raised.held_out
    with pytest.raises(ConfigError, match="it may only be raised"):
        open_store(config)


@pytest.mark.parametrize("made_with", [None, 0.02, 0.3])
def test_who_names_no_held_out_share_gets_five_percent_or_what_the_store_holds_out(tmp_path, made_with):
    config = small_config(tmp_path)
    open_store(config.model_copy(update={"held_out": made_with}))
    silent = open_store(config.model_copy(update={"held_out": None}))
    frozen = read_frozen(Store.open(config.store))
    assert frozen is not None and frozen.held_out == silent.settings.held_out == (made_with or 0.05)
    assert silent.warnings == ()


def test_a_checkpoint_of_another_tokenizer_is_refused(config):
    opened = open_store(config)
    for fingerprint in (None, opened.tokenizer.fingerprint):
        refuse_other_tokenizer(opened.store, commit_at("small", 3, tokenizer=fingerprint), opened.tokenizer)
    other = commit_at("small", 3, tokenizer="0123456789abcdef")
    with pytest.raises(DamagedError, match=r"checkpoint small/00000003 was trained with tokenizer 0123456789abcdef"):
        refuse_other_tokenizer(opened.store, other, opened.tokenizer)
    publish(opened.store, other)
    with pytest.raises(DamagedError, match="was trained with tokenizer"):
        check_writable(config)


def test_a_start_that_ended_between_settings_and_tokenizer_is_told(config, monkeypatch):
    store = Store.open(config.store)
    store.delete(opening.TOKENIZER)
    assert open_store(config).tokenizer.vocab_size == 257, "the same tokenizer is made again"
    store.delete(opening.TOKENIZER)
    monkeypatch.setattr(opening, "PUBLISH_SECONDS", 0.0)
    monkeypatch.setattr(opening, "make_tokenizer", lambda *given, **more: train_bpe(["a text"] * 9, 300))
    with pytest.raises(ConfigError, match=r"store\.json names a tokenizer that is not there"):
        open_store(config)
