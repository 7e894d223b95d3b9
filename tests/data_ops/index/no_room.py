"""A process that keeps an index and finds no room for its files from window 6 on."""

import resource
import sys

from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds
from tests.data_ops.index.logs import Log, hashes

if __name__ == "__main__":
    log, known = Log(hashes(0, [300] * 20)), KnownIds(IndexFolder(Store.open(sys.argv[1])), str, 1000)
    log.follow(known, 5)
    known.settle()
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))  # half of a file
    log.follow(known, 12)
    if not known.contains(log.upto(12)).all() or len(known) != len(log.upto(12)):
        raise ValueError("an id is not known")
    sys.stdout.write("\n".join(known.notes))
