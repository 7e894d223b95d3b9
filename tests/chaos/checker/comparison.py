"""Is a disturbed run the same as its undisturbed twin, and how the same must it be?

The twin gets the same pieces of corpus at the same drained points and is left alone. What must agree depends on the
plan:

- always: the multiset of texts trained as fresh, and the corpus (held by history.check).
- the same settings at every start: the same rounds (fresh, replay, order, steps), the same loss at every step ever
  told, also at those that were trained again after a kill, and the last checkpoint's tensors (weights and optimizer)
  equal to the bit.
- other numbers of workers or ZeRO stages at some starts ("elastic"): the same rounds, so identical global batches, and
  losses within LOSS_TOLERANCE, for floating-point sums then have another order.
- a step that was skipped, for its loss was poisoned (never in runs that keep their settings): losses before it only.
- appends in the middle of a run ("grows"): what a window holds then depends on when they came, and so do the rounds;
  the texts must agree. Nothing is said about the weights.
"""

import hashlib

from safetensors import safe_open

from tests.chaos.checker.history import History, fresh_texts

LOSS_TOLERANCE = 0.02  # relative, per step; sums of fp32 in another order, over some hundred steps of training


def compare(history: History, twin: History, *, same_rounds: bool, same_bits: bool) -> list[str]:
    """What differs that must not; see above for what the two switches mean."""
    found = []
    missing, more = fresh_texts(twin) - fresh_texts(history), fresh_texts(history) - fresh_texts(twin)
    if missing or more:
        found.append(f"{missing.total()} texts of the twin were not trained, {more.total()} were that it has not")
    if not same_rounds:
        return found
    mine, others = ([_outline(h, n) for n in range(len(h.rounds))] for h in (history, twin))
    if mine != others:
        first = next(
            (n for n, (a, b) in enumerate(zip(mine, others, strict=False)) if a != b), min(map(len, (mine, others)))
        )
        found.append(f"rounds differ from round {first} on: {len(mine)} here, {len(others)} in the twin")
    found += _compare_losses(history, twin, 0.0 if same_bits else LOSS_TOLERANCE)
    if same_bits and weights(history) != weights(twin):
        found.append("the last checkpoint's tensors are not those of the twin, bit for bit")
    return found


def weights(history: History) -> str:
    """A hash over all tensors of the newest checkpoint: weights and optimizer, rank by rank."""
    digest = hashlib.sha256()
    for file in history.checkpoints[-1]["files"] if history.checkpoints else ():
        with safe_open(history.store / file["path"], framework="numpy") as tensors:
            for name in sorted(tensors.keys()):
                digest.update(f"{name} {tensors.get_slice(name).get_shape()}".encode())
                digest.update(tensors.get_tensor(name).tobytes())
    return digest.hexdigest()


def _outline(history: History, number: int) -> list[object]:
    """A round without what depends on the folder it lies in."""
    manifest = history.rounds[number]
    names = ("start", "end", "steps", "closed", "seed", "reservoir", "fresh", "replay", "shed")
    return [manifest[name] for name in names]


def _compare_losses(history: History, twin: History, tolerance: float) -> list[str]:
    """Every step ever told, also those that were trained again, against the twin's step of that number."""
    alike = min(history.skips, default=len(twin.steps) + 1)  # from there on the weights are others
    expected = {step["step"]: step for step in twin.steps}
    wrong = []
    for step in history.steps:
        other = expected.get(step["step"])
        if other is None or any(step[key] != other[key] for key in ("round", "tokens", "predictions")):
            wrong.append(f"step {step['step']} is of another round or batch than the twin's")
        elif step["step"] < alike and abs(step["loss"] - other["loss"]) > tolerance * abs(other["loss"]):
            wrong.append(f"step {step['step']} has loss {step['loss']!r}, the twin's has {other['loss']!r}")
    return wrong[:3] + ([f"and {len(wrong) - 3} steps more"] if len(wrong) > 3 else [])
