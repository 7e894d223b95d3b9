"""Which room may import which? The order of HOUSE: an import goes to a room that stands before one's own."""

from tests.board.source import PRODUCT, Source

#: Within a package, floor by floor; rooms of one floor do not know each other. A file of the package's own folder is
#: named by its module. Sub-rooms stand below in the same way.
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "": (("cluster",), ("data_ops", "models"), ("tune",), ("ray_jobs",)),
    "cluster": (
        ("units", "readable", "redaction", "extensions", "yaml_text", "rows"),
        ("storage", "runtime", "planner", "http"),
        ("telemetry", "launch", "observability"),
    ),
    "data_ops": (
        ("kernels",),
        ("documents", "index"),
        ("conversations",),
        ("sources", "curation"),
        ("lake",),
        ("sampling", "steering"),
        ("mixing",),
        ("reservoir", "rounds"),
        ("audit", "ingest"),
        ("survey",),
    ),
    "data_ops.sources": (
        ("login", "protocol", "times"),
        ("fields", "objective"),
        ("json_records",),
        ("conversation_records",),
        ("files", "kafka", "push", "python_library", "sql"),
        ("dataset", "delta"),
        ("kinds",),
        ("quarantine",),
        ("first_look",),
    ),
    "data_ops.curation": (("rules",), ("history",), ("config",), ("curate", "reasons")),
    "models": (
        ("rope", "lora", "multi_token", "schedule", "optimizer", "sampling"),
        ("config",),
        ("size",),
        ("device",),
        ("kinds",),
        ("measures",),
        ("engine",),
    ),
    "ray_jobs": (
        ("outcome", "names"),
        ("endpoint",),
        ("store",),
        ("config",),
        ("checkpoints",),
        ("origin",),
        ("evaluation", "ingest"),
        ("training",),
        ("registry", "report", "library"),
        ("cards", "explorer"),
        ("driver",),
        ("sweep", "serving", "mixture"),
        ("commands",),
        ("trigger",),
        ("command_line",),
        ("__main__",),
    ),
    "ray_jobs.training": (("events", "directive", "freshness"), ("actors",), ("worker",), ("group",)),
    "ray_jobs.report": (("charts",), ("*",)),
    "ray_jobs.library": (("table", "feed_config", "loop_batch", "ranks", "jobs"), ("reading", "loop_feed")),
    "ray_jobs.sweep": (("trial",), ("*",)),
}


def floor(house: str, room: str) -> int:
    """Return on which floor of `house` a room stands; "*" takes what is not named."""
    floors = FLOORS[house]
    named = [i for i, rooms in enumerate(floors) if room in rooms] or [i for i, r in enumerate(floors) if "*" in r]
    if not named:
        raise ValueError(f"{house or 'the house'}: {room} stands on no floor; give it one in tests/board/rooms.py")
    return named[0]


def arrows_up(files: list[Source]) -> list[str]:
    """Return the imports that go up, or sideways into another room of the same floor."""
    wrong = []
    for file in files:
        for target in file.imports:
            if target.split(".")[0] not in PRODUCT:
                continue
            ours, theirs = file.module.split("."), target.split(".")
            for depth in range(min(len(ours), len(theirs))):
                house = ".".join(ours[:depth])
                if ours[depth] == theirs[depth]:
                    continue
                if house in FLOORS and not _allowed(house, ours[depth], theirs[depth]):
                    wrong.append(f"{file.name} imports {target}")
                break
    return wrong


def _allowed(house: str, importer: str, target: str) -> bool:
    here, there = floor(house, importer), floor(house, target)
    return there < here or (here == there and "*" in FLOORS[house][here])


def circles(files: list[Source]) -> list[str]:
    """Return the pairs of rooms that import each other; a room's own sub-rooms do not count."""
    known = {file.module: file.room for file in files}
    arrows = {(f.room, known[t]) for f in files for t in f.imports if t in known and known[t] != f.room}
    mutual = {(a, b) for a, b in arrows if (b, a) in arrows and a < b}
    return [f"{a} and {b}" for a, b in sorted(mutual) if not b.startswith(f"{a}.")]
