"""How are the scenes written down? A table of what was found, and each scene moment by moment."""

from typing import Any

from tests.nodes.scenes import SCENES


def page(scenes: list[dict[str, Any]], circumstances: str) -> str:
    """The result for people."""
    lines = [
        "# Runs over several nodes",
        "",
        circumstances,
        "",
        "Raylets of `ray start` with token auth on two machines (network namespaces) of this host, which share its",
        "cores and disk; `python -m tests.nodes`. Times are wall times on a host that was busy with other work.",
        "",
        "| scene | workers | result | what was found |",
        "|---|---|---|---|",
    ]
    for one in scenes:
        said = "ok" if one["ok"] else "**failed**: " + "; ".join(one["problems"])[:300].replace("\n", " ")
        lines.append(f"| {one['scene']} | {one['workers']} | {said} | {_found(one['found'])} |")
    for one in scenes:
        lines += ["", f"## {one['scene']}", "", (SCENES[one["scene"]].play.__doc__ or "").strip(), "", "```"]
        lines += [*one["moments"], "```"]
    return "\n".join(lines) + "\n"


def _found(found: dict[str, Any]) -> str:
    parts = []
    for key, value in found.items():
        if isinstance(value, dict):
            parts.append(f"{key}: {_found(value)}")
        elif value or value == 0:
            parts.append(f"{key} {value}")
    return "; ".join(parts)
