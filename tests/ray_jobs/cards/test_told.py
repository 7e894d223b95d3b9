"""Is a base named as the hub knows it, or at least without a path, and is what was stated found where it was stated?"""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.storage.store import Store
from models.config import Objective
from ray_jobs.cards.markdown import markdown
from ray_jobs.cards.model_card import model_card
from ray_jobs.cards.told import Stated, Told, stated
from ray_jobs.cards.training_time import TrainingTime
from ray_jobs.config.blocks import CardConfig
from ray_jobs.config.schema import Config
from ray_jobs.origin.place import Checkpoint, Folder
from ray_jobs.origin.record import Origin
from ray_jobs.origin.taking import license_of
from tests.support.checkpoints import commit_at
from tests.support.registry.champions import FACTS

TOLD = Told(FACTS, None, [], 0, TrainingTime(), None, Stated(CardConfig()))


def begun(named: str, *, is_of_hub: bool = False, copied_from: str | None = None) -> Told:
    origin = Origin(
        named=named,
        checkpoint="base@1/00000000",
        sha256="2",
        tokenizer="3",
        brings_tokenizer=True,
        is_of_hub=is_of_hub,
        license="mit",
        copied_from=copied_from,
    )
    return replace(TOLD, facts=replace(FACTS, origin=origin))


@pytest.mark.parametrize(
    ("told", "base", "of_hub"),
    [
        (TOLD, None, None),
        (begun("org/name@main", is_of_hub=True), "org/name@main", "org/name"),
        (begun("models/name"), "name", None),  # a folder beside the configuration
        (begun("/data/secret-customer/name/"), "name", None),
        (begun("champion", copied_from="news/00000004"), "news/00000004", None),
        (begun("s3://acme/lake#other/00000007"), "other/00000007", None),
    ],
)
def test_a_base_is_named_as_the_hub_knows_it_or_without_a_path(
    told: Told, base: str | None, of_hub: str | None
) -> None:
    assert (told.base, told.base_of_hub) == (base, of_hub)
    front = model_card(told).front
    assert front.get("base_model") == of_hub and "license" not in front, "the licence of a base is none of the model"


def test_the_card_of_an_encoder_says_how_an_encoder_is_loaded_and_judged() -> None:
    for learns, loader, task in (
        (Objective.CAUSAL, "AutoModelForCausalLM", "text-generation"),
        (Objective.MASKED, "AutoModelForMaskedLM", "fill-mask"),
    ):
        told = replace(TOLD, learns=learns)
        card, written = model_card(told), markdown(model_card(told))
        assert card.front["pipeline_tag"] == task
        assert f"model = {loader}.from_pretrained" in written and f"from transformers import {loader}," in written
        assert told.measure == ("masked " if learns == Objective.MASKED else "") + "bits per byte"
        assert "Every figure stands in the store" in written


def test_what_is_stated_now_wins_and_what_the_run_wrote_down_stays() -> None:
    kept = {"card": {"watts": 300.0, "license": "mit"}, "sources": {"a": {"license": "x"}, "b": {"license": None}}}
    config = Config.model_validate({"card": {"license": "apache-2.0"}, "sources": {"b": {"path": "p", "license": "y"}}})
    found = stated(kept, config)
    assert (found.card.license, found.card.watts) == ("apache-2.0", 300.0)
    assert found.sources == {"a": "x", "b": "y"}


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\n- license\n---\n", None),
        ("---\nlicense: {a\n---\n", None),
        ("license: mit\n", None),
        ("---\nlicense: " + "x" * 500 + "\n---\n", "x" * 200),
        (b"---\nlicense: \xff\n---\n", None),
    ],
)
def test_the_licence_of_a_folder_is_what_its_own_card_states(
    tmp_path: Path, card: str | bytes, found: str | None
) -> None:
    (tmp_path / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    assert license_of(Folder(tmp_path)) == found
    assert license_of(Folder(tmp_path / "nowhere")) is None
    assert license_of(Checkpoint(Store.open(str(tmp_path)), commit_at("a", 1), is_ours=True)) is None
