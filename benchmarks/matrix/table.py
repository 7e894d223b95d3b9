"""How are the results of the matrix read?"""

from collections.abc import Iterable
from typing import Any

from benchmarks.matrix.protocol import RESUMES, WORLDS, corpora

PROTOCOL = """\
1. Text: paragraphs of the documentation topics that every Python carries, in two sources of JSON lines; 5 % exact
   duplicates and 5 % texts below 20 characters are mixed in, also into each growth.
2. A chain is four attempts at A, B, A, B workers, so that "1 → 2" resumes at 2, then 1, then 2. Every rank is a
   process; all of them are killed by SIGKILL behind a given step, some steps after the last commit.
3. Growth comes between a kill and a resume: once (lines appended to a file of source a), or three times (lines
   appended in a; a new file in b; a new file in both).
4. What an attempt trained behind the commit that the next one starts from is discarded. What is left, global batch by
   global batch, is compared with a run that was never killed and had all text from the start.
5. L lost and R repeated, N appended but not seen, O global batches that hold something else. `exact`: all are zero.
6. Headrace: window, curation, dedup, planner, reservoir with a quarter replay, worker, DeepSpeed, snapshots, commits
   and ledger are the product's; a unit is a piece of a document, read off the rows that reach the engine. One layer of
   width 32, float32, 2,048 tokens a global batch, 7 to 9 rounds.
7. Headrace's first and second resume are compared up to the commit that the next one starts from, the third to the end
   of the run; then every kept text was trained once, and what was replayed besides.
8. The loaders get the kept texts, chosen beforehand, each growth as a part of its own, in batches of 16 documents. Each
   resume runs to the end of the epoch and is compared with a run on what was there then. Killed there by SIGKILL, it is
   followed by one that starts from the state it had saved before. They hold no weights, so ZeRO is not theirs.
9. `weights`: largest difference of a final weight from the undisturbed run's at 2 workers, at the same ZeRO stage;
   `loss`: largest difference of a step's loss. Equal worlds must agree to the bit, others to 1e-3 and 1e-4.
10. `ledger`: what `headrace verify` says of each run: documents trained, lost, repeated, pending, and problems."""

LIMITS = """\
- Ray Train's worker group and Ray's calls are not in it: ranks are plain processes that call feed and coordinator over
  a local socket. The end-to-end tests run the same worker under Ray Train.
- The coordinator stops taking receipts some steps before the kill, so a kill in the midst of a commit is not in it.
- One node, CPUs, float32. "Exact" is about what is trained; at another number of workers weights differ by the order
  of additions, as the table says.
- A source that grows after the run had planned its last, short round starts a new round there: the batches of such a
  run differ from those of one that had all text from the start, and nothing is lost or repeated. No kill here falls so
  late.
- Mosaic Streaming is given growth as a further `Stream`, as its documentation has it. One dataset for each growth, read
  to its end one by one, written by hand, would be as exact as Grain's concatenation, and in the same way: new text
  waits until all old text is done. Grain's concatenation is our reading of a general method, not a recipe of theirs.
- Dropping duplicates as text arrives, replay, weights and position in one commit, and a ledger are not the loaders'
  promise; they are not judged on it."""

CHANGING = """\
Sources a and b, 288 and 96 texts that are trained. A run is killed behind step 13, 28 or 41: *before*, *in* or *after*
the first round of the change, which `headrace mix` makes between kill and resume (before) or while the run trains (in,
after). It is compared with a run that was never killed and had the change declared for that same round from its start:
global batches one by one, all manifests of rounds, and the final weights, to the bit. *a : b* are shares of the fresh
tokens over all rounds before the change, and over the two from it on."""

NAMES = {
    "grain": "Grain, `ElasticIterator` over concatenated sources",
    "mosaic": "Mosaic Streaming, a `Stream` a growth",
}


