"""How does a model of ours answer what lm-evaluation-harness asks?

By its rules (`TemplateLM`, `HFLM`): a context and its continuation are encoded as one text and parted by the number of
the context's tokens, blanks at the end of a context go to the continuation, what does not fit is cut from the left, and
a long text is read in windows. Two things are ours: requests are packed into rows, and a prompt begins with the token
that begins each document in training, unless `begins_document` says no.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cluster.rows import Rows
from data_ops.documents.tokenizer import Tokenizer
from data_ops.rounds.packing import IGNORED_LABEL, PADDING_SEGMENT, pack
from models.measures.answers import compare, likeliest_tokens
from models.measures.scoring import AskedModel

STEP = 128  # rows are as long as the longest request, in steps of so many positions
DEFAULT_TOKENS = 256  # of a generated answer, where the task does not say; as the harness has it


class Encoded(NamedTuple):
    """Tokens, of which the last `wanted` are asked for, those before them given."""

    tokens: list[int]
    wanted: int


@dataclass
class ModelAnswerer:
    """A model, with its tokenizer, that answers. batch_tokens: positions that are read at once."""

    model: AskedModel
    tokenizer: Tokenizer
    batch_tokens: int
    begins_document: bool
    cut: int = field(default=0, init=False)  # how many requests lost something on the left

    @property
    def most(self) -> int:
        """Positions that the model reads at once."""
        return self.model.config.row_tokens

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """How likely is each continuation of a context, in nats, and is it the likeliest?"""
        return self._ask([self._pair(*pair) for pair in pairs])

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """How likely is each text as a whole?"""
        windows = [list(self._windows(tokens)) for tokens in self._encode(texts)]
        answers = iter(self._ask([window for each in windows for window in each]))
        return [sum(next(answers)[0] for _ in each) for each in windows]

    def generate(self, prompts: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        """What does the model say behind each prompt? Beside it: until, max_gen_toks."""
        return [self._generate(prompt, how) for prompt, how in prompts]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        tokens: list[list[int]] = self.tokenizer.encode(list(texts)).to_pylist()
        return tokens

    def _pair(self, context: str, continuation: str) -> Encoded:
        begin = [self.tokenizer.document_token]
        if not context:
            (alone,) = self._encode([continuation])
            return self._cut(Encoded(begin + alone, len(alone)))
        blanks = len(context) - len(context.rstrip())
        if blanks:
            context, continuation = context[:-blanks], context[-blanks:] + continuation
        whole, before = self._encode([context + continuation, context])
        wanted = len(whole) - len(before)
        return self._cut(Encoded((begin if self.begins_document or not before else []) + whole, wanted))

    def _cut(self, asked: Encoded) -> Encoded:
        if asked.wanted > self.most:
            raise ValueError(
                f"an answer of {asked.wanted} tokens does not fit model.row_tokens={self.most}; shorten the answers, "
                "or judge a model with longer rows"
            )
        self.cut += len(asked.tokens) > self.most + 1
        return Encoded(asked.tokens[-self.most - 1 :], asked.wanted)

    def _windows(self, tokens: list[int]) -> Iterator[Encoded]:
        """Part a text into windows, the last as long as the others, so that each token is asked once."""
        whole = [self.tokenizer.document_token, *tokens]
        for start in range(0, len(tokens), self.most):
            end = min(start + self.most, len(tokens))
            yield Encoded(whole[max(0, end - self.most) : end + 1], end - start)

    def _ask(self, requests: Sequence[Encoded]) -> list[tuple[float, bool]]:
        """Answer requests, which share rows."""
        found = [(0.0, True)] * len(requests)
        asked = [index for index, request in enumerate(requests) if request.wanted]
        if not asked:
            return found
        lengths = np.array([len(requests[index].tokens) - 1 for index in asked], np.int64)
        length = min(self.most, -(-int(lengths.max()) // STEP) * STEP)
        packing = pack(lengths, length)
        rows = self._rows(packing.num_rows, length)
        places = []
        for r, s, which in zip(packing.row.tolist(), packing.start.tolist(), packing.document.tolist(), strict=True):
            tokens, count = requests[asked[which]]
            end = s + len(tokens) - 1
            segment = int(rows.segments[r].max()) + 1
            rows.inputs[r, s:end], rows.segments[r, s:end] = tokens[:-1], segment
            rows.labels[r, end - count : end] = tokens[-count:]
            places.append((asked[which], r, segment))
        compared = compare(self.model, rows, max(1, self.batch_tokens // length))
        for index, r, segment in places:
            found[index] = -float(compared.nats[r, segment]), bool(compared.likeliest[r, segment])
        return found

    def _rows(self, count: int, length: int) -> Rows:
        inputs = np.full((count, length), self.tokenizer.document_token, np.int32)
        return Rows(inputs, np.full_like(inputs, IGNORED_LABEL), np.full_like(inputs, PADDING_SEGMENT))

    def _generate(self, prompt: str, how: Mapping[str, object]) -> str:
        until, most = how.get("until"), how.get("max_gen_toks", DEFAULT_TOKENS)
        stops = [str(stop) for stop in (until if isinstance(until, list) else [until]) if stop]
        if not isinstance(most, int) or not 0 < most < self.most:
            raise ValueError(
                f"max_gen_toks={most} leaves no room in model.row_tokens={self.most}; set generation_kwargs of the task"
            )
        (tokens,) = self._encode([prompt])
        given = [self.tokenizer.document_token, *tokens] if self.begins_document or not tokens else tokens
        self.cut += len(given) > self.most - most
        said = list[int]()
        for token in likeliest_tokens(self.model, given[-(self.most - most) :], most, {self.tokenizer.document_token}):
            said.append(token)
            text = self.tokenizer.decode(said)
            if any(stop in text for stop in stops):
                break
        text = self.tokenizer.decode(said)
        for stop in stops:
            text = text.split(stop)[0]
        return text
