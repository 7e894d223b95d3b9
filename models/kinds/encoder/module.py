"""How does an encoder take packed rows, and what do hidden tokens cost?

A mask of both directions keeps the documents of a row apart; where layers see a window, each sort gets its own.
Whether that holds for a family is tried (models/kinds/causal/packing.py); else a document gets a row of its own. Only
hidden tokens have labels, some 15 %, and the layer that names tokens, the dearest of a small model, is computed for
these positions alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.kinds.causal.module import PackedDocuments
from models.kinds.loss import IGNORE, position_nats
from models.kinds.positions import document_positions

# Shape suffixes: B rows, L positions, K positions with a label, D width, V vocabulary.


class MaskedDocuments(PackedDocuments):
    """An encoder over packed rows; given labels its forward gives nats, else logits."""

    both_ways: ClassVar[bool] = True
    options: ClassVar[dict[str, bool]] = {}

    def __init__(self, model: nn.Module, *, packed: bool) -> None:
        super().__init__(model, packed=packed)
        self.first_position = first_position(model)
        self.kept: Tensor | None = None  # positions that go on to the layer that names tokens, flattened; None: all
        body: Any = getattr(model, str(model.base_model_prefix))
        body.register_forward_hook(self._keep)

    def forward(
        self, inputs_BL: Tensor, segments_BL: Tensor, labels_BL: Tensor | None = None, each: bool = False
    ) -> Tensor:
        """Return the float32 sum of nats over labels other than -100; with `each` those of each label [B, L]."""
        segments_BL = segments_BL.to(inputs_BL.device)
        if labels_BL is None:
            return (self._together if self.packed else self._apart)(inputs_BL, segments_BL)
        labels_N = labels_BL.flatten().long()
        places_K = torch.nonzero(labels_N != IGNORE).flatten()
        logits_KV = self._named(inputs_BL, segments_BL, places_K)
        nats_K, _ = position_nats(logits_KV.float(), labels_N[places_K])
        if not each:
            return nats_K.sum()
        return torch.zeros(labels_N.shape, device=nats_K.device).index_copy(0, places_K, nats_K).view(labels_BL.shape)

    def _named(self, inputs_BL: Tensor, segments_BL: Tensor, places_K: Tensor) -> Tensor:
        """The logits [K, V] of some positions."""
        if not self.packed:
            return self._apart(inputs_BL, segments_BL).flatten(0, 1)[places_K]
        self.kept = places_K
        try:
            return self._together(inputs_BL, segments_BL).flatten(0, 1)
        finally:
            self.kept = None

    def _keep(self, body: nn.Module, given: object, result: Any) -> Any:
        """Let only some positions go on from the body: what stands behind it looks at each alone."""
        if self.kept is not None:
            hidden_BLD = result["last_hidden_state"]
            result["last_hidden_state"] = hidden_BLD.flatten(0, 1)[self.kept][None]
        return result

    def _together(self, inputs_BL: Tensor, segments_BL: Tensor) -> Tensor:
        positions_BL = document_positions(segments_BL) + self.first_position
        masks = self._masks(segments_BL)
        logits: Tensor = self.model(input_ids=inputs_BL.long(), position_ids=positions_BL, attention_mask=masks).logits
        return logits

    def _masks(self, segments_BL: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Say what is added to attention, [B, 1, L, L], one a sort of layer: 0, or the lowest number where unseen."""
        config: Any = self.model.config
        same_BLL = segments_BL[:, :, None] == segments_BL[:, None, :]
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return self._added(same_BLL)
        at_L = torch.arange(segments_BL.shape[1], device=segments_BL.device)
        near_LL = (at_L[:, None] - at_L[None, :]).abs() <= config.sliding_window
        return {"full_attention": self._added(same_BLL), "sliding_attention": self._added(same_BLL & near_LL)}

    def _added(self, seen_BLL: Tensor) -> Tensor:
        dtype = next(self.model.parameters()).dtype
        mask = torch.zeros(seen_BLL.shape, dtype=dtype, device=seen_BLL.device)
        return mask.masked_fill_(~seen_BLL, torch.finfo(dtype).min)[:, None]


def first_position(model: nn.Module) -> int:
    """Where a family begins to count positions: behind that of its padding, where it has one (RoBERTa), else at 0."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return int(module.padding_idx) + 1
    return 0
