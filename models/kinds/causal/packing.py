"""Do documents that are packed into a row stay apart in a module of transformers? It is tried, not believed.

A small copy of the model (few layers, few tokens, short windows, its own widths and random weights) computes three
documents packed and alone. Some families see across them however they are called, and say nothing (ALiBi; positions
that are counted from the mask). Then each document gets a row of its own, and that is tried in the same way.
"""

from collections.abc import Callable, Mapping

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from models.kinds.causal.module import PackedDocuments, draw_weights

Family = Mapping[str, JsonValue]  # a config.json

LENGTHS = (9, 17, 14)  # of the documents, in one row of 40
TOKENS, WINDOW = 64, 8
TOLERANCE = 1e-4  # of the largest logit; a model that reads across documents is off by a hundredth and more
STD = 0.1  # of its weights, so that attention matters


def keeps_apart(family: Family, build: Callable[[Family], nn.Module], documents: type[PackedDocuments]) -> bool:
    """May documents be packed? ValueError where neither way gives what they have alone.

    build: makes the library's module of a config.json. documents: how it is given rows.
    """
    model = _small(family, build)
    inputs = torch.randint(1, TOKENS, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    segments = torch.cat([torch.full((n,), index) for index, n in enumerate(LENGTHS)])[None]
    with torch.no_grad():
        alone = torch.cat([model(part, **documents.options).logits for part in inputs.split(LENGTHS, 1)], 1)
        _refuse_other_sight(family, model, inputs, alone, documents)
        for packed in (True, False):
            if _equal(documents(model, packed=packed), inputs, segments, alone):
                return packed
    raise ValueError(
        f"model_type={family.get('model_type')} does not give documents beside others the logits they have "
        "alone, whether packed or padded; use another model, or a family that kind=decoder knows"
    )


def _refuse_other_sight(
    family: Family, model: nn.Module, inputs: Tensor, alone: Tensor, documents: type[PackedDocuments]
) -> None:
    """Raise ValueError where a token is told by what stands behind it, and must not be, or is not, and must be."""
    last = inputs[:, -LENGTHS[-1] :].clone()
    last[:, -1] = last[:, -1] % (TOKENS - 1) + 1
    before = slice(-LENGTHS[-1], -1)
    moved = model(last, **documents.options).logits[:, :-1] - alone[:, before]
    sees_ahead = bool(moved.abs().max() > TOLERANCE * alone.abs().max())
    if sees_ahead and not documents.both_ways:
        raise ValueError(
            f"model_type={family.get('model_type')} sees what stands behind a token, and would have to predict it; use "
            "model.kind=encoder, or a decoder"
        )
    if documents.both_ways and not sees_ahead:
        raise ValueError(
            f"model_type={family.get('model_type')} does not see what stands behind a hidden token; use "
            "model.kind=transformers, or an encoder"
        )


def _equal(model: PackedDocuments, inputs: Tensor, segments: Tensor, alone: Tensor) -> bool:
    try:
        found = model(inputs, segments)
    except (TypeError, ValueError, RuntimeError):  # it takes no positions, or not without a mask
        return False
    return bool((found - alone).abs().max() <= TOLERANCE * alone.abs().max())


def _small(theirs: Family, build: Callable[[Family], nn.Module]) -> nn.Module:
    """Build the copy: every kind of layer once, at least two."""
    family = dict(theirs)
    kinds = family.get("layer_types")
    layers = 2
    if isinstance(kinds, list):
        layers = max([2, *(kinds.index(kind) + 1 for kind in kinds)])
        family["layer_types"] = kinds[:layers]
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    family |= {name: min(layers, int(str(family[name]))) for name in names if name in family}
    family |= {name: WINDOW for name in ("sliding_window", "local_attention") if family.get(name)}
    family |= {name: TOKENS for name in ("max_position_embeddings", "n_positions") if _is_short(family.get(name))}
    no_tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    if family.get("pad_token_id") == 1:
        no_tokens.pop("pad_token_id")  # RoBERTa counts positions from it
    model = build(family | {"vocab_size": TOKENS} | no_tokens)
    draw_weights(model, STD, seed=0)
    return model.eval()


def _is_short(context: JsonValue) -> bool:
    """Has the family fewer positions than the row that is tried?"""
    return isinstance(context, int) and context < TOKENS
