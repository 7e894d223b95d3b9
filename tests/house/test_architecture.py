"""Is the house in order? The rules of docs/architecture.md, executed."""

import ast
import sys
import tomllib
from functools import cache

from tests.board.rooms import arrows_up, circles
from tests.board.source import PRODUCT, sources
from tests.board.tree import PAGE, page_with_tree
from tests.support.root import ROOT

BANNED = {"data_ops": {"torch", "deepspeed"}, "models": {"ray"}}  # package -> libraries it must not know
FILES = sources(*PRODUCT)


@cache
def arrows():
    """Every file with every module that it imports."""
    return [(file, name) for file in FILES for name in file.imports]


def test_imports_go_down_only_between_packages_and_between_rooms():
    assert arrows_up(FILES) == []
    assert circles(FILES) == []


def test_an_import_is_written_with_its_whole_name():
    assert [file.name for file in FILES for n in file.nodes if isinstance(n, ast.ImportFrom) and n.level] == []


def test_packages_do_not_know_what_is_not_their_business():
    assert [
        (f.name, there) for f, there in arrows() if there.split(".")[0] in BANNED.get(f.module.split(".")[0], ())
    ] == []


def test_of_data_ops_only_ingest_knows_ray():
    knowing = {f.room for f, there in arrows() if f.module.startswith("data_ops.") and there.split(".")[0] == "ray"}
    assert knowing == {"data_ops.ingest"}


def test_only_tune_knows_ray_tune():
    assert {f.room for f, there in arrows() if f"{there}.".startswith("ray.tune.")} == {"tune"}


def test_every_file_says_what_it_is_for():
    assert [file.name for file in FILES if not ast.get_docstring(file.tree)] == []


def test_a_room_holds_only_its_sentence_in_its_init():
    rooms = [file for file in FILES if file.path.name == "__init__.py"]
    assert [room.name for room in rooms if len(room.tree.body) != 1] == []


def test_the_tree_in_the_docs_is_made_of_the_rooms_sentences():
    page = PAGE.read_text("utf-8")
    assert page == page_with_tree(page), "write it anew: python -m tests.board --write"


def test_no_module_shadows_the_standard_library_or_a_package():
    taken = (set(sys.stdlib_module_names) | set(PRODUCT)) - {"__init__", "__main__"}
    assert [file.name for file in FILES if file.path.stem in taken] == []


def test_modules_do_not_import_in_circles():
    graph = {file.module: set(file.imports) for file in FILES}
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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {file.room for file in FILES} == set(project["tool"]["setuptools"]["packages"])
