"""What does the house look like in numbers? One function a group of lines; each figure is counted, none is judged."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from tests.board.rooms import arrows_up, circles
from tests.board.source import PRODUCT, Function, Source, sources
from tests.support.root import ROOT

Figures = dict[str, float]

#: Doors to the outside world, where JSON of strangers or a library without types comes in.
JSON_DOORS = (
    "cluster/storage/",
    "cluster/launch/",
    "cluster/telemetry/",
    "cluster/observability/",
    "ray_jobs/commands/",
    "ray_jobs/command_line/",
)
COMMAND_LINE = ("ray_jobs/__main__.py", "ray_jobs/command_line/")
UNTYPED_LIBRARIES = ("data_ops/kernels/", "models/engine/zero.py")  # numba and DeepSpeed
PRIVATE = re.compile(r"^(ray|torch|deepspeed)\.(.*\.)?_\w+|^ray\.(.*\.)?_internal\b")


def share(part: float, whole: float) -> float:
    """Return a part in percent."""
    return 100.0 * part / max(whole, 1)


def quantile(values: Iterable[int], q: float) -> int:
    """Return the smallest value that a share q of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def folders(files: list[Source], tests: list[Source]) -> Figures:
    """How many files a folder holds, `__init__` not counted."""

    def counts(chosen: list[Source]) -> list[int]:
        return list(Counter(file.room for file in chosen if file.path.name != "__init__.py").values())

    ours = counts(files)
    return {
        "files a folder, p50": quantile(ours, 0.5),
        "files a folder, max": max(ours),
        "files a folder of tests or benchmarks, max": max(counts(tests)),
    }


def arrows(files: list[Source]) -> Figures:
    """Imports between rooms."""
    fan_out = [len(file.imports) for file in files]
    return {
        "imports that go up between rooms": len(arrows_up(files)),
        "rooms that import each other": len(circles(files)),
        "modules a file imports, p90": quantile(fan_out, 0.9),
        "modules a file imports, max": max(fan_out),
        "imports inside functions": sum(file.late_imports for file in files),
        "files that know private names of Ray, torch or DeepSpeed": sum(
            any(PRIVATE.search(name) for name in file.imports) for file in files
        ),
    }


def sizes(files: list[Source], tests: list[Source]) -> Figures:
    """Lines of files and functions."""
    lines = [file.num_lines for file in files if file.path.name != "__init__.py"]
    lengths = [_length(function) for file in files for function in file.functions]
    return {
        "lines of the product": sum(lines),
        "lines a file, p50": quantile(lines, 0.5),
        "lines a file, p90": quantile(lines, 0.9),
        "lines a file, max": max(lines),
        "lines a test file, p90": quantile([file.num_lines for file in tests], 0.9),
        "lines a test file, max": max(file.num_lines for file in tests),
        "lines a function, p90": quantile(lengths, 0.9),
        "lines a function, max": max(lengths),
        "functions over 40 lines, %": share(sum(n > 40 for n in lengths), len(lengths)),
    }


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def parameters(function: Function) -> int:
    """Count what a caller gives: self and cls, *args and **kwargs not counted."""
    names = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(name.arg not in ("self", "cls") for name in names)


def signatures(files: list[Source]) -> Figures:
    """How wide and how well typed are functions? Commands of the command line declare options, not parameters."""
    thousand = sum(file.num_lines for file in files) / 1000
    functions = [(file, f) for file in files if not file.name.startswith(COMMAND_LINE) for f in file.functions]
    wide = [parameters(function) for _, function in functions]
    annotations = [(file, text) for file, f in functions for text in _annotations(f)]
    untyped = [file for file, text in annotations if re.search(r"\bAny\b", text)]
    loose = [file.name for file, text in annotations if "dict[str, Any]" in text]
    return {
        "functions with more than 6 parameters, %": share(sum(n > 6 for n in wide), len(wide)),
        "parameters of a function, max": max(wide),
        "Any in signatures, per 1,000 lines": len(untyped) / thousand,
        "Any in signatures that cross a room": _crossing(files),
        "dict[str, Any] in signatures behind the JSON doors, per 1,000 lines": sum(
            not name.startswith(JSON_DOORS) for name in loose
        )
        / thousand,
        "**kwargs, per 1,000 lines": sum(f.args.kwarg is not None for _, f in functions) / thousand,
        "public returns typed, %": share(
            sum(f.returns is not None for _, f in functions if not f.name.startswith("_")),
            sum(not f.name.startswith("_") for _, f in functions),
        ),
        "type-ignores beside numba and DeepSpeed": sum(
            file.text.count("type: ignore") for file in files if not file.name.startswith(UNTYPED_LIBRARIES)
        ),
    }