def page(raw: dict[str, Any]) -> str:
    """The results as Markdown."""
    parts = {part: rows_of(found) for part, found in raw["parts"].items()}
    rows = parts.get("ours", [])
    sections = [f"# Resume matrix\n\n{where(raw)}", headline(parts)]
    if set(parts) - {"mixture"}:
        sections.append("## By corpus and workers\n\n" + merged(parts))
    if changed := parts.get("mixture", []):
        sections.append(f"## The mixture of a run, changed\n\n{CHANGING}\n\n" + changes(changed))
    if rows:
        sections.append("## Headrace, every chain\n\n" + every(rows))
    for part, name in NAMES.items():
        if notes := sorted({note for row in parts.get(part, []) for note in row["notes"]}):
            sections.append(f"## {name}\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join([*sections, f"## Protocol\n\n{PROTOCOL}", f"## Limits\n\n{LIMITS}"]) + "\n"


def rows_of(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one part, in the order of the corpora."""
    order = [*corpora(), *(name for name in measured if name not in corpora())]
    return [row for name in order if name in measured for row in measured[name]["rows"]]


def where(raw: dict[str, Any]) -> str:
    """Machine, versions and times in a paragraph."""
    versions = ", ".join(f"{name} {number}" for name, number in raw["versions"].items())
    took = "; ".join(
        f"{part}, {corpus}: {found['date'][:16]}Z, {found['seconds']:,} s, one-minute load "
        f"{found['load_before'][0]:.0f} to {found['load_after'][0]:.0f}"
        for part, measured in raw["parts"].items()
        for corpus, found in measured.items()
    )
    return f"{raw['cpu']}, {raw['cores']} cores, {raw['memory_gb']} GB; Python {raw['python']}, {versions}. {took}."


def headline(parts: dict[str, Any]) -> str:
    """How many cells are exact."""
    told = []
    for part, name in {"ours": "Headrace", "mixture": "Headrace, mixture changed in flight", **NAMES}.items():
        cells = [cell for row in parts.get(part, []) for cell in row["cells"].values()]
        if cells:
            told.append(f"**{name}: {sum(cell == 'exact' for cell in cells)} of {len(cells)} cells exact.**")
    ours = [row for row in parts.get("ours", []) if "trouble" not in row]
    if apart := sum(not row["ok"] and set(row["cells"].values()) == {"exact"} for row in ours):
        told.append(
            f"**Weights or losses of {apart} of {len(ours)} chains of Headrace are further from the undisturbed run "
            "than the tolerance of point 9**, though the same batches were trained; see the columns below."
        )
    return "\n\n".join(told)


def merged(parts: dict[str, Any]) -> str:
    """A line for each corpus, worlds and resume; the ZeRO stages of ours in one cell."""
    heads = {"ours": "Headrace", "grain": "Grain", "mosaic": "Mosaic Streaming"}
    loaders = [part for part in heads if part in parts]
    titles = ["corpus", "workers", "resume", *(heads[part] for part in loaders)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for corpus in dict.fromkeys(row["corpus"] for part in loaders for row in parts[part]):
        for worlds in WORLDS:
            for resume in RESUMES:
                cells = [one_cell(parts[part], corpus, worlds, resume) for part in loaders]
                if any(cells):
                    lines.append(f"| {corpus} | {worlds} | {resume} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def one_cell(rows: Iterable[dict[str, Any]], corpus: str, worlds: str, resume: str) -> str:
    """What was found, and at which ZeRO stages."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if (row["corpus"], row["worlds"]) == (corpus, worlds) and resume in row["cells"]:
            found.setdefault(row["cells"][resume], []).append(str(row.get("zero_stage", "")))
    told = (f"{cell} (ZeRO {', '.join(stages)})" if any(stages) else cell for cell, stages in found.items())
    return "; ".join(told)


def changes(rows: Iterable[dict[str, Any]]) -> str:
    """A line for each change of the mixture, number of workers and moment of the kill."""
    lines = [
        "| change | workers | killed | changed in round | of rounds | resumed at step | of steps | a : b before "
        "| after | batches | weights | ledger |",
        "|---" * 12 + "|",
    ]
    for row in rows:
        head = [row["change"], str(row["workers"]), row["killed"], str(row["changed_round"])]
        if "trouble" in row:
            lines.append("| " + " | ".join([*head, f"**failed: {row['trouble']}**", *[""] * 7]) + " |")
            continue
        counts = [str(row[key]) for key in ("rounds", "start", "steps")]
        shares = [" : ".join(f"{part:.1%}" for part in row["shares"][when].values()) for when in ("before", "after")]
        told = row["ledger"]
        ledger = ", ".join(f"{told[key]} {key}" for key in ("trained", "shed", "pending", "lost", "repeated"))
        apart = f"{row['weights_apart']:.1e}" if row["weights_apart"] else "0"
        lines.append("| " + " | ".join([*head, *counts, *shares, *row["cells"].values(), apart, ledger]) + " |")
    return "\n".join(lines)


def every(rows: Iterable[dict[str, Any]]) -> str:
    """Every chain of ours with its starts, weights, loss and ledger."""
    lines = [
        "| corpus | workers | ZeRO | resumes | from steps | discarded | of steps | weights | loss | ledger |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = [row["corpus"], row["worlds"], str(row["zero_stage"])]
        if "trouble" in row:
            lines.append("| " + " | ".join([*head, f"**failed: {row['trouble']}**", *[""] * 6]) + " |")
            continue
        told = row["ledger"]
        ledger = ", ".join(f"{told[key]} {key}" for key in ("trained", "lost", "repeated", "pending"))
        counts = [str(row[key]).strip("[]") for key in ("starts", "discarded", "steps")]
        apart = [f"{row[key]:.1e}" if row[key] else "0" for key in ("weights_apart", "loss_apart")]
        ledger += "; " + "; ".join(told["problems"]) if told["problems"] else ""
        lines.append("| " + " | ".join([*head, " / ".join(row["cells"].values()), *counts, *apart, ledger]) + " |")
    return "\n".join(lines)
