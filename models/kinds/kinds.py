"""Which kinds of model are there? Ours, and those that installed packages add."""

from collections.abc import Mapping

from cluster.extensions import Members, configured
from models.config import ModelConfig
from models.kinds.causal.causal import Causal
from models.kinds.decoder import Decoder
from models.kinds.encoder.encoder import Encoder
from models.kinds.kind import Kind
from models.kinds.partial import TrainedPart, trained_part


def _is_kind(member: object) -> bool:
    names = ("num_parameters", "parameters", "flops_per_token", "arrange", "build", "loss", "nats", "export", "read")
    config = getattr(member, "config", None)
    is_configured = isinstance(config, type) and issubclass(config, ModelConfig)
    return is_configured and all(callable(getattr(member, name, None)) for name in names)


#: The one place where a kind is made known; the key is what `model.kind` names.
KINDS: Members[Kind] = Members(
    "headrace.kinds",
    {"decoder": Decoder(), "transformers": Causal(), "encoder": Encoder()},
    _is_kind,
    "an object that does what models.kinds.kind.Kind says",
)


def kind_of(config: ModelConfig) -> Kind:
    """Return the kind of a model."""
    return KINDS.named(config.kind, "kind of model")


def model_config(values: Mapping[str, object]) -> ModelConfig:
    """Read the configuration of a model of any kind, as a checkpoint or a file holds it; absent keys have defaults.

    ValueError, in one sentence, for a kind, a key or a value that does not fit.
    """
    name = str(values.get("kind", "decoder"))
    return configured(KINDS.named(name, "kind of model").config, f"the model {name}", values)


def part_that_trains(config: ModelConfig, vocab_size: int) -> TrainedPart:
    """Count what trains and what is only multiplied with; ValueError for names in lora or freeze that name nothing."""
    kind = kind_of(config)
    if not config.trains_part:
        return TrainedPart(kind.num_parameters(config, vocab_size), 0)
    return trained_part(config, kind.parameters(config, vocab_size))


def training_flops(config: ModelConfig, vocab_size: int) -> float:
    """Count training FLOPs of one position in a full row: of a frozen matrix no gradient is taken, 4 and not 6 each.

    What lies below all that trains is counted like the rest, although no gradient passes there.
    """
    part = part_that_trains(config, vocab_size)
    added = 6.0 * part.added - 2.0 * part.frozen
    return kind_of(config).flops_per_token(config, vocab_size) + added
