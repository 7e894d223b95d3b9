"""Do the packages keep their layers, and the files their size? The rules of docs/architecture.md, executed."""

import ast
import sys

import pytest

from tests.support.root import ROOT

LAYERS = {"cluster": 0, "data_ops": 1, "models": 1, "tune": 2, "ray_jobs": 3}  # may import strictly lower ones
BANNED = {"data_ops": {"torch", "deepspeed"}, "models": {"ray"}}  # package -> libraries it must not know
RAY_IN_DATA_OPS = {"data_ops/ingest/pipeline.py"}
MOST_LINES = 300
FILES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """Everything a file imports, as dotted names: `from a import b` is both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively; write the whole name"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.fixture(scope="module")
def imported():
    """What each file imports."""
    return {path: imports(path) for path in FILES}


@pytest.fixture(scope="module")
def pairs(imported):
    """Who imports what."""
    return [(name_of(path), name) for path in FILES for name in sorted(imported[path])]


def package(name):
    """The package of a file or of a dotted name."""
    return name.replace("/", ".").split(".")[0]


def test_packages_import_only_lower_layers(pairs):
    ours = [(here, there) for here, there in pairs if package(there) in LAYERS and package(there) != package(here)]
    assert [(here, there) for here, there in ours if LAYERS[package(there)] >= LAYERS[package(here)]] == []
    assert len(ours) > 50, "the test has found the imports"


def test_packages_do_not_know_what_is_not_their_business(pairs):
    assert [(here, there) for here, there in pairs if package(there) in BANNED.get(package(here), ())] == []


def test_of_data_ops_only_the_pipeline_knows_ray(pairs):
    assert {here for here, there in pairs if package(here) == "data_ops" and package(there) == "ray"} == RAY_IN_DATA_OPS


def test_only_tune_knows_ray_tune(pairs):
    tuning = [(here, there) for here, there in pairs if f"{there}.".startswith("ray.tune.")]
    assert [here for here, _ in tuning if package(here) != "tune"] == []


def test_no_file_is_longer_than_300_lines():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_every_file_says_what_it_is_for():
    assert [name_of(p) for p in FILES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))] == []


def test_no_module_shadows_the_standard_library_or_a_package():
    taken = (set(sys.stdlib_module_names) | set(LAYERS)) - {"__init__", "__main__"}
    assert [name_of(path) for path in FILES if path.stem in taken] == []


def test_modules_do_not_import_in_circles(imported):
    graph = {}
    for path, names in imported.items():
        parts = path.relative_to(ROOT).with_suffix("").parts
        graph[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = names
    done = set()

    def walk(name, trail):
        assert name not in trail, f"a circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for child in sorted(graph[name] & graph.keys() - {name}):
                walk(child, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_main_holds_no_class_that_ray_would_pickle_by_value():
    main = ast.parse((ROOT / "ray_jobs" / "__main__.py").read_text(encoding="utf-8"))
    assert not [node.name for node in main.body if isinstance(node, ast.ClassDef)]


def test_every_package_is_listed_for_installation():
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("packages = [")[1].split("]")[0].strip(" \n,")
    folders = {path.parent.relative_to(ROOT) for path in FILES}
    assert {".".join(folder.parts) for folder in folders} == {name.strip(' \n"') for name in listed.split(",")}
