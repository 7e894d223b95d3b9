"""How does a Hugging Face folder call our parameters?"""

from models.config import ModelConfig

THEIRS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
AFTER = {"attention_norm": "post_attention_layernorm", "ffn_norm": "post_feedforward_layernorm"}
TABLES = ("embed.weight", "head.weight")


def their_name(name: str, config: ModelConfig) -> str:
    """Translate a parameter's name.

    >>> their_name("layers.3.gate.weight", ModelConfig()), their_name("norm.weight", ModelConfig())
    ('model.layers.3.mlp.gate_proj.weight', 'model.norm.weight')
    """
    if name.startswith("layers."):
        _, index, part, leaf = name.split(".")
        names = THEIRS | AFTER if config.norm_at == "after" else THEIRS
        return f"model.layers.{index}.{names[part]}.{leaf}"
    if name.startswith("ahead."):
        return name  # of a head that no family has
    whole = {"embed": "model.embed_tokens", "head": "lm_head", "norm": "model.norm"}
    return f"{whole[name.partition('.')[0]]}.weight"
