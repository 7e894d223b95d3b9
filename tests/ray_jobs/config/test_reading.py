"""Is a configuration merged, checked and explained as people expect?"""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from cluster.redaction import SECRET, redact
from ray_jobs.config.mistakes import _keys, _models
from ray_jobs.config.reading import RECIPES, check, parse_override, read_config, recipes
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError


def refused(*overrides, files=()):
    """The sentences that a wrong configuration is answered with."""
    with pytest.raises(ConfigError) as caught:
        read_config(files, overrides)
    return str(caught.value).split("\n")


def write(path, text):
    path.write_text(text)
    return str(path)


def test_the_defaults_are_a_complete_configuration():
    assert read_config([]).model_dump() == {**Config().model_dump(), "store": str(Path("lake").absolute())}


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_loads_and_says_what_it_is(name):
    config = read_config([name])
    assert config.sources, "a recipe runs as it is"
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert config.name == name
    assert yaml.safe_load(text).keys() <= Config.model_fields.keys()


def test_later_files_win_over_earlier_ones_and_overrides_over_all(tmp_path):
    one = write(tmp_path / "one.yaml", "seed: 1\noptim: {lr: 0.1, weight_decay: 0.2}\nround: {tokens: 100_000}\n")
    two = write(tmp_path / "two.yaml", "seed: 2\noptim: {lr: 0.3}\n")
    config = read_config([one, two], ["optim.lr=0.4", "optim.lr=0.5"])
    assert (config.seed, config.optim.lr, config.optim.weight_decay, config.round.tokens) == (2, 0.5, 0.2, 100_000)
    assert read_config([two, one]).seed == 1


def test_an_empty_file_changes_nothing(tmp_path):
    assert read_config([write(tmp_path / "empty.yaml", "# nothing\n")]) == read_config([])


def test_a_file_is_preferred_to_a_recipe_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "demo", "name: mine\n")
    assert read_config(["demo"]).name == "mine"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optim.lr=3e-4", "optim.lr", 3e-4),
        ("--optim.lr=0.0003", "optim.lr", 3e-4),
        ("model.tie_embeddings=False", "model.tie_embeddings", False),
        ("model.tie_embeddings=false", "model.tie_embeddings", False),
        ("model.kv_heads=None", "model.kv_heads", None),
        ("model.kv_heads=null", "model.kv_heads", None),
        ("--sources.a.path=['x', \"y\"]", "sources.a.path", ["x", "y"]),
        ("sources.a.path=[x, y]", "sources.a.path", ["x", "y"]),
        ("reservoir={'capacity': 10}", "reservoir", {"capacity": 10}),
        ("name=a=b", "name", "a=b"),
        ("window.max_seconds=10s", "window.max_seconds", "10s"),
        ("store=s3://bucket/x", "store", "s3://bucket/x"),
    ],
)
def test_an_override_is_yaml_or_a_python_literal(text, key, value):
    assert parse_override(text) == (key, value)


@pytest.mark.parametrize("text", ["optim.lr", "--json", "=3", "sources.a.path=*.jsonl"])
def test_an_override_that_is_none_is_explained(text):
    with pytest.raises(ConfigError, match=r"write key\.path=value|quote the value"):
        parse_override(text)


