"""Where does a password come from? From the environment, or from a file of every node that reads; it has no key."""

import os
from collections.abc import Container
from pathlib import Path

from cluster.redaction import SECRET
from cluster.storage.uri import expanded_path


def read_login(of: str, variable: str, file: str | None) -> str:
    """Read the password of a block of the configuration. OSError, in a sentence, where it is not there.

    of: what the block is called in a configuration, security or registry.
    """
    if file is not None:
        try:
            text = Path(expanded_path(file)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:  # of its own class it would say that messages are gone
            said = getattr(error, "strerror", None) or "it is no UTF-8"
            raise OSError(f"{of}.login_file={file} cannot be read ({said}); make it readable on every node") from None
        if not text:
            raise OSError(f"{of}.login_file={file} is empty; write the password into it")
        return text
    if not (text := os.environ.get(variable, "")):
        raise OSError(
            f"the environment holds no {variable}; set it to the password on every node, or name a file by "
            f"{of}.login_file"
        )
    return text


def refuse_secrets(of: str, variable: str, keys: object, known: Container[str]) -> None:
    """Raise ValueError, without repeating it, where a secret stands among the keys of a block."""
    for name in keys if isinstance(keys, dict) else ():
        if name not in known and SECRET.search(str(name)):
            raise ValueError(
                f"{name} is a secret and has no place in a configuration; put the password into the environment as "
                f"{variable}, or into a file that {of}.login_file names"
            )
