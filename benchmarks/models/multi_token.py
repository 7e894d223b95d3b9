"""What do heads for further tokens cost in memory, gain in decoding, and do to the next token, at the size of a test?

A decoder of bytes on Python's own sources, with and without heads, from the same seeds and on the same rows. Memory is
the profiler's peak of live bytes on a CPU. Decoding is greedy, from prompts of text that was not trained: token by
token, and by drafts that the model checks. One thread; at this size nothing is said about larger models.
"""

import sysconfig
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.rows import Goal, Row
from models.config import ModelConfig
from models.kinds.building import build
from models.kinds.cache import Cache
from models.kinds.transformer import Transformer
from models.measures.generation import generate
from models.measures.speculation import Drafts, speculate
from models.multi_token import MultiTokenConfig
from models.sampling import Sampling

VOCABULARY, ROWS, SEEDS = 257, 16, (1, 2)
SHAPE = ModelConfig(layers=4, width=96, heads=4, row_tokens=64)
HEADS = MultiTokenConfig(tokens=4)
TINY = ModelConfig(layers=2, width=64, heads=4, row_tokens=64)  # of what is decoded with
LARGE_VOCABULARY, LARGE_ROWS = 8192, 4  # of what memory is measured on
LARGE = ModelConfig(layers=4, width=128, heads=4, row_tokens=256)
WIDE = ModelConfig(layers=12, width=768, heads=12, row_tokens=256)  # of what a forward pass is timed on
GREEDY = Sampling(temperature=0)
BLOCK = 50  # prompts that are timed together, in turns


def measure(quick: bool) -> list[Row]:
    """Memory, then loss, then decoding."""
    torch.set_num_threads(1)
    steps, prompts, tokens = (20, 20, 8) if quick else (250, 1000, 12)
    text, held_out = sources()
    rows = memory((2, 3) if quick else (1, 2, 4, 8))
    plain = [trained(SHAPE, text, seed, steps) for seed in SEEDS[: 1 if quick else 2]]
    headed = [trained(SHAPE.model_copy(update={"mtp": HEADS}), text, seed, steps) for seed in SEEDS[: len(plain)]]
    alone, beside = ([held_out_nats(model, held_out) for model in models] for models in (plain, headed))
    what = f"next token, held out, after {steps} steps of {ROWS * SHAPE.row_tokens:,} bytes, 4 tokens learnt"
    ratios = [ours / theirs for ours, theirs in zip(beside, alone, strict=True)]
    rows.append(Row(what, "nats/byte", beside, "the next alone", alone, ratios, note=f"seeds {SEEDS[: len(plain)]}"))
    small = trained(TINY.model_copy(update={"mtp": HEADS}), text, SEEDS[0], steps)
    return [*rows, *decoding(small, held_out, prompts, tokens), passes(3 if quick else 12)]


def memory(tokens: tuple[int, ...]) -> list[Row]:
    """Peak of live bytes of one forward and backward pass, by the tokens that are predicted."""
    given = torch.Generator().manual_seed(0)
    batch = torch.randint(0, LARGE_VOCABULARY, (2, LARGE_ROWS, LARGE.row_tokens), generator=given)
    found = {}
    for number in tokens:
        heads = MultiTokenConfig(tokens=number) if number > 1 else None
        model = build(LARGE.model_copy(update={"mtp": heads}), LARGE_VOCABULARY, 1)
        found[number] = peak_mb(model, batch)
    first, rows = found[tokens[0]], []
    for number, peak in found.items():
        goal = Goal(1.1, at_least=False) if number == 8 else None
        rows.append(Row(f"peak memory, {number} tokens", "MB", [peak], f"{tokens[0]}", [first], [peak / first], goal))
    return rows


def peak_mb(model: torch.nn.Module, batch: Tensor) -> float:
    """The highest sum of what is allocated while one batch goes forward and back, weights not counted."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        model(batch[0], None, batch[1]).backward()
    held = peak = 0
    events = profiled.profiler.kineto_results.events() if profiled.profiler else []
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20


def sources() -> tuple[Tensor, Tensor]:
    """Bytes to train on and bytes that are held out: every eighth module of the standard library."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts = (
        b"".join(f.read_bytes() for f in files if f not in files[::8]),
        b"".join(f.read_bytes() for f in files[::8]),
    )
    train, held_out = (torch.frombuffer(bytearray(part), dtype=torch.uint8).long() for part in parts)
    return train, held_out


