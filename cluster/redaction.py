"""What is a secret, and how is it masked? The only definition, for config.json, W&B and the report alike."""

import re
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"(^|[._-])(token|secret|password|passwd|api_?key|\w*access_?key|private_?key|credentials?)$", re.I)
LOGIN_IN_URL = re.compile(r"(\w+://)[^/@\s]+@")


def redact(value: Any, key: str = "") -> Any:
    """Return a configuration with every secret replaced by ***: by the name of its key, and logins in URLs.

    >>> redact({"hf_token": "abc", "row_tokens": 256, "url": "kafka://me:pw@host"})
    {'hf_token': '***', 'row_tokens': 256, 'url': 'kafka://***@host'}
    """
    if isinstance(value, dict):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact(inner, key) for inner in value]
    if isinstance(value, str):
        return "***" if SECRET.search(key) else LOGIN_IN_URL.sub(r"\1***@", value)
    return value


SECRET = re.compile(r"(secret|passw|(^|_)token$|api_?key|access_?key|private|credential|^auth|\bsas\b|_key$)", re.I)
IN_A_URL = re.compile(
    r"(?<=://)[^/\s@]+@"
    r"|((?<=[?&])(?:[\w-]*(?:sig|token|key|secret|password)[\w-]*)=)[^&\s]+",
    re.I,
)


def mask(value: Any, key: str = "") -> Any:
    """Return a configuration with what stands under a secret-looking key, or as a secret in a URL, masked.

    >>> mask({"sink": {"api_key": "k", "url": "s3://me:pw@host/a?sig=1"}, "tokens": 5})
    {'sink': {'api_key': '•••', 'url': 's3://•••@host/a?sig=•••'}, 'tokens': 5}
    """
    if isinstance(value, Mapping):
        return {name: mask(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, key) for item in value]
    if value not in (None, "", True, False) and SECRET.search(key):
        return "•••"
    return IN_A_URL.sub(lambda m: f"{m[1]}•••" if m[1] else "•••@", value) if isinstance(value, str) else value
