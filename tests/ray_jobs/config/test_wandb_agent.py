"""Does a trial of a W&B sweep train with the settings that W&B shows, under a name of its own?"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.telemetry.metrics import METRICS
from ray_jobs.command_line.ending import finish
from ray_jobs.config.reading import read_config
from ray_jobs.config.wandb_agent import agent_config, parameters
from ray_jobs.outcome import ConfigError
from tests.support.root import ROOT

SWEEP = yaml.safe_load((ROOT / "tune" / "wandb_sweep.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((ROOT / "tests" / "data" / "wandb_sweep_schema.json").read_text(encoding="utf-8"))


def violations(sweep):
    """What W&B's schema (of its package `sweeps` 0.3.0) finds wrong; it tells floats from integers as Python does."""
    formats = jsonschema.FormatChecker()
    formats.checks("float")(lambda value: isinstance(value, float))
    formats.checks("integer")(lambda value: isinstance(value, int))
    return list(jsonschema.Draft7Validator(SCHEMA, format_checker=formats).iter_errors(sweep))


def agents_call(folder, values, run_id="k3x9"):
    """What W&B's agent makes of a trial's values: arguments and environment, by its own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # 2 s, for which whoever collects would wait
    from wandb.sdk.lib import config_util

    args = {key: {"value": value} for key, value in values.items()}
    path = Path(folder) / f"config-{run_id}.yaml"
    config_util.save_config_file_from_dict(str(path), args)
    environ = {"WANDB_SWEEP_ID": "sw1", "WANDB_RUN_ID": run_id, "WANDB_SWEEP_PARAM_PATH": str(path)}
    return create_sweep_command_args({"args": args}), environ


def choices(parameter):
    """The ends of a parameter's range, or all its values."""
    return parameter.get("values") or [parameter["min"], parameter["max"]]


def test_the_sweep_file_fits_the_schema_of_wandb():
    assert violations(SWEEP) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "bayesian"},
        {"metric": {"name": "loss", "goal": "min"}},
        {"early_terminate": {"type": "hyperband", "min_iter": "three"}},
        {"parameters": {"optim.lr": {"distribution": "log_uniform_values", "min": "5e-4", "max": 0.01}}},
        {"parameters": {"optim.lr": {"valeus": [1]}}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_schema_notices_a_wrong_value(wrong):
    assert violations({**SWEEP, **wrong})


@pytest.mark.slow
def test_every_value_of_the_sweep_file_is_a_setting_that_is_accepted(tmp_path):
    verb, recipe = SWEEP["command"][2], SWEEP["command"][4]
    assert (SWEEP["program"], verb, recipe, SWEEP["command"][-1]) == ("headrace", "train", "demo", "${args}")
    base = {key: choices(parameter)[0] for key, parameter in SWEEP["parameters"].items()}
    for key, parameter in SWEEP["parameters"].items():
        for value in choices(parameter):
            made, environ = agents_call(tmp_path, {**base, key: value})
            config = agent_config(["demo"], made["args"], environ)
            assert config == read_config(
                ["demo"], [*(f"{k}={v!r}" for k, v in {**base, key: value}.items()), "name=demo-k3x9"]
            )


def test_the_metric_of_the_sweep_file_is_one_that_is_measured():
    assert SWEEP["metric"]["name"] in METRICS


VALUES = {
    "optim.lr": 1e-05,
    "optim.decay_embeddings": False,
    "optim.spike_sigmas": None,
    "reservoir.half_life": ["10d", None],
    "engine.precision": "fp32",
    "optim.schedule": {"kind": "wsd", "tokens": 200_000},
}


@pytest.mark.parametrize("form", ["args", "args_no_hyphens", None])
def test_whatever_the_agent_passes_the_values_are_those_of_the_sweep(tmp_path, form):
    made, environ = agents_call(tmp_path, VALUES)
    config = agent_config(["demo"], made[form] if form else [], environ)
    assert (config.name, config.optim.lr, config.optim.decay_embeddings) == ("demo-k3x9", 1e-05, False)
    assert config.optim.spike_sigmas is None and config.engine.precision == "fp32"
    assert config.reservoir.half_lives_s == (864_000.0, None)
    assert (config.optim.schedule.kind, config.optim.schedule.tokens) == ("wsd", 200_000)
    assert config.optim.schedule.warmup_tokens == 81_920, "the rest of the block is the recipe's"


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))  # W&B's own file loses other line breaks
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PRINTABLE