def test_durations_sizes_and_shares_read_as_people_write_them():
    given = [
        "checkpoint.every_seconds=2m",
        "tokenizer.train_bytes=1MiB",
        "held_out=5%",
        "reservoir.half_life=[30d,none]",
    ]
    config = read_config([], given)
    assert config.checkpoint.every_seconds == 120
    assert config.tokenizer.train_bytes == 2**20
    assert config.held_out == pytest.approx(0.05)
    assert config.reservoir.half_lives_s == (30 * 86400, None)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("optim.lrr=1", "optim.lr"),
        ("model.layer=2", "model.layers"),
        ("sorces={}", "sources"),
        ("window.max_document=5", "window.max_documents"),
        ("replay_share=0.5", "round.replay_share"),
        ("sources.mine={path: a, txt: body}", "sources.mine.text"),
        ("sources.python={kind: python, megabites: 3}", "sources.python.megabytes"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one(override, nearest):
    (sentence,) = refused(override)
    assert "is unknown" in sentence
    assert sentence.endswith(f"did you mean {nearest}?")


def test_an_unknown_kind_of_source_is_answered_with_the_nearest_one():
    assert refused("sources.mine={kind: file, path: x}") == ["sources.mine.kind='file' is unknown; did you mean files?"]
    assert refused("sources.mine={kind: hbase}") == [
        "sources.mine.kind='hbase' is unknown; use ['dataset', 'delta', 'files', 'kafka', 'python', 'sql']"
    ]


def test_a_source_without_a_kind_is_files():
    assert read_config([], ["sources.mine.path='/texts/*.jsonl'"]).sources["mine"].kind == "files"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optim.lr=fast", "optim.lr", "'fast'"),
        ("engine.zero_stage=7", "engine.zero_stage", "7"),
        ("engine.workers=many", "engine.workers", "'many'"),
        ("round.replay_share=1.5", "round.replay_share", "1.5"),
        ("window.max_seconds=10x", "window.max_seconds", "'10x'"),
        ("sources.mine={path: 3}", "sources.mine.path", "3"),
        ("model=3", "model", "3"),
        ("name=a b", "name", "'a b'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_key_and_value(override, key, value):
    (sentence,) = refused(override)
    assert sentence.startswith(key)
    assert value in sentence


def test_all_mistakes_are_said_at_once():
    assert [s.partition("=")[0] for s in refused("optim.lr=fast", "held_out=7", "seed=-1")] == [
        "seed",
        "held_out",
        "optim.lr",
    ]


def test_blocks_that_do_not_fit_together_are_refused_with_what_would():
    (split,) = refused("engine.workers=3", "engine.batch_tokens=1024")
    assert "engine.batch_tokens=1024 cannot be split over 3 workers" in split
    assert "batch_tokens=1536" in split
    assert read_config([], ["engine.workers=3", "engine.batch_tokens=1536"]).engine.workers == 3
    (short,) = refused("round.tokens=1000", "engine.batch_tokens=4096")
    assert short == "round.tokens=1000 is less than one step of engine.batch_tokens=4096; use round.tokens=4096 or more"
    (label,) = refused("sources={'a/b': {path: x}}")
    assert label.startswith("sources.a/b: a label is made of letters")
    (elastic,) = refused("engine.workers=[3, 3]", "engine.batch_tokens=1024")
    assert "3 workers" in elastic


def test_paths_become_absolute_and_addresses_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_config([], ["store=here", "sources.a.path=[x/*.txt, s3://b/*.txt, ~/y]"])
    assert config.store == str(tmp_path / "here")
    assert config.sources["a"].path == (str(tmp_path / "x/*.txt"), "s3://b/*.txt", str(Path.home() / "y"))
    for address in ("s3://bucket/lake", "gs://bucket/lake"):
        assert read_config([], [f"store={address}"]).store == address
    assert read_config([], ["sources.a.path=x"]).sources["a"].path == str(tmp_path / "x")


def test_a_checked_configuration_survives_json(tmp_path):
    config = read_config(["demo"], [f"store={tmp_path}", "sources.b.path=/x/*.txt"])
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert check(json.loads(config.model_dump_json())) == config


def test_an_unknown_recipe_is_answered_with_those_there_are():
    (sentence,) = refused(files=["dmo"])
    assert sentence == f"-c dmo is neither a file nor a recipe; recipes are {', '.join(recipes())}"
    assert "demo" in recipes()


@pytest.mark.parametrize(
    ("text", "said"), [("a: [1\n", "is not valid YAML"), ("- 1\n- 2\n", "holds list"), ("x", "holds str")]
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path, text, said):
    (sentence,) = refused(files=[write(tmp_path / "bad.yaml", text)])
    assert said in sentence
    assert "bad.yaml" in sentence


def test_secrets_have_no_place_in_a_configuration_and_never_leave_in_one(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    config = read_config(["demo"], ["store=s3://me:hush-hush@bucket/lake"])
    assert "hush-hush" not in json.dumps(redact(config.model_dump(mode="json")))
    assert "s3://" in redact(config.model_dump(mode="json"))["store"]
    names = [name for _, name in _keys(Config)]
    assert len(names) > 80
    assert [name for name in names if SECRET.search(name)] == []


def models_of(model):
    found = {model}
    for info in model.model_fields.values():
        for inner in _models(info.annotation):
            assert issubclass(inner, BaseModel)
            found |= models_of(inner)
    return found


def test_every_setting_says_what_it_is_and_unknown_ones_are_refused_everywhere():
    models = models_of(Config)
    assert len(models) > 12
    for model in models:
        assert model.model_config["frozen"]
        assert model.model_config["extra"] == "forbid"
        for name, info in model.model_fields.items():
            assert info.description or _models(info.annotation), f"{model.__name__}.{name} has no description"


@pytest.mark.parametrize("key", ["resamples=400", "seed=1", "min_documents=9"])
def test_a_key_of_an_older_version_is_said_to_be_gone(key):
    (sentence,) = refused(f"gate.{key}")
    assert sentence.startswith(f"gate.{key.partition('=')[0]} is gone: ") and sentence.endswith("; leave it out")


def test_a_rule_for_sources_that_are_not_there_is_refused(tmp_path):
    rules = "curate.rules=[{kind: c4, sources: [web, wbe]}]"
    sources = "sources={web: {kind: files, path: '*.txt'}}"
    with pytest.raises(ConfigError, match=r"the rule c4 is for the sources \['wbe'\], which are none of \['web'\]"):
        read_config([], [rules, sources])
    config = read_config([], [rules.replace(", wbe", ""), sources.replace("}}", "}, mail: {kind: python}}")])
    assert "c4" in config.curate.chain_of("web") and "c4" not in config.curate.chain_of("mail")
