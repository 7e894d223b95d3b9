"""How is YAML that a person wrote read, so that whatever is wrong with it is one sentence?

PyYAML's makers of dates and numbers raise what they like, and an alias may stand for more values than fit in memory, or
for itself. Here each of them is a ValueError. Our own settings are read as YAML 1.2 has it (`no` is a word, 010 is ten,
2026-01-01 and 12:30 are texts), and a key that stands twice is refused; files of others as their readers do, by 1.1.
"""

import re

import yaml

MOST_VALUES, DEEPEST = 1_000_000, 100


class _Settings(yaml.SafeLoader):
    """Reads plain values, words, numbers and dates as YAML 1.2 does, and refuses a mapping that says one key twice."""

    def compose_mapping_node(self, anchor: dict[object, yaml.Node]) -> yaml.MappingNode:
        """Compose a mapping; what merges (<<) bring may be said again."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first and key.tag != MERGE:
                raise yaml.YAMLError(f"the key {name!r} stands twice, in lines {first[name]} and {line}; keep one")
            first[name] = line
        return node


MERGE, _INT, _BOOL, _DATE = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "int", "bool", "timestamp"))
_Settings.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag not in (_INT, _BOOL, _DATE)]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Settings.add_implicit_resolver(_BOOL, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Settings.add_implicit_resolver(_INT, re.compile("[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"), list("-+0123456789"))


def load_yaml(text: str) -> object:
    """Parse the one document of our settings; None if it is empty."""
    documents = _load(text, _Settings) if text.strip() else [None]
    if len(documents) > 1:
        raise ValueError(f"it holds {len(documents)} documents, parted by ---; keep one")
    return documents[0]


def load_yaml_documents(text: str) -> list[object]:
    """Parse all documents of a file of others; ValueError says what is wrong, and where if the parser knows."""
    return _load(text, yaml.SafeLoader)


def _load(text: str, loader: type[yaml.SafeLoader]) -> list[object]:
    try:
        documents = list(yaml.load_all(text, loader))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    except Exception as error:  # noqa: BLE001 - makers of dates, numbers and tags have no error in common
        raise ValueError(f"a date, number or tag in it is wrong: {error}") from None
    _check_size(documents)
    return documents or [None]


def _check_size(documents: list[object]) -> None:
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
