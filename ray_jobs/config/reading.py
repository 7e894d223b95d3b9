"""How do files and overrides become one checked configuration?

Files are merged in order, later ones win, then `key.path=value` overrides. Everything wrong is said at once, a sentence
per mistake.
"""

import ast
import warnings
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from cluster.storage.uri import expanded_path
from cluster.yaml_text import load_yaml
from ray_jobs.config.mistakes import key_of_mistake, sentence_of_mistake
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError

RECIPES = resources.files("ray_jobs.config") / "recipes"


def read_config(files: Iterable[str], overrides: Iterable[str] = ()) -> Config:
    """Merge files and overrides and check the result; ConfigError says everything that is wrong.

    files: paths of YAML files, or names of packaged recipes. overrides: `key.path=value`, also with leading dashes.
    """
    merged: dict[str, object] = {}
    for name in files:
        merged = overlay(merged, _read_yaml(name))
    for text in overrides:
        key, value = parse_override(text)
        merged = overlay(merged, _nested(key, value))
    return check(merged)


def check(values: Mapping[str, object]) -> Config:
    """Validate plain values; paths become absolute, for workers stand in other folders."""
    try:
        config = Config.model_validate(values)
    except UnicodeEncodeError as error:  # a key of half surrogates, as argv gives bytes that are not UTF-8
        raise ConfigError(f"{error.object[:60]!a} is not UTF-8; write keys and values in UTF-8") from None
    except ValidationError as error:
        sentences: dict[str, str] = {}
        for mistake in error.errors():
            sentences.setdefault(key_of_mistake(mistake), sentence_of_mistake(mistake))
        raise ConfigError("\n".join(sentences.values())) from None
    sources = {label: source.absolute() for label, source in config.sources.items()}
    return config.model_copy(update={"store": _absolute(config.store), "sources": sources})


def recipes() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(item.name.removesuffix(".yaml") for item in RECIPES.iterdir() if item.name.endswith(".yaml"))


def parse_override(text: str) -> tuple[str, object]:
    """Split `key.path=value`; the value is YAML or, as a W&B agent writes it, a Python literal.

    >>> parse_override("--optim.lr=3e-4"), parse_override("model.tie_embeddings=False")
    (('optim.lr', 0.0003), ('model.tie_embeddings', False))
    """
    key, equals, raw = text.lstrip("-").partition("=")
    if not equals or not key:
        raise ConfigError(f"{text!r} is no override; write key.path=value, for example optim.lr=3e-4")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's compiler, about what is no Python
            return key, ast.literal_eval(raw)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return key, load_yaml(raw)
    except ValueError as error:
        raise ConfigError(f"{key}={raw} is neither YAML nor a Python literal ({error}); quote the value") from None


def _read_yaml(name: str) -> dict[str, object]:
    path = expanded_path(name)
    if path.is_file():
        raw = _read_text(path)
    elif name in recipes():
        raw = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise ConfigError(f"-c {name} is neither a file nor a recipe; recipes are {', '.join(recipes())}")
    try:
        values = load_yaml(raw) or {}
    except ValueError as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name} holds {type(values).__name__}, not keys and values; see `-c demo` for an example")
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; correct its rights or the path") from None


def overlay(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    """Lay nested settings over others; what `new` does not name stays."""
    merged = dict(old)
    for key, value in new.items():
        under = merged.get(key)
        merged[key] = overlay(under, value) if isinstance(value, dict) and isinstance(under, dict) else value
    return merged


def _nested(key: str, value: object) -> dict[str, object]:
    block, dot, rest = key.partition(".")
    return {block: _nested(rest, value) if dot else value}


def _absolute(path: str) -> str:
    return path if "://" in path else str(expanded_path(path).absolute())
