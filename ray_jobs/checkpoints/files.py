"""How do a checkpoint's files come to this machine, and are they whole?"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.storage.store import Store
from ray_jobs.checkpoints.manifest import Commit, DamagedCheckpointError
from ray_jobs.checkpoints.position import StoredFile

HASH_BYTES = 1 << 24
FILES_AT_ONCE = 4  # that are brought and hashed side by side


def fetch_files(store: Store, commit: Commit, directory: Path) -> list[Path]:
    """Bring a checkpoint's files to this machine and compare each with its checksum; paths in rank order.

    Files of a local store are used where they lie. Raises DamagedCheckpointError.
    """

    def fetch(file: StoredFile) -> Path:
        local = store.local_path(file.path)
        if local is None:
            local = directory / file.sha256
            store.download(file.path, local)
            if sha256_of(local) == file.sha256:
                return local
            store.download(file.path, local)  # once more, before a whole checkpoint is given up for a bad transfer
        if not local.exists() or sha256_of(local) != file.sha256:
            raise DamagedCheckpointError(
                f"{file.path} does not hold the bytes that checkpoint {commit.name} committed; "
                "the checkpoint before it is used"
            )
        return local

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(fetch, commit.files))


def sha256_of(path: Path) -> str:
    """Checksum of a local file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(HASH_BYTES):
            digest.update(piece)
    return digest.hexdigest()
