"""What does an error of PostgreSQL mean for a reader: will it pass, or what is to be done?

A statement that fails has a code; a connection that fails has only a text, of the client where nobody answered and of
the server where it refused.
"""

import re
from urllib.parse import urlsplit

from cluster.storage.retry import DATABASE_SILENT

#: Codes of what passes by itself: no connection, too few resources, a server that ends or begins, a standby's conflict.
PASSING = ("08", "53", "57P", "40", "58030")
#: Texts of a connection that may succeed later.
SILENT = re.compile(
    r"refused|timeout|timed out|could not translate|closed the connection|starting up|shutting down|recovery|too many|"
    r"slots|reset by peer|no route|unreachable|could not receive|could not send|accepting connections|no connection|"
    r"No such file or directory",
    re.IGNORECASE,
)
HINTS = {
    "42501": "give the user the right to read it (GRANT SELECT)",
    "42P01": "the table went while it was read; it is looked for again when you start again",
    "42703": "its columns changed while it was read; correct the keys of the source and start again",
}
LOGIN = (
    "the login is refused; put the password into the environment as PGPASSWORD, into ~/.pgpass or a service file, on "
    "every node, and check the user"
)


def told_refusal(error: Exception, url: str) -> OSError:
    """Tell an error in a sentence; one that may pass so that it is known as such."""
    code, said = getattr(error, "sqlstate", None) or "", _said(error)
    where = server_of(url)
    if code.startswith(PASSING) or (not code and SILENT.search(str(error))):
        return OSError(f"{DATABASE_SILENT} at {where} ({said}); check url and the network")
    if code.startswith("28") or "password" in said or "authentication" in said:
        return OSError(f"{where}: {LOGIN} ({said})")
    return OSError(f"{where}: {said}; {HINTS.get(code, 'correct url or the keys of the source')}")


def server_of(url: str) -> str:
    """Name a database without the role that reads it.

    >>> server_of("postgresql://reader@db:5432/news?sslmode=require")
    'db:5432/news'
    """
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc or parts.path else "its service"


def _said(error: Exception) -> str:
    """Take the message out of what the client puts around it."""
    text = str(error).split("\nQuery was:")[0].split(". SQLSTATE:")[0]
    lines = [line.strip() for line in re.split(r"(?:FATAL|ERROR):\s+", text)[-1].splitlines() if line.strip()]
    return re.sub(r"^\w+: (\[libpq\] )?", "", lines[0] if lines else type(error).__name__)
