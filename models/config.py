"""What can be said about a model and its engine without a tensor?

The shapes people configure, the arithmetic on them, and the rows that go in. Importing this costs no torch, so the
command line and the services that only pass a configuration on start at once.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from cluster.units import Duration, Settings
from models.lora import LoraConfig
from models.multi_token import MultiTokenConfig
from models.optimizer import Optimizer, fitting
from models.rope import RopeConfig
from models.schedule import ScheduleConfig

MAX_WORLD = 4096  # how far we look for world sizes that fit


LayerKind = Literal["full", "window", "nope"]  # attention over all before, over the last `window`, without positions


class Objective(StrEnum):
    """What a kind of model learns: to predict each next token, or to name those that are hidden."""

    CAUSAL = "causal"
    MASKED = "masked"

    @property
    def measure(self) -> str:
        """What it is judged by, in words. Hidden tokens are named beside all others, which is no likelihood."""
        return "bits/byte" if self == Objective.CAUSAL else "masked bits/byte"


class ModelConfig(Settings):
    """Kind and shape of the model; the keys are those of a Llama-family decoder."""

    model_config = ConfigDict(serialize_by_alias=True)
    learns: ClassVar[Objective] = Objective.CAUSAL
    choices: ClassVar[tuple[str, ...]] = ()  # keys of a kind that a run chooses though its weights come from elsewhere

    kind: str = Field(
        "decoder",
        description="Kind of the model: decoder, transformers (any causal one of theirs), encoder (any that fills "
        "masks), or one of a package of yours.",
    )
    start: str | None = Field(
        None,
        alias="from",
        min_length=1,
        description="Weights and shape to begin with: a Hugging Face folder or hub name, champion, RUN/STEP, "
        "STORE#RUN/STEP; absent: random weights.",
    )
    layers: int = Field(4, ge=1, le=512, description="Number of decoder layers.")
    width: int = Field(128, ge=8, le=65536, description="Width of the residual stream.")
    heads: int = Field(4, ge=1, le=512, description="Number of query heads; must divide width.")
    kv_heads: int | None = Field(None, ge=1, description="Number of key/value heads; absent: heads.")
    head_width: int | None = Field(None, ge=2, le=4096, description="Width of a head; absent: width over heads.")
    row_tokens: int = Field(256, ge=8, le=2**20, description="Positions in one packed row.")
    ffn_width: int | None = Field(None, ge=8, description="Width of the SwiGLU; absent: 8/3 of width.")
    vocabulary: int | None = Field(
        None, ge=2, le=2**24, description="Rows of the token tables; absent: the tokenizer's."
    )
    rope_theta: float = Field(10000.0, gt=1, description="Base of the rotary position frequencies.")
    rope: RopeConfig | None = Field(None, description="Scaling of the rotary frequencies; absent: none.")
    norm_eps: float = Field(1e-5, gt=0, lt=1e-2, description="Epsilon of RMSNorm.")
    norm_at: Literal["before", "after"] = Field("before", description="Norm before each block, or (OLMo 2) behind it.")
    qk_norm: Literal["none", "head", "full"] = Field(
        "none", description="Norm of queries and keys: of each head (Qwen3), of their whole width (OLMo 2)."
    )
    biases: Literal["none", "qkv", "attention", "all"] = Field(
        "none", description="Biases: of queries, keys and values (Qwen2), of attention, of all matrices."
    )
    window: int | None = Field(None, ge=1, description="Positions that a layer of kind window sees, its own included.")
    layer_kinds: tuple[LayerKind, ...] | None = Field(
        None, description="Each layer: full, window, nope (no positions); absent: window where one is set, else full."
    )
    tie_embeddings: bool = Field(True, description="Use one table for input and output embeddings.")
    init_std: float = Field(0.02, gt=0, le=1, description="Standard deviation of the initial weights.")
    recompute: bool = Field(False, description="Recompute layers in backward: less memory, ~1/3 slower.")
    mtp: MultiTokenConfig | None = Field(
        None, description="Predict further tokens beside the next one, by heads of their own; absent: the next alone."
    )
    lora: LoraConfig | None = Field(None, description="Train two small matrices beside some; absent: all weights.")
    freeze: Annotated[int, Field(ge=1)] | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="What does not train: the first layers by number, or patterns of names; absent: nothing."
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> "ModelConfig":
        if self.head_width is None and self.width % self.heads:
            near = max(1, round(self.width / self.heads)) * self.heads
            raise ValueError(f"width={self.width} is not a multiple of heads={self.heads}; use width={near}")
        if self.head_width is None and self.width // self.heads % 2:
            raise ValueError(
                f"width={self.width} over heads={self.heads} gives heads of odd width; "
                f"rotary positions need an even one: use width={self.width + self.heads}"
            )
        if self.head_width is not None and self.head_width % 2:
            raise ValueError(f"head_width={self.head_width} is odd, rotary positions need an even one; use another")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            fits = [k for k in range(1, self.heads + 1) if self.heads % k == 0]
            raise ValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}; use one of {fits}")
        return self

    @model_validator(mode="after")
    def _layer_kinds_fit(self) -> "ModelConfig":
        kinds = self.layer_kinds
        if kinds is not None and len(kinds) != self.layers:
            raise ValueError(f"layer_kinds has {len(kinds)} kinds for layers={self.layers}; name one for each layer")
        if kinds is not None and "window" in kinds and self.window is None:
            raise ValueError("layer_kinds names window, and window is absent; set the number of positions it sees")
        return self

    @model_validator(mode="after")
    def _has_what_stays(self) -> "ModelConfig":
        if self.lora is not None and self.freeze is not None:
            raise ValueError(
                f"freeze={self.freeze} stands beside lora, with which all weights are frozen; leave one of them out"
            )
        if self.trains_part and self.start is None:
            key = "lora" if self.lora is not None else "freeze"
            raise ValueError(f"{key} keeps weights as they are, and random ones are worth nothing; set from")
        return self

    @model_validator(mode="after")
    def _can_predict_further(self) -> "ModelConfig":
        if self.mtp is not None:
            self.mtp.check_beside(self.kind, lora=self.lora is not None, freeze=self.freeze is not None)
        return self

    @property
    def trains_part(self) -> bool:
        """Does only a part of the weights train?"""
        return self.lora is not None or self.freeze is not None

    @property
    def remark(self) -> str | None:
        """What a reader should know of how its rows are read; None: nothing."""
        return None

    @property
    def whole(self) -> "ModelConfig":
        """The same model, of which everything trains: the shape of its weights once adapters are merged in."""
        return self.model_copy(update={"lora": None, "freeze": None})

    @property
    def trunk(self) -> "ModelConfig":
        """The same model without heads for further tokens: an ordinary one of its family."""
        return self.model_copy(update={"mtp": None})

    @property
    def further(self) -> int:
        """Number of tokens beyond the next one that each position predicts."""
        return 0 if self.mtp is None else self.mtp.tokens - 1

    @property
    def kv(self) -> int:
        """Number of key/value heads."""
        return self.kv_heads or self.heads

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.head_width or self.width // self.heads

    @property
    def ffn(self) -> int:
        """Width of the feed-forward layer."""
        return self.ffn_width or -(-8 * self.width // 3 // 64) * 64

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """Kind of each layer."""
        return self.layer_kinds or ("full" if self.window is None else "window",) * self.layers

    def tokens_of(self, tokenizer_size: int) -> int:
        """Rows of the token tables without padding, given how many tokens the tokenizer knows."""
        return self.vocabulary or tokenizer_size


class EngineConfig(Settings):
    """How the global batch is laid over workers, and in which precision."""

    workers: int | tuple[int, int] = Field(1, description="Number of workers, or [fewest, most].")
    zero_stage: Literal[0, 1, 2, 3] = Field(1, description="ZeRO shards 1 optimizer, 2 + gradients, 3 + weights.")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where it is fast.")
    micro_batch_rows: int = Field(8, ge=1, le=65536, description="Most rows in one forward pass of a worker.")
    batch_tokens: int = Field(16384, ge=8, description="Tokens in the global batch, whatever the workers.")
    hang_seconds: Duration = Field(600.0, gt=0, description="Silence after which workers are killed and restarted.")
    offload: Literal["none", "optimizer"] = Field(
        "none", description="optimizer: float32 weights and moments stay on the host, where AdamW steps; ZeRO 1 to 3."
    )
    threads: int = Field(1, ge=1, le=512, description="Threads of a worker on a CPU; more than cores collapses.")

    @model_validator(mode="after")
    def _offload_has_shards(self) -> "EngineConfig":
        if self.offload != "none" and self.zero_stage == 0:
            raise ValueError(
                f"offload={self.offload} moves what ZeRO shards, and zero_stage={self.zero_stage} shards nothing; "
                "use zero_stage 1, 2 or 3"
            )
        return self

    @model_validator(mode="after")
    def _workers_are_a_range(self) -> "EngineConfig":
        if self.fewest < 1 or self.most < self.fewest:
            raise ValueError(f"workers={self.workers} must be a number from 1, or [fewest, most] such as [1, 4]")
        return self

    @property
    def fewest(self) -> int:
        """Fewest workers to train with."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        """Most workers to train with."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def batch_rows(self, row_tokens: int) -> int:
        """Rows in the global batch; ValueError where it is no whole number of rows."""
        if self.batch_tokens % row_tokens:
            raise ValueError(self._misfit(self.fewest, row_tokens))
        return self.batch_tokens // row_tokens

    def check_even(self, world_size: int, row_tokens: int) -> None:
        """Raise ValueError unless so many workers share the global batch evenly."""
        if self.batch_rows(row_tokens) % world_size:
            raise ValueError(self._misfit(world_size, row_tokens))

    def split(self, world_size: int, row_tokens: int) -> tuple[int, int]:
        """Return (accumulation, micro batch rows) of each of `world_size` workers.

        Where the batch does not divide, as when a node is lost, the last workers get empty rows.

        >>> EngineConfig(batch_tokens=8192, micro_batch_rows=6).split(2, 256)
        (4, 4)
        """
        mine = -(-self.batch_rows(row_tokens) // world_size)
        micro = max(size for size in range(1, min(self.micro_batch_rows, mine) + 1) if mine % size == 0)
        return mine // micro, micro

    def world_sizes(self, row_tokens: int) -> list[int]:
        """The numbers of workers in the configured range that split the global batch evenly, as far as we look."""
        rows = self.batch_rows(row_tokens)
        most = min(self.most, rows, self.fewest + MAX_WORLD)
        return [size for size in range(self.fewest, most + 1) if rows % size == 0]

    def _misfit(self, world_size: int, row_tokens: int) -> str:
        rows = self.batch_tokens // row_tokens
        better = -(-self.batch_tokens // (row_tokens * world_size)) * row_tokens * world_size
        text = f"engine.batch_tokens={self.batch_tokens} cannot be split over {world_size} workers "
        text += f"in rows of {row_tokens} tokens: use "
        if rows and self.batch_tokens % row_tokens == 0:
            fits = [n for n in range(1, min(rows, MAX_WORLD) + 1) if rows % n == 0]
            near = sorted(fits, key=lambda n: abs(n - world_size))[:3]
            text += f"{', '.join(map(str, sorted(near)[:-1]))} or {max(near)} workers, or " if len(near) > 1 else ""
        return text + f"batch_tokens={better}."


class OptimConfig(Settings):
    """AdamW (Loshchilov and Hutter 2019), Lion or Muon, with clipping by global norm."""

    kind: Optimizer = Field(
        Optimizer.ADAMW, description="adamw, lion (one moment), or muon (matrices of layers; the rest by AdamW)."
    )
    lr: float = Field(3e-4, gt=0, le=10, description="Peak learning rate; of lion 1e-4 where it is absent.")
    betas: tuple[float, float] = Field(
        (0.9, 0.95), description="Decay of the first and second moment; of lion's step and momentum (0.95, 0.98)."
    )
    eps: float = Field(1e-8, gt=0, description="Added to the root of the second moment; not of lion.")
    momentum: float = Field(0.95, ge=0, lt=1, description="Decay of muon's momentum.")
    weight_decay: float = Field(0.1, ge=0, le=10, description="Decoupled weight decay of matrices; of lion 0.3.")
    decay_embeddings: bool = Field(False, description="Decay embedding tables too (OLMo 2 found it harmful).")
    clip_norm: float = Field(1.0, ge=0, description="Largest global gradient norm; 0 does not clip.")
    spike_sigmas: float | None = Field(
        None,
        gt=0,
        description="Skip a step whose loss is so many deviations above the last 128; absent: none.",
    )
    max_skipped_in_a_row: int = Field(
        20, ge=1, description="Skipped steps in a row that end a run; their documents stay pending."
    )
    schedule: ScheduleConfig = Field(ScheduleConfig.model_validate({}), description="Its course.")

    @model_validator(mode="before")
    @classmethod
    def _fits_its_kind(cls, values: object) -> object:
        return fitting(values)

    @model_validator(mode="after")
    def _betas_are_shares(self) -> "OptimConfig":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas} must lie in [0, 1); use [0.9, 0.95]")
        return self
