"""Does the check of launch files answer whatever stands in them?"""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.launch import kuberay, rayup
from cluster.launch.check import check_launch_file
from tests.support.root import ROOT

pytestmark = pytest.mark.slow

FOLDER = ROOT / "cluster" / "launch"
RAY_UP, KUBERAY = ["aws", "gcp", "azure", "local"], ["kuberay-cluster", "kuberay-job"]
ODD = [5, True, None, "text", [], [5], [[]], {}, {"a": 5}, {5: 5}, 1.5, "\x00"]


def documents(name: str) -> list[Any]:
    text = re.sub(r"CHANGE-ME[A-Z0-9-]*", "x", (FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return [found for found in yaml.safe_load_all(text) if found is not None]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key within a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@pytest.mark.parametrize("name", RAY_UP + KUBERAY)
def test_an_odd_value_at_any_place_is_answered(name: str) -> None:
    """Ray's own schema is asked in the test below; it takes its time."""
    changed = documents(name)
    for container, key in places(changed):
        before = container[key]
        for odd in ODD:
            container[key] = odd
            if name in KUBERAY:
                kuberay.kuberay_findings([document for document in changed if isinstance(document, dict)])
            elif isinstance(changed[0], dict):
                rayup.own_findings(changed[0])
        container[key] = before


PARSED = {name: documents(name) for name in RAY_UP + KUBERAY}


def documents_with(name: str, number: int, odd: Any) -> list[Any]:
    changed = copy.deepcopy(PARSED[name])
    container, key = places(changed)[number]
    container[key] = odd
    return changed


@given(st.sampled_from(RAY_UP), st.integers(0, 400), st.sampled_from(ODD))
@settings(max_examples=40, deadline=None)
def test_so_does_the_whole_check_with_rays_own(name: str, number: int, odd: Any) -> None:
    changed = documents_with(name, number % len(places(PARSED[name])), odd)
    if isinstance(changed[0], dict):
        assert isinstance(rayup.ray_up_findings(changed[0]), list)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: caf\xe9\n", "is not valid YAML: 'utf-8' codec can't decode byte 0xe9"),
        (b"name: 2026-13-45\n", "is not valid YAML: a date, number or tag in it is wrong"),
        (b"provider: &x {type: aws, x: *x}\n", "an alias in it means itself"),
        (b"provider: {type: [aws]}\n", "'aws'"),
    ],
)
def test_what_cannot_be_read_is_a_finding(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "launch.yaml"
    path.write_bytes(content)
    assert any(said in finding.problem for finding in check_launch_file(path)), check_launch_file(path)


def test_a_block_that_is_none_is_named() -> None:
    (document,) = copy.deepcopy(PARSED["gcp"])
    name = next(iter(document["available_node_types"]))
    document["available_node_types"][name]["node_config"]["scheduling"] = 5
    place = f"available_node_types.{name}.node_config.scheduling"
    assert (place, "is 5", "it has to be keys and values") in rayup.own_findings(document)
