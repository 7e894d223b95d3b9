"""How much does a round train on?

Its fresh text and its share of replay, in whole batches. What is drawn is in `draw.py`; this file stands alone,
because every command reads a round's settings, and few need the compiled code of the drawing.
"""

import math
from typing import NamedTuple

from data_ops.rounds.config import RoundConfig


class RoundSize(NamedTuple):
    """A round in whole batches: optimizer steps, rows, and the positions replay may fill."""

    steps: int
    rows: int
    replay_positions: int


def plan_batch(fresh_positions: int, config: RoundConfig, row_tokens: int, batch_rows: int) -> RoundSize:
    """Return the fewest whole batches that hold the fresh positions and their share of replay.

    Replay fills up the last batch, so its share is `replay_share` or, by less than one batch, more; without
    replay the last batch is padded. With nothing fresh: a round of replay alone where `starved` says so, else
    no step.

        >>> plan_batch(3000, RoundConfig(tokens=4096, replay_share=0.25), row_tokens=256, batch_rows=8)
        RoundSize(steps=2, rows=16, replay_positions=1096)
    """
    batch_tokens = row_tokens * batch_rows
    if fresh_positions == 0:
        wanted = config.tokens if config.starved == "replay" and config.replay_share > 0 else 0
    else:
        wanted = math.ceil(round(fresh_positions / (1 - config.replay_share), 6))
    steps = -(-wanted // batch_tokens)
    replay = steps * batch_tokens - fresh_positions if config.replay_share > 0 else 0
    return RoundSize(steps, steps * batch_rows, replay)
