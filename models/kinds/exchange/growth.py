"""How do token tables grow, where a tokenizer has more tokens than the model that it continues?

A new row begins as the mean of all rows there were: an average token is neither likely nor unlikely, so that the model
says of known text what it said before, but for the share that new tokens take (Hewitt 2021, "Initializing new word
embeddings for pretrained language models").
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from models.config import ModelConfig
from models.kinds.exchange.names import TABLES
from models.kinds.kind import Pretrained
from models.size import padded_vocab

if TYPE_CHECKING:
    from torch import Tensor


class GrownWeights(Mapping[str, "Tensor"]):
    """Weights whose token tables have more rows; each is made when it is asked for."""

    def __init__(self, weights: Mapping[str, "Tensor"], known: int, wanted: int) -> None:
        """known: rows that the tables have without padding; wanted: rows that they get."""
        self.weights, self.known, self.wanted = weights, known, wanted

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, name: str) -> "Tensor":
        weight = self.weights[name]
        if name not in TABLES:
            return weight
        rows = weight[: self.known]
        grown = weight.new_zeros(padded_vocab(self.wanted), weight.shape[1])
        grown[: self.known] = rows
        grown[self.known : self.wanted] = rows.float().mean(0).to(weight.dtype)
        return grown


def grown(model: Pretrained, config: ModelConfig) -> Pretrained:
    """Let token tables grow to the rows that `model.vocabulary` asks for."""
    known, wanted = model.vocab_size, config.vocabulary
    if not known or wanted is None or wanted <= known:
        return model
    return Pretrained(config, wanted, GrownWeights(model.weights, known, wanted))
