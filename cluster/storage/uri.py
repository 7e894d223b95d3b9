"""Where does a name that a person wrote lead: to a local path, or into a bucket?"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit


def expanded_path(text: str) -> Path:
    """Return a path as its user means it: ~ is the home folder; where there is none, the name stays as written."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib's own raises RuntimeError where no home is known


def split_uri(uri: str) -> tuple[str, str]:
    """Return (scheme, root): an absolute local path for "file", `bucket/prefix` for "s3" and "gs".

    >>> split_uri("s3://acme/lake/")
    ('s3', 'acme/lake')
    """
    parts = urlsplit(uri)
    if uri and "://" not in uri:
        return "file", os.path.realpath(expanded_path(uri))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return "file", os.path.realpath(unquote(parts.path))
    if parts.scheme not in ("s3", "gs"):
        raise ValueError(f"{uri!r} is no store; use a local path, file:///path, s3://bucket/prefix or gs://bucket")
    if not parts.netloc or "@" in parts.netloc:
        raise ValueError(f"{uri!r} names no bucket; write for example {parts.scheme}://bucket/prefix")
    return parts.scheme, checked(uri.split("://", 1)[1].rstrip("/"))


def absolute_uri(uri: str) -> str:
    """Return the same place as an absolute local path or a URI, whatever the working directory is.

    >>> absolute_uri("gs://acme/lake/")
    'gs://acme/lake'
    """
    scheme, root = split_uri(uri)
    return root if scheme == "file" else f"{scheme}://{root}"


def checked(path: str) -> str:
    """Return a relative path unchanged, or raise ValueError if it could leave its store.

    >>> checked("runs/news/config.json")
    'runs/news/config.json'
    """
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path or "\\" in path:
        raise ValueError(f"{path!r} is no path inside a store; write it without '..', for example runs/news")
    return path
