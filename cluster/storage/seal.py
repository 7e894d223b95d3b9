"""How does a written JSON text tell that one of its bits was changed?

`seal` puts a digest as the last key of a JSON object, over every byte before it and over what the text belongs to
(its `context`: a path, the other columns of its row); `unseal` compares it and gives the object back as it was. xxh3
with 128 bits finds accidents, not forgers. A text of an older version carries none and is taken as it is.
"""

import json
import re

import xxhash

#: A seal with one bit of its key changed: no JSON of an older version ends like that.
_BROKEN = re.compile(r'"[^"]{6}": "[0-9a-f]{32}"\s*\}\s*\Z')
_SEALED = re.compile(r'(?:,\s+)?"digest": "([^"]*)"(\s*\}\s*)\Z')


class DamagedError(ValueError):
    """What a store holds is not what was written there; the message names it and the mend."""


def seal(text: str, *context: object) -> str:
    """Add the digest to a JSON object, which is written with or without indentation.

    >>> seal('{"a": 1}')
    '{"a": 1, "digest": "494835d23ebf33e22b60284291dd0fb4"}'
    """
    inner = text.rstrip()[:-1]
    body = inner.rstrip()
    end = inner[len(body) :]
    comma = "" if body == "{" else f",{end} " if end else ", "
    return f'{body}{comma}"digest": "{_digest(body, context)}"{end}}}'


def unseal(text: str | None, what: str, *context: object) -> str:
    """Give back what was sealed; DamagedError, which names `what`, if it is not that any more, or is gone (None)."""
    if text is None:
        raise DamagedError(f"{what} is damaged: it is gone")
    sealed = _SEALED.search(text)
    if sealed is None:
        _check_older(text, what)
        return text
    body = text[: sealed.start()]
    if sealed[1] != _digest(body, context):
        raise DamagedError(f"{what} is damaged: its digest is not that of its content")
    return body + sealed[2]


def _check_older(text: str, what: str) -> None:
    """Tell a text without a seal from one whose seal was damaged."""
    if _BROKEN.search(text):
        raise DamagedError(f"{what} is damaged: the key of its digest is another one")
    try:
        json.loads(text)
    except ValueError as error:
        raise DamagedError(f"{what} is damaged: it is no JSON ({error})") from None


def is_sealed(text: str) -> bool:
    """Does a text carry a digest?"""
    return _SEALED.search(text) is not None


def _digest(body: str, context: tuple[object, ...]) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join([body, *map(str, context)]).encode("utf-8", "surrogatepass"))
