"""What do rows ask of a model, in training and on held-out text?

Held-out text is asked the same of every model: the masks of a document are those of its id alone, at the usual rates,
whatever a run hides in training. So the scores of all checkpoints compare, and the gate pairs them.
"""

from data_ops.documents.tokenizer import Tokenizer
from data_ops.rounds.masking import MaskRates, RowObjective, masking_of
from models.config import ModelConfig, Objective
from models.kinds.encoder.config import EncoderConfig

JUDGED_SEED = 0


def training_objective(model: ModelConfig, tokenizer: Tokenizer, seed: int) -> RowObjective:
    """What the rows of a run ask; ValueError where hidden tokens are learnt and the tokenizer has no mask token."""
    rates = MaskRates()
    if isinstance(model, EncoderConfig):
        rates = MaskRates(model.masking.share, model.masking.masked, model.masking.other)
    return _of(model, tokenizer, seed, rates)


def judged_objective(model: ModelConfig, tokenizer: Tokenizer) -> RowObjective:
    """What held-out rows ask of each model of this sort."""
    return _of(model, tokenizer, JUDGED_SEED, MaskRates())


def _of(model: ModelConfig, tokenizer: Tokenizer, seed: int, rates: MaskRates) -> RowObjective:
    if model.learns == Objective.CAUSAL:
        return RowObjective(tokenizer.document_token)
    return RowObjective(tokenizer.frame[0], masking_of(tokenizer, seed, rates))
