"""Do documents that are packed into a row stay apart in a module of transformers? It is tried, not believed.

A small copy of the model (few layers, few tokens, short windows, its own widths and random weights) computes three
documents packed and alone. Some families see across them however they are called, and say nothing (ALiBi; positions
that are counted from the mask). Then each document gets a row of its own, and that is tried in the same way.
"""

import torch
from torch import Tensor, nn

from models.kinds.causal.config import CausalConfig
from models.kinds.causal.module import PackedDocuments, build_model, draw_weights

LENGTHS = (9, 17, 14)  # of the documents, in one row of 40
TOKENS, WINDOW = 64, 8
TOLERANCE = 1e-4  # of the largest logit; a model that reads across documents is off by a hundredth and more
STD = 0.1  # of its weights, so that attention matters


def keeps_apart(config: CausalConfig) -> bool:
    """May documents be packed? ValueError where neither way gives what they have alone."""
    model = _small(config)
    inputs = torch.randint(1, TOKENS, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    segments = torch.cat([torch.full((n,), index) for index, n in enumerate(LENGTHS)])[None]
    with torch.no_grad():
        alone = torch.cat([model(part, use_cache=False).logits for part in inputs.split(LENGTHS, 1)], 1)
        for packed in (True, False):
            if _equal(PackedDocuments(model, packed=packed), inputs, segments, alone):
                return packed
    raise ValueError(
        f"model_type={config.family.get('model_type')} does not give documents beside others the logits they have "
        "alone, whether packed or padded; use another model, or a family that kind=decoder knows"
    )


def _equal(model: PackedDocuments, inputs: Tensor, segments: Tensor, alone: Tensor) -> bool:
    try:
        found = model(inputs, segments)
    except (TypeError, ValueError, RuntimeError):  # it takes no positions, or not without a mask
        return False
    return bool((found - alone).abs().max() <= TOLERANCE * alone.abs().max())


def _small(config: CausalConfig) -> nn.Module:
    """Build the copy: every kind of layer once, at least two."""
    family = dict(config.family)
    kinds = family.get("layer_types")
    layers = 2
    if isinstance(kinds, list):
        layers = max([2, *(kinds.index(kind) + 1 for kind in kinds)])
        family["layer_types"] = kinds[:layers]
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    family |= {name: min(layers, int(str(family[name]))) for name in names if name in family}
    family |= {"sliding_window": WINDOW} if family.get("sliding_window") else {}
    no_tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    model = build_model(family | {"vocab_size": TOKENS} | no_tokens)
    draw_weights(model, STD, seed=0)
    return model.eval()