def _annotations(function: Function) -> list[str]:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    rest = [a for a in (function.args.vararg, function.args.kwarg) if a]
    notes = [a.annotation for a in [*given, *rest]] + [function.returns]
    return [ast.unparse(note) for note in notes if note is not None]


def _crossing(files: list[Source]) -> int:
    """Count the public functions with `Any` in their signature that another room imports by name."""
    taken = defaultdict(set)
    for file in files:
        for node in file.nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                taken[node.module] |= {alias.name for alias in node.names} if file.room != _room(node.module) else set()
    return sum(
        any(re.search(r"\bAny\b", text) for text in _annotations(node))
        for file in files
        for node in file.tree.body
        if isinstance(node, Function) and node.name in taken[file.module]
    )


def _room(module: str) -> str:
    return module.rpartition(".")[0]


def names(files: list[Source]) -> Figures:
    """Names and docstrings."""
    homes = defaultdict(set)
    for file in files:
        for name in file.public_names if not file.name.startswith(COMMAND_LINE) else ():
            homes[name].add(file.name)
    public = [f for file in files for f in file.public_functions]
    documented = sum(ast.get_docstring(f) is not None for f in public)
    raises = [r for file in files for r in file.nodes if isinstance(r, ast.Raise) and isinstance(r.exc, ast.Call)]
    told = [r.exc.args[0] for r in raises if isinstance(r.exc, ast.Call) and r.exc.args]
    return {
        "public names defined twice": sum(len(found) > 1 for found in homes.values()),
        "public functions with a docstring, %": share(documented, len(public)),
        "raises that name the value, %": share(sum(not isinstance(t, ast.Constant) for t in told), len(told)),
        "words of the house in the glossary": len(glossary()),
    }


def glossary() -> list[str]:
    """Return the words that docs/glossary.md explains."""
    return re.findall(
        r"^(?:\*\*|\| \*\*|- \*\*)(.+?)\*\*", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE
    )


def suite(files: list[Source], tests: list[Source]) -> Figures:
    """How do tests stand to what they test?"""
    mirrored = {file.name for file in tests}
    wanted = [_mirror(file) for file in files if file.path.name not in ("__init__.py", "__main__.py", "config.py")]
    modules = [node for file in tests for node in file.nodes if isinstance(node, ast.Call)]
    patched = [c for c in modules if ast.unparse(c.func).endswith("monkeypatch.setattr")]
    private = [
        alias.name
        for file in tests
        for node in file.nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PRODUCT
        for alias in node.names
        if alias.name.startswith("_")
    ]
    return {
        "product files with a test at the mirrored path, %": share(sum(w in mirrored for w in wanted), len(wanted)),
        "private names imported by tests": len(private),
        "monkeypatch.setattr in tests": len(patched),
    }


def _mirror(file: Source) -> str:
    folder, _, name = file.name.rpartition("/")
    return f"tests/{folder}/test_{name}"


def measure() -> Figures:
    """Return every line of the board that is counted from the text alone."""
    files, tests = sources(*PRODUCT), sources("tests", "benchmarks")
    found: Figures = {}
    for part in (
        folders(files, tests),
        arrows(files),
        sizes(files, tests),
        signatures(files),
        names(files),
        suite(files, tests),
    ):
        found |= part
    return found
