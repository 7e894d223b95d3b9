"""What does the id of an answer say? Which checkpoint gave it, and the fingerprint of its weights.

So an answer can be followed to the rounds that taught it (`headrace trace`) though nothing of it was kept.
"""

import re
from typing import NamedTuple

FORM = re.compile(r"(?:chat)?cmpl-([0-9a-f]{32})-([0-9a-f]{12})-(.+)-(\d{8,})(?:/(\d+))?")


class AnswerName(NamedTuple):
    """What is in an id; choice: which of the answers to one request."""

    unique: str  # 32 hexadecimal digits
    fingerprint: str
    checkpoint: str  # run/step
    choice: int = 0


def answer_id(unique: str, checkpoint: str, fingerprint: str, *, is_chat: bool) -> str:
    """Make an id; unique: 32 hexadecimal digits that nobody has had.

    >>> name = read_answer_id(answer_id("0" * 32, "mine/00000120", "fp_0123456789ab", is_chat=True))
    >>> name.checkpoint, name.fingerprint
    ('mine/00000120', 'fp_0123456789ab')
    """
    run, _, step = checkpoint.rpartition("/")
    kind = "chatcmpl" if is_chat else "cmpl"
    return f"{kind}-{unique}-{fingerprint.removeprefix('fp_')}-{run}-{step}"


def read_answer_id(text: str) -> AnswerName | None:
    """Read an id, with `/N` behind it for another answer than the first; None where it is none of ours."""
    if (match := FORM.fullmatch(text)) is None:
        return None
    unique, fingerprint, run, step, choice = match.groups()
    return AnswerName(unique, f"fp_{fingerprint}", f"{run}/{step}", int(choice or 0))
