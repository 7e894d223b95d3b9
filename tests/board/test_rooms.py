"""Does the board see what is wrong? Each rule on a small file that breaks it."""

import ast
from dataclasses import dataclass, field

import pytest

from tests.board.__main__ import GOALS, Goal, beyond
from tests.board.measures import parameters, quantile
from tests.board.rooms import arrows_up, circles, floor


@dataclass
class File:
    """As much of a source file as the rules of rooms ask for."""

    module: str
    imports: list[str] = field(default_factory=list)

    @property
    def name(self):
        return self.module.replace(".", "/") + ".py"

    @property
    def room(self):
        return self.module.rpartition(".")[0]


@pytest.mark.parametrize(
    ("importer", "target"),
    [
        ("cluster.storage.store", "data_ops.lake.lake"),  # a package above
        ("data_ops.lake.lake", "models.rows"),  # a package beside
        ("data_ops.documents.document", "data_ops.lake.lake"),  # a room above
        ("data_ops.audit.account", "data_ops.ingest.pipeline"),  # a room beside
        ("data_ops.sources.files.source", "data_ops.sources.kinds"),  # within a room
        ("ray_jobs.driver.run", "ray_jobs.__main__"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_seen(importer, target):
    assert arrows_up([File(importer, [target])]) == [f"{importer.replace('.', '/')}.py imports {target}"]


def test_imports_that_go_down_and_libraries_are_no_arrows_up():
    files = [File("ray_jobs.driver.run", ["data_ops.lake.lake", "ray", "json"]), File("data_ops.lake.lake", ["numpy"])]
    assert arrows_up(files) == []


def test_rooms_that_import_each_other_are_seen_and_a_rooms_own_rooms_are_not():
    both = [File("a.b.c", ["a.d.e"]), File("a.d.e", ["a.b.c"])]
    assert circles(both) == ["a.b and a.d"]
    assert circles([File("a.b.c", ["a.b.d.e"]), File("a.b.d.e", ["a.b.c"])]) == []


def test_a_room_without_a_floor_is_told():
    with pytest.raises(ValueError, match=r"cluster: attic stands on no floor; give it one"):
        floor("cluster", "attic")


def test_a_line_is_beyond_once_it_is_worse_than_allowed():
    figures = {name: goal.goal for name, goal in GOALS.items()}
    assert beyond(figures) == []
    assert beyond({**figures, "lines a file, max": 301}) == ["lines a file, max"]
    assert beyond({**figures, "public returns typed, %": 99.9}) == ["public returns typed, %"]
    assert not Goal(3, 21).is_met(5) and Goal(3, 21).is_allowed(5)


def test_parameters_are_what_a_caller_gives():
    function = ast.parse("def f(self, a, /, b, *rest, c, **more): ...").body[0]
    assert parameters(function) == 3
    assert quantile([3, 1, 2], 0.5) == 2
