"""How many tokens a second are answered, beside `transformers.generate` with the same weights in the same process?

A decoder of random weights, written as a Hugging Face folder and read again by transformers (its own cache and
attention, greedy, the same prompts, no padding because all are of one length). Ours is the batch that `headrace serve`
computes: always of the same number of rows, which a single answer pays for; the third line is what that costs.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.rows import Row, paired
from models.config import ModelConfig
from models.kinds.exchange.writing import write_folder
from models.kinds.kind import Handover, Pretrained
from models.kinds.transformer import Transformer, initialise
from models.measures.decoding import BatchDecoder, GoingText
from models.sampling import Sampling
from tests.support.folders import DOCUMENT, JSON

CONFIG = ModelConfig(layers=8, width=512, heads=8, kv_heads=4, row_tokens=512)
VOCABULARY, PROMPT, ROWS = 8192, 32, 8


def measure(quick: bool) -> list[Row]:
    """One answer, and a batch of them, in turns with the other."""
    config = CONFIG.model_copy(update={"layers": 2, "width": 128}) if quick else CONFIG
    new, repeats = (16, 2) if quick else (64, 5)
    model = Transformer(config, VOCABULARY).eval()
    initialise(model, 3)
    batch, single = BatchDecoder(model, ROWS, model.head.weight), BatchDecoder(model, 1, model.head.weight)
    draw = torch.Generator().manual_seed(1)
    prompts = torch.randint(1, VOCABULARY, (ROWS, PROMPT), generator=draw).tolist()
    theirs = peer(config, model)
    rows, same = [], list[float]()
    for count in (1, ROWS):
        ours, others = list[float](), list[float]()
        for number in range(repeats + 1):
            speed, tokens = timed(lambda count=count: go_on(batch, prompts[:count], new))
            other, their_tokens = timed(lambda count=count: generate(theirs, prompts[:count], new))
            if number:  # the first one warms up
                ours.append(speed)
                others.append(other)
                same += [float(a == b) for a, b in zip(tokens, their_tokens, strict=True)]
        what = f"answers, {count} of {ROWS} rows, {new} new tokens"
        rows.append(Row(what, "tokens/s", ours, "transformers.generate", others, paired(ours, others)))
    alone = [timed(lambda: go_on(single, prompts[:1], new))[0] for _ in range(repeats)]
    rows.append(Row("one answer, in a batch of one row", "tokens/s", alone, note="serve.batch=1"))
    rows.append(Row("answers with transformers' very tokens", "share", same, note="greedy, float32"))
    return rows


def go_on(decoder: BatchDecoder, prompts: list[list[int]], new: int) -> list[list[int]]:
    """Let texts go on together; the tokens of each."""
    texts = [GoingText(prompt, new, frozenset(), Sampling(temperature=0)) for prompt in prompts]
    for text in texts:
        decoder.read(text)
    while any(text.ended is None for text in texts):
        decoder.step(texts)
    return [[token.id for token in text.tokens] for text in texts]


def peer(config: ModelConfig, model: Transformer) -> torch.nn.Module:
    """The same weights as transformers read them."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        write_folder(Pretrained(config, VOCABULARY, weights), Handover(JSON, DOCUMENT), Path(folder))
        found: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return found.eval()


def generate(model: torch.nn.Module, prompts: list[list[int]], new: int) -> list[list[int]]:
    """Let transformers go on with prompts of one length."""
    inputs = torch.tensor(prompts)
    ids = model.generate(  # type: ignore[operator]  # a mixin's
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        min_new_tokens=new,
        max_new_tokens=new,
        pad_token_id=0,
    )
    return [row[PROMPT:] for row in ids.tolist()]


def timed(work: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]]]:
    """Tokens a second, and the tokens."""
    began = time.perf_counter()
    tokens = work()
    return sum(map(len, tokens)) / (time.perf_counter() - began), tokens
