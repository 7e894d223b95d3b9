"""How does a module of transformers take packed rows?

As they are, where it was seen to keep documents apart when positions restart (packing.py). Else each document becomes a
row of its own within the forward pass, padded behind its end, and its nats are put back where they belong: the same
rows, batches and checkpoints, at the price of the padding. Randomness of the family's own (dropout) is off, because a
generator's state would not be the same after a kill or on other workers.
"""

import copy
import inspect
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar

import torch
import transformers
from pydantic import JsonValue
from torch import Tensor, nn

from models.kinds.loss import position_nats
from models.kinds.positions import document_positions

# Shape suffixes: B rows, L positions, N documents, M positions of the longest, V vocabulary.


class PackedDocuments(nn.Module):
    """A causal model over packed rows; given labels its forward gives nats, else logits."""

    both_ways: ClassVar[bool] = False  # does a position see what stands behind it?
    options: ClassVar[dict[str, bool]] = {"use_cache": False}  # without it the library sees across packed documents

    def __init__(self, model: nn.Module, *, packed: bool) -> None:
        super().__init__()
        self.model, self.packed = model, packed

    def forward(
        self, inputs_BL: Tensor, segments_BL: Tensor, labels_BL: Tensor | None = None, each: bool = False
    ) -> Tensor:
        """Return the float32 sum of nats over labels other than -100; with `each` those of each label [B, L]."""
        segments_BL = segments_BL.to(inputs_BL.device)
        logits_BLV = (self._together if self.packed else self._apart)(inputs_BL, segments_BL)
        if labels_BL is None:
            return logits_BLV
        nats_N, _ = position_nats(logits_BLV.float().flatten(0, 1), labels_BL.flatten().long())
        return nats_N.view(labels_BL.shape) if each else nats_N.sum()

    def logits_of(self, inputs_BL: Tensor, segments_BL: Tensor) -> Callable[[Tensor], Tensor]:
        """Read rows; return what turns places [N] among their positions, row after row, into logits [N, V]."""
        logits_TV = self(inputs_BL, segments_BL).flatten(0, 1)
        return lambda places_N: logits_TV[places_N]

    @property
    def positions(self) -> int | None:
        """How many positions a text may have; None: the family does not say."""
        most: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return most

    @torch.no_grad()
    def reading(self, prompt: Sequence[int]) -> Generator[Tensor, int, None]:
        """Yield float32 logits [V] behind a prompt, then behind each token that is sent.

        With the library's own cache; a family that has none of keys and values reads its text anew for each token.
        """
        ids, kept = list(prompt), None
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        while True:
            inputs = torch.tensor([ids], device=next(self.parameters()).device)
            cache: dict[str, Any] = {} if kept is None else {"past_key_values": kept}
            read = self.model(input_ids=inputs, use_cache=True, **cache, **last)
            kept = getattr(read, "past_key_values", None)
            token = yield read.logits[0, -1].float()
            ids = [token] if kept is not None else [*ids, token]

    def _together(self, inputs_BL: Tensor, segments_BL: Tensor) -> Tensor:
        positions_BL = document_positions(segments_BL)
        logits: Tensor = self.model(input_ids=inputs_BL.long(), position_ids=positions_BL, **self.options).logits
        return logits

    def _apart(self, inputs_BL: Tensor, segments_BL: Tensor) -> Tensor:
        starts_BL = document_positions(segments_BL) == 0
        document_T, position_T = starts_BL.flatten().cumsum(0) - 1, document_positions(segments_BL).flatten()
        shape = int(document_T[-1]) + 1, int(position_T.max()) + 1
        inputs_NM = inputs_BL.new_zeros(shape, dtype=torch.long)
        inputs_NM[document_T, position_T] = inputs_BL.flatten().long()
        there_NM = torch.zeros_like(inputs_NM)
        there_NM[document_T, position_T] = 1
        logits_NMV = self.model(input_ids=inputs_NM, attention_mask=there_NM, **self.options).logits
        return logits_NMV[document_T, position_T].view(*inputs_BL.shape, -1)


def library_config(family: Mapping[str, JsonValue]) -> Any:
    """Read a config.json as transformers do, without dropout; ValueError where they do not know the family."""
    values = copy.deepcopy(dict(family))
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    for key, value in config.to_dict().items():
        if isinstance(value, float) and ("drop" in key):
            setattr(config, key, 0.0)
    config.use_cache = False
    return config


@torch.no_grad()
def draw_weights(module: nn.Module, std: float, seed: int) -> None:
    """Draw every matrix from a generator of its own; norms and biases begin as the family has them."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            parameter.normal_(0.0, std, generator=generator).clamp_(-3 * std, 3 * std)