def batches(text: Tensor, seed: int) -> Iterator[Tensor]:
    """Rows [B, L + 1] from anywhere."""
    given, length = torch.Generator().manual_seed(seed), SHAPE.row_tokens + 1
    while True:
        starts = torch.randint(0, len(text) - length, (ROWS,), generator=given).tolist()
        yield torch.stack([text[start : start + length] for start in starts])


def trained(config: ModelConfig, text: Tensor, seed: int, steps: int) -> Transformer:
    """Train a model for some steps."""
    model = build(config, VOCABULARY, seed)
    assert isinstance(model, Transformer)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, betas=(0.9, 0.95), fused=True)
    for rows in islice(batches(text, seed), steps):
        optimizer.zero_grad()
        (model(rows[:, :-1], None, rows[:, 1:]) / rows[:, 1:].numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@torch.no_grad()
def held_out_nats(model: Transformer, text: Tensor) -> float:
    """Mean nats of the next byte."""
    nats = [float(model(r[:, :-1], None, r[:, 1:])) / r[:, 1:].numel() for r in islice(batches(text, 0), 40)]
    return sum(nats) / len(nats)


def passes(repeats: int) -> Row:
    """How much longer a forward pass takes that reads a block and drafts the next, where weights outweigh Python."""
    model = build(WIDE.model_copy(update={"mtp": HEADS}), LARGE_VOCABULARY, 1)
    assert isinstance(model, Drafts)
    like, plain, drafted = model.head.weight, list[float](), list[float]()
    cache, heads = (Cache(1, 64, model.config, like, layers=layers) for layers in (WIDE.layers, HEADS.tokens - 1))
    block = torch.tensor([[1, 2, 3, 4]])
    _, z_1LD = model.read_prompt(torch.arange(32)[None], cache)
    for _ in range(repeats):
        began = time.perf_counter()
        model.read_on(block[:, :1], cache)
        between = time.perf_counter()
        cache.length, heads.length = 32, 0
        model.draft(z_1LD[:, :2], heads)
        _, z_1LD = model.read_block(block, cache)
        plain.append(1000 * (between - began))
        drafted.append(1000 * (time.perf_counter() - between))
    ratios = [ours / theirs for ours, theirs in zip(drafted, plain, strict=True)]
    what = f"a pass with a draft, {WIDE.layers} layers of width {WIDE.width}"
    return Row(what, "ms", drafted, "one token", plain, ratios, note="untrained weights; one thread")


def decoding(model: Transformer, text: Tensor, prompts: int, tokens: int) -> list[Row]:
    """Greedy, token by token and by drafts: the same tokens, how many a forward pass, how fast."""
    assert isinstance(model, Drafts)
    like, given = model.head.weight, torch.Generator().manual_seed(0)
    starts = torch.randint(0, len(text) - 64, (prompts,), generator=given).tolist()
    asked = [text[start : start + 4 + start % 29].tolist() for start in starts]
    same, blocks, forwards, plain_s, drafted_s = 0, 0, 0, list[float](), list[float]()
    for first in range(0, prompts, BLOCK):
        part = asked[first : first + BLOCK]
        began = time.perf_counter()
        plain = [list(generate(model, prompt, tokens, (), GREEDY, like)) for prompt in part]
        between = time.perf_counter()
        drafted = [list(speculate(model, prompt, tokens, (), like)) for prompt in part]
        plain_s.append(between - began)
        drafted_s.append(time.perf_counter() - between)
        flat = [[token for some in going for token in some] for going in drafted]
        alone = [list(speculate(model, prompt, tokens, (), like, drafts=False)) for prompt in part]
        same += sum(a == b for a, b in zip(flat, plain, strict=True))
        blocks += sum(a == [token for some in b for token in some] for a, b in zip(flat, alone, strict=True))
        forwards += sum(map(len, drafted))
    ratios = [ours / theirs for ours, theirs in zip(plain_s, drafted_s, strict=True)]
    rate, slow = ([len(asked[:BLOCK]) * tokens / s for s in seconds] for seconds in (drafted_s, plain_s))
    return [
        Row("prompts with the tokens of greedy decoding", "", [same], "asked", [prompts], [same / prompts], Goal(1.0)),
        Row("the same in blocks of one known token", "", [blocks], "asked", [prompts], [blocks / prompts], Goal(1.0)),
        Row(f"tokens a forward pass, {tokens} a prompt", "", [prompts * tokens / forwards]),
        Row("tokens drafted and checked", "tokens/s", rate, "one a forward pass", slow, ratios),
    ]
