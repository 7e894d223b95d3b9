"""How are the files of a store kept from the other users of a machine?

By the umask, because tables, checkpoints and reports are written by five libraries, and all of them obey it. Every
child process inherits it; the workers of a cluster are told by a hook of Ray's (`cluster.runtime.session.connect`).
"""

import os

OTHERS = 0o077  # every right of group and others


def keep_private(*, only_if: bool = True) -> None:
    """Let this process and what it starts write files and folders for this user alone."""
    if only_if:
        os.umask(OTHERS)


def is_private() -> bool:
    """Does this process write for its user alone?"""
    now = os.umask(OTHERS)
    os.umask(now)
    return now & OTHERS == OTHERS
