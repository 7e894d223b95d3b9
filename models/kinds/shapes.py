"""Which parameters has a decoder, and of which shapes? Said without building one, and without torch."""

from collections.abc import Iterator

from models.config import ModelConfig

Extent = tuple[int, ...]


def parameter_shapes(config: ModelConfig, rows: int) -> dict[str, Extent]:
    """Return the shape of every parameter by its name; rows: of the token tables."""
    shapes: dict[str, Extent] = {"embed.weight": (rows, config.width)} if not config.tie_embeddings else {}
    for index in range(config.layers):
        shapes |= {f"layers.{index}.{name}": shape for name, shape in _of_a_layer(config)}
    name = "embed.weight" if config.tie_embeddings else "head.weight"  # the first of two names that torch lists
    shapes |= {"norm.weight": (config.width,), name: (rows, config.width)}
    for index in range(config.further):
        shapes |= {f"ahead.{index}.{name}": shape for name, shape in _of_a_layer(config)}
        shapes[f"ahead.{index}.norm.weight"] = (config.width,)
    return shapes


def _of_a_layer(config: ModelConfig) -> Iterator[tuple[str, Extent]]:
    width, wide, narrow = config.width, config.heads * config.head, config.kv * config.head
    yield from (("attention_norm.weight", (width,)), ("ffn_norm.weight", (width,)))
    matrices = {"q": (wide, width), "k": (narrow, width), "v": (narrow, width), "o": (width, wide)}
    matrices |= {"gate": (config.ffn, width), "up": (config.ffn, width), "down": (width, config.ffn)}
    biased = {"none": "", "qkv": "qkv", "attention": "qkvo", "all": matrices}[config.biases]
    for name, shape in matrices.items():
        yield f"{name}.weight", shape
        if name in biased:
            yield f"{name}.bias", shape[:1]
    if config.qk_norm != "none":
        full = config.qk_norm == "full"
        yield from (
            ("q_norm.weight", (wide if full else config.head,)),
            ("k_norm.weight", (narrow if full else config.head,)),
        )
