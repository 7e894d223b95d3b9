"""Does every version of a checkpoint's state read what another wrote?"""

import json
import math
import pickle

import pytest

from ray_jobs.checkpoints.position import (
    Position,
    StoredFile,
    TrainingState,
    TrialState,
    state_from_json,
    state_to_json,
)

OLD_RUN = """{"position": {"round": 6, "step_in_round": 31, "step": 208, "tokens": 851968, "skipped": [[2, 5]],
"losses": [2.5]}, "probe_loss": 9.5, "world_size": 2, "batch_tokens": 4096, "zero_stage": 2, "precision": "bf16",
"model": {"layers": 4, "kv_heads": null, "rope_theta": 10000.0}, "tokenizer": "1703a822a0e7b3b2", "lease": 0}"""
OLD_TRIAL = """{"position": {"round": 0, "step_in_round": 3, "step": 3, "tokens": 96, "skipped": [], "losses": []},
"probe_loss": 5.25, "average": [{"path": "a", "size_bytes": 7, "sha256": "b"}], "precision": "fp32",
"model": {"layers": 1}, "batch_tokens": 32, "curve": [[32, 5.5], [64, NaN]], "seconds": 0.5, "begun": 0}"""


@pytest.mark.parametrize(("old", "kind"), [(OLD_RUN, TrainingState), (OLD_TRIAL, TrialState)])
def test_a_state_of_an_older_version_is_read_and_written_as_it_was(old: str, kind: type[TrainingState]) -> None:
    state = state_from_json(json.loads(old))
    assert type(state) is kind
    assert json.dumps(state_to_json(state), sort_keys=True) == json.dumps(json.loads(old), sort_keys=True)


def test_a_trial_state_is_read_with_types() -> None:
    state = state_from_json(json.loads(OLD_TRIAL))
    assert isinstance(state, TrialState)
    assert state.average == (StoredFile("a", 7, "b"),)
    assert state.curve[0] == (32, 5.5) and math.isnan(state.curve[1][1])
    assert state.position == Position(step_in_round=3, step=3, tokens=96)


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    assert state_from_json({**json.loads(OLD_RUN), "of_tomorrow": 1}) == state_from_json(json.loads(OLD_RUN))


@pytest.mark.parametrize("field", ["position", "probe_loss", "precision", "model"])
def test_a_state_that_lacks_what_a_resume_needs_is_refused_by_name(field: str) -> None:
    raw = {name: value for name, value in json.loads(OLD_RUN).items() if name != field}
    with pytest.raises(ValueError, match=field):
        state_from_json(raw)


def test_a_state_crosses_processes() -> None:
    for old in (OLD_RUN, json.dumps(json.loads(OLD_TRIAL) | {"curve": []})):
        state = state_from_json(json.loads(old))
        assert pickle.loads(pickle.dumps(state)) == state  # noqa: S301 - how Ray carries it
