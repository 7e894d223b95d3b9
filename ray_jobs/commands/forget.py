"""How is a document deleted on request, everywhere but in the weights?

    refuse while somebody works -> tombstones -> text out of the lake -> old files, sketches and derived copies gone

The tombstones are the commit: from then on no reader is shown the text, and what follows only clears the disk, so a
kill at any point is completed by the same command again. Weights cannot be unlearned here: the checkpoints that had
seen a document are named, for whoever must decide about them.
"""

import re
from typing import TypedDict

import pyarrow as pa

from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from data_ops.audit.lookup import known_ids
from data_ops.audit.sightings import sightings
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder
from data_ops.index.known_sketches import forget_sketches
from data_ops.kernels.arrays import Ids, array_to_ids, ids_to_array
from data_ops.kernels.id_sets import is_member, unique_ids
from data_ops.lake.erase import clean, erase
from data_ops.lake.lake import Lake
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.exposure import ChampionSeen, SeenRow, champion_seen, seen_by
from ray_jobs.store.access import exclusive
from ray_jobs.store.paths import run_path

HEX_ID = re.compile(r"[0-9a-fA-F]{32}")


class Forgotten(TypedDict):
    """What was done: documents, of which `already` were forgotten before, rows of the lake, files with copies."""

    forgotten: int
    already: int
    rows: int
    copies: int
    checkpoints: list[SeenRow]  # that had seen one of them
    champion: ChampionSeen | None


def forget(config: Config, names: list[str]) -> Forgotten:
    """Delete documents, given by their ids of 32 hexadecimal digits, from the store for good.

    Raises ConfigError, with nothing changed, for an id that is none or that the lake has never read, and while a
    run or an ingest is at work. Returns what was done and which checkpoints had seen them.
    """
    ids = parse_ids(names)
    store = Store.open(config.store)
    lake = Lake(store)
    if lake.last_window() < 0:
        raise ConfigError(f"store {config.store} holds no documents; there is nothing to forget")
    with exclusive(store):
        found = known_ids(lake, ids) | is_member(ids, lake.forgotten())
        if not found.all():
            unknown = hex_ids(ids[~found])
            raise ConfigError(
                f"{config.store} has never read a document {unknown[0]}"
                + (f" (nor {len(unknown) - 1} others of these)" if len(unknown) > 1 else "")
                + "; nothing was forgotten. `headrace trace` finds ids"
            )
        lake.create()  # a store of an older version has no table for tombstones
        new = lake.forget(ids)
        rows = erase(lake)
        clean(lake)
        forget_sketches(IndexFolder(store, KNOWN_SKETCHES), lake)
        copies = delete_copies(store)
        seen = seen_by(store, lake, sightings(lake, ids))
    return {
        "forgotten": len(ids),
        "already": len(ids) - new,
        "rows": rows,
        "copies": copies,
        "checkpoints": [checkpoint.row for checkpoint in seen],
        "champion": champion_seen(store, seen),
    }


def parse_ids(names: list[str]) -> Ids:
    """Read ids of 32 hexadecimal digits as uint64[n, 2], each once; ConfigError for anything else.

    Nothing shorter is taken here: what is deleted cannot be brought back.
    """
    if not names:
        raise ConfigError("no document is named; give ids of 32 hexadecimal digits, or --file ids.txt with one a line")
    for name in names:
        if not HEX_ID.fullmatch(name):
            raise ConfigError(f"{name!r} is no id of 32 hexadecimal digits; `headrace trace {name}` finds it")
    return unique_ids(ids_to_array(pa.array([bytes.fromhex(name) for name in names], pa.binary(16))))


def read_ids(path: str) -> list[str]:
    """The ids in a file, one a line; empty lines and what follows a # are passed over."""
    try:
        lines = expanded_path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file={path} cannot be read: {error}") from error
    return [word for line in lines if (word := line.partition("#")[0].strip())]


def hex_ids(ids: Ids) -> list[str]:
    """Ids as people write them."""
    return [name.as_py().hex() for name in array_to_ids(ids)]


def delete_copies(store: Store) -> int:
    """Delete the files in which runs keep texts of rounds they have prepared; they are built again where needed.

    Also hidden ones, which a run left that was killed while it wrote.
    """
    found = (*store.list("runs"), *store.asides("runs"))
    copies = [path for path in found if path.split("/")[2:3] == ["rounds"]]
    for place in sorted({run_path(path.split("/")[1], "rounds") for path in copies}):
        store.delete(place)
    return len(copies)


def forget_lines(done: Forgotten) -> list[str]:
    """What was done, as lines for people."""
    again = f" ({done['already']} of them before)" if done["already"] else ""
    lines = [f"forgotten {done['forgotten']} documents{again}: {done['rows']} rows of the lake rewritten"]
    seen: dict[str, list[SeenRow]] = {}
    for checkpoint in done["checkpoints"]:
        seen.setdefault(checkpoint["run"], []).append(checkpoint)
    for run, each in seen.items():
        kept = [f"{c['step']:,}" for c in each if c["kept"]]
        stored = f"; kept: step {', '.join(kept)}" if kept else "; none of them is kept"
        lines.append(f"run       {run}: {len(each)} checkpoints had seen one of them{stored}")
    if seen:
        lines.append("weights cannot be unlearned here: take these out of service and train anew if they must not know")
    if done["champion"] and done["champion"]["seen"]:
        lines.append(f"champion  {done['champion']['checkpoint']}, in service, had seen one of them")
    return lines
