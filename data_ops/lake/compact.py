"""How does a table that grows for years stay quick to read?

Every append leaves one small file, and a reader pays for each of them, so once `MANY` small ones have gathered, Delta's
own `optimize.compact` writes neighbours into one, in two steps: up to 2 MiB, then up to 64 MiB. A row is therefore
rewritten a few times in its life, and one turn never rewrites more than the youngest 64 MiB or so (0.4 s of one core).
Replaced files stay for a day, so that a reader of an older version misses none. Rows, transactions and what is
visible never change.

Of two compactions of the same files deltalake 1.6 lets both commit, which doubles every row: since its pull request
3982 it takes a file that another compaction removed for no conflict. A change of the table's properties is one for
every writer, so each compaction begins with such a change: whoever began before it is refused.
"""

import logging
import time
from collections.abc import Mapping

from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError

from cluster.storage.clock import store_time
from cluster.storage.store import Store

MOST_AHEAD_S = 3600.0
logger = logging.getLogger(__name__)

LOOK_EVERY = 16  # commits between two looks at how many small files there are
MANY = 32  # small files that are worth a turn
TARGETS = (2 << 20, 64 << 20)  # bytes of a file that is not rewritten again in the first step, in the second
#: Rows read together: a reader of one window, or of one round, decodes these and not a whole file.
ROWS_TOGETHER = {"documents": 8192, "rounds": 8}
ROWS_TOGETHER_ELSEWHERE = 1024


def target_of(sizes: list[int]) -> int | None:
    """Up to how many bytes should files be written together, given the sizes of all? None: not now.

    Of two neighbours below half a target one file can always be made, so only these count.

    >>> target_of([1000] * 31), target_of([1000] * 32), target_of([1 << 20] * 32)
    (None, 2097152, 67108864)
    """
    for target in TARGETS:
        if sum(2 * size < target for size in sizes) >= MANY:
            return target
    return None


def compact(table: DeltaTable, name: str, properties: Mapping[str, str]) -> bool:
    """Write small files together, if there are many, and delete what was replaced long ago; True if it did.

    May be killed at any point and run beside any reader and any writer; an append that began before it and is not
    committed yet has to look again. What fails is said and left for a later turn.

    properties: those that the table should have; ones that it has stay as they are.
    """
    rows = ROWS_TOGETHER.get(name, ROWS_TOGETHER_ELSEWHERE)
    try:
        target = target_of(table.get_add_actions(flatten=True).column("size_bytes").to_pylist())
        if target is None:
            return False
        refuse_earlier_writers(table, properties)
        table.optimize.compact(
            target_size=target,
            max_concurrent_tasks=1,  # the other cores are left to training
            writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=rows),
        )
        table.create_checkpoint()  # or every reader would go through the long list of what was replaced
        if _clock_is_right(table, name):
            # Only the rare second step looks for files of killed writers, as it lists the whole folder.
            table.vacuum(dry_run=False, full=target == TARGETS[-1])
    except CommitFailedError as error:
        logger.debug("%s was changed by another process while it was compacted: %s", name, error)
        return False
    except Exception as error:  # noqa: BLE001 - in a thread of its own it would be a traceback that nobody asked for
        logger.warning("table %s could not be compacted, which is tried again later: %s", name, error)
        return False
    return True


def _clock_is_right(table: DeltaTable, name: str) -> bool:
    """Whether this machine's clock, by which Delta tells what is old, is not ahead of the one that dates the files.

    With a clock a day ahead the file of a writer that has not committed yet would be a killed one's.
    """
    ahead = time.time() - store_time(Store.open(table.table_uri), "_delta_log")
    if ahead > MOST_AHEAD_S:
        logger.warning("nothing old is deleted from table %s: this clock is %.1f h ahead; set it", name, ahead / 3600)
    return ahead <= MOST_AHEAD_S


def refuse_earlier_writers(table: DeltaTable, properties: Mapping[str, str]) -> None:
    """Let Delta refuse every commit, also a compaction, of who looked at the table before this moment.

    Sets these properties where the table lacks them; the same value again is a change too.
    """
    present = table.metadata().configuration
    table.alter.set_table_properties({key: present.get(key, value) for key, value in properties.items()})