@pytest.mark.slow
@given(st.dictionaries(st.from_regex(r"[a-z]+(\.[a-z]+)?", fullmatch=True), SCALARS | st.lists(SCALARS), max_size=4))
def test_a_value_reaches_us_with_its_type_whatever_it_is(tmp_path_factory, values):
    _, environ = agents_call(tmp_path_factory.getbasetemp(), values)
    assert parameters(environ) == values


def test_a_command_that_contradicts_the_sweep_is_refused(tmp_path):
    made, environ = agents_call(tmp_path, {"optim.lr": 0.001, "name": "10"})
    assert agent_config(["demo"], ["engine.workers=1", *made["args"]], environ).name == "10-k3x9", "10 is a text here"
    with pytest.raises(ConfigError, match=r"optim\.lr=0\.1 in the command differs from 0\.001, which the sweep chose"):
        agent_config(["demo"], [*made["args"], "optim.lr=0.1"], environ)


def test_trials_are_runs_of_their_own_and_no_trial_is_an_ordinary_run(tmp_path):
    names = set()
    for run_id in ("aaaa", "bbbb"):
        made, environ = agents_call(tmp_path, {"optim.lr": 0.001}, run_id)
        names.add(agent_config(["demo"], ["name=mine", *made["args"]], environ).name)
    assert names == {"mine-aaaa", "mine-bbbb"}
    assert agent_config(["demo"], ["name=mine"], {"WANDB_RUN_ID": "aaaa"}).name == "mine"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("[1]", "cannot be read"), ("a: 1", "cannot be read"), ("a: [", "")]
)
def test_parameters_that_cannot_be_read_are_told(tmp_path, content, said):
    if content:
        (tmp_path / "p.yaml").write_text(content)
    environ = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "p.yaml")}
    with pytest.raises(ConfigError, match=f"WANDB_SWEEP_PARAM_PATH=.*{said}"):
        agent_config(["demo"], [], environ)


def test_a_sweep_without_a_run_is_refused():
    with pytest.raises(ConfigError, match="WANDB_SWEEP_ID is set and WANDB_RUN_ID is not"):
        agent_config(["demo"], [], {"WANDB_SWEEP_ID": "s"})


def python(script, **environ):
    """Run a script with the variables of a user, who is in no sweep, and these."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | environ
    return subprocess.run([sys.executable, "-c", script], env=variables, cwd=ROOT, capture_output=True, text=True)


def test_a_stopped_trial_ends_by_the_signal_which_its_agent_takes_for_no_failure(monkeypatch, capsys):
    ended = python(
        "from ray_jobs.command_line.ending import finish; finish(143, {'steps': 3}, True)", WANDB_SWEEP_ID="s"
    )
    assert (ended.returncode, json.loads(ended.stdout)) == (-signal.SIGTERM, {"steps": 3})
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    with pytest.raises(typer.Exit) as ending:
        finish(143, {"steps": 3}, True)
    assert ending.value.exit_code == 143 and json.loads(capsys.readouterr().out) == {"steps": 3}


def test_the_stop_button_of_wandb_and_the_signal_of_its_agent_are_one_wish():
    script = """
import signal
from ray_jobs.driver.signals import stop_on_signal
with stop_on_signal() as stopped:
    stopped.set()  # what W&B's own thread does
    signal.raise_signal(signal.SIGTERM)  # what its agent does a moment later
    print("committing", flush=True)
    signal.raise_signal(signal.SIGINT)  # a person who is tired of waiting
    print("still here")
"""
    ended = python(script)
    assert (ended.stdout, ended.returncode) == ("committing\n", -signal.SIGINT)
