"""How is a library in Rust that breaks down over damaged bytes told as an error with a name?

Such a panic reaches Python as a PanicException, which is no Exception, so no reader expects it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.storage.seal import DamagedError


@contextmanager
def panics_told(what: str, mend: str) -> Iterator[None]:
    """Raise DamagedError, which names `what` and the mend, where a library in Rust panics meanwhile."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        told = " ".join(str(error).split())[:200]
        raise DamagedError(f"{what} is damaged: a library broke down over it ({told}); {mend}") from error
