"""What is a secret, and how is it masked? The only definition, for config.json, W&B and the report alike."""

import re
from collections.abc import Mapping

MASK = "***"
SECRET = re.compile(
    r"(secret|passw|(^|[._-])token$|api_?key|access_?key|private|credential|^auth|\bsas\b|[._-]key$)", re.I
)
A_NUMBER = re.compile(r"token$", re.I)  # whose numbers are ids and counts, not secrets
IN_A_URL = re.compile(
    r"(?<=://)[^/\s@]+@"
    r"|((?<=[?&])(?:[\w-]*(?:sig|token|key|secret|password)[\w-]*)=)[^&\s]+",
    re.I,
)


def redact(settings: Mapping[str, object]) -> dict[str, object]:
    """Return a configuration with every secret replaced by ***: what stands under its name, and secrets within URLs.

    >>> redact({"hf_token": "abc", "row_tokens": 256, "url": "s3://me:pw@host/a?sig=1"})
    {'hf_token': '***', 'row_tokens': 256, 'url': 's3://***@host/a?sig=***'}
    """
    return {name: _redacted(value, str(name)) for name, value in settings.items()}


def _redacted(value: object, key: str) -> object:
    if isinstance(value, Mapping):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redacted(item, key) for item in value]
    if SECRET.search(key) and _may_be_secret(value, key):
        return MASK
    if not isinstance(value, str):
        return value
    return IN_A_URL.sub(lambda found: f"{found[1]}{MASK}" if found[1] else f"{MASK}@", value)


def _may_be_secret(value: object, key: str) -> bool:
    if isinstance(value, bool) or value in (None, ""):
        return False
    return isinstance(value, str) or not A_NUMBER.search(key)
