"""Does the schema that editors use say what the models say?"""

import json
import re

import jsonschema
import pytest
import yaml

from data_ops.sources.kinds import SOURCES
from ray_jobs.config.json_schema import PLACE, schema_text
from ray_jobs.config.reading import RECIPES, check, recipes

SCHEMA = jsonschema.Draft202012Validator(json.loads(PLACE.read_text(encoding="utf-8")))


def mistakes(text: str) -> list[str]:
    """Where the schema finds something wrong in a configuration."""
    return [".".join(map(str, error.absolute_path)) for error in SCHEMA.iter_errors(yaml.safe_load(text))]


def test_the_file_is_what_the_models_say():
    anew = """write it anew: python -c "from ray_jobs.config.reference import write; write('docs')" """
    assert PLACE.read_text(encoding="utf-8") == schema_text(SOURCES.own), anew
    jsonschema.Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_names_the_schema_and_keeps_to_it_also_with_every_default_written_out(name):
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(.+)\n", text)
    assert named and (PLACE.parent / "recipes" / named[1]).resolve() == PLACE.resolve()
    assert mistakes(text) == []
    assert mistakes(json.dumps(check(yaml.safe_load(text)).model_dump(mode="json"))) == []


@pytest.mark.parametrize("good", ["30s", "25%", "2_000_000", "0.5", "1e-3", "64MiB"])
def test_a_number_may_be_written_as_people_write_it(good):
    assert mistakes(f"round: {{tokens: '{good}'}}") == []


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ("optim: {lrr: 1}", "optim"),
        ("round: {tokens: many}", "round.tokens"),
        ("held_out: 1.5", "held_out"),
        ("sources: {a: {path: x, tiem: t}}", "sources.a"),
    ],
)
def test_a_mistake_is_found(wrong, place):
    assert mistakes(wrong) == [place]
