"""How does a conversation read as one text, from which it can be read back?

Curation, ids, duplicates and people see a text: every message on a line of its own behind a mark of its role, and
nothing but the words that were said, so that rules judge these. A line within a message that begins as one of ours gets
a mark before it. Each message is normalised as a text of its own; what a rule rewrites in the text is what is trained.
"""

from collections.abc import Sequence

import pyarrow as pa

from data_ops.conversations.messages import Utterance
from data_ops.documents.spelling import normalised

MARKS = {"system": "◆", "user": "▶", "assistant": "◀", "tool": "■"}
ROLE_OF = {mark: role for role, mark in MARKS.items()}
QUOTE = "◇"  # before a line of a message that begins with a mark, or with this one


def write_transcript(messages: Sequence[Utterance]) -> str:
    """Write messages as one text, in its one spelling.

    >>> print(write_transcript([Utterance("user", "Why? \\n▶ So."), Utterance("assistant", "Because.")]))
    ▶ Why?
    ◇▶ So.
    ◀ Because.
    """
    contents = normalised(pa.array([message.content for message in messages], pa.string())).to_pylist()
    return "\n".join(_written(message.role, text) for message, text in zip(messages, contents, strict=True))


def read_transcript(text: str) -> list[Utterance]:
    """Read the messages back, each without white space around it; ValueError where the text is no transcript.

    >>> read_transcript("▶ Why?\\n◇▶ So.\\n◀ Because.")
    [Utterance(role='user', content='Why?\\n▶ So.'), Utterance(role='assistant', content='Because.')]
    """
    found: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if (role := ROLE_OF.get(line[:1])) is not None:
            found.append((role, [line[1:].removeprefix(" ")]))
        elif found:
            found[-1][1].append(line.removeprefix(QUOTE))
        else:
            raise ValueError(f"the text begins with {line[:20]!r} and not with one of {' '.join(ROLE_OF)}")
    return [Utterance(role, "\n".join(lines).strip()) for role, lines in found]


def marks_of(text: str) -> str:
    """The marks of a transcript's messages, in order: who speaks when."""
    return "".join(line[0] for line in text.split("\n") if line[:1] in ROLE_OF)


def _written(role: str, content: str) -> str:
    first, *others = content.split("\n")
    quoted = [QUOTE + line if line[:1] in ROLE_OF or line[:1] == QUOTE else line for line in others]
    return "\n".join([f"{MARKS[role]} {first}" if first else MARKS[role], *quoted])
