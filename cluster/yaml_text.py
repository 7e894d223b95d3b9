"""How is YAML that a person wrote read, so that whatever is wrong with it is one sentence?

PyYAML's makers of dates and numbers raise what they like, and an alias may stand for more values than fit in memory, or
for itself. Here each of them is a ValueError.
"""

from typing import Any

import yaml

MOST_VALUES, DEEPEST = 1_000_000, 100


def load_yaml(text: str) -> Any:
    """Parse one document; None if it is empty."""
    return load_yaml_documents(text)[0] if text.strip() else None


def load_yaml_documents(text: str) -> list[Any]:
    """Parse all documents; ValueError says what is wrong, and where if the parser knows."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    except Exception as error:  # noqa: BLE001 - makers of dates, numbers and tags have no error in common
        raise ValueError(f"a date, number or tag in it is wrong: {error}") from None
    _check_size(documents)
    return documents or [None]


def _check_size(documents: list[Any]) -> None:
    """Count every value as often as aliases repeat it, without descending for ever."""
    count, waiting = 0, [(document, 0) for document in documents]
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep, or an alias in it means itself")
        if count > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | set | tuple) else ()
        waiting += [(item, depth + 1) for item in inner]
