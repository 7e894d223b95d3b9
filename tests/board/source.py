"""What stands in the source files of this project? Each file parsed once: its functions, names, imports and text."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.root import ROOT

PRODUCT = ("cluster", "data_ops", "models", "tune", "ray_jobs")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of ours."""

    path: Path

    @cached_property
    def name(self) -> str:
        """Its path in the project."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def module(self) -> str:
        """Its dotted name."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def room(self) -> str:
        """The folder it stands in, as a dotted name."""
        return ".".join(self.path.parent.relative_to(ROOT).parts)

    @cached_property
    def text(self) -> str:
        """What stands in it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def num_lines(self) -> int:
        """How many lines it has."""
        return self.text.count("\n")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of its tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method, also those inside others."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def public_functions(self) -> list[Function]:
        """Functions of the top level and methods of public classes that do not begin with an underscore."""
        classes = [node for node in self.tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        homes = [self.tree, *classes]
        return [
            node for home in homes for node in home.body if isinstance(node, Function) and not node.name.startswith("_")
        ]

    @cached_property
    def public_names(self) -> list[str]:
        """Functions and classes of the top level that do not begin with an underscore."""
        defined = [node.name for node in self.tree.body if isinstance(node, Function | ast.ClassDef)]
        return [name for name in defined if not name.startswith("_")]

    @cached_property
    def imports(self) -> list[str]:
        """The modules it imports, each once: `from a import b` is a.b where that is a module of ours, else a."""
        return sorted({name for node in self.nodes for name in imported(node)})

    @cached_property
    def late_imports(self) -> int:
        """How many imports stand inside functions."""
        inside = [node for function in self.functions for node in ast.walk(function)]
        return len({id(node) for node in inside if isinstance(node, ast.Import | ast.ImportFrom)})


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        folder = ROOT.joinpath(*module.split("."))
        inner = [name.name for name in node.names if (folder / f"{name.name}.py").exists()]
        yield from (f"{module}.{name}" for name in inner)
        if len(inner) < len(node.names):
            yield module


def sources(*folders: str) -> list[Source]:
    """Return the Python files below these folders of the project, in order."""
    return [Source(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
