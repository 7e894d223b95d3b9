"""What can be configured, and how do files and overrides become one checked configuration?

Every block is a frozen model beside the code that reads it; they are nested once, here, and checked against each
other before a cluster is touched. Files are merged in order, later ones win, then `key.path=value` overrides.
Everything wrong is said at once, a sentence per mistake, with the nearest key where one is unknown.
"""

import re
from typing import Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from cluster.planner.plan import PlanConfig
from cluster.runtime.config import ClusterConfig
from cluster.telemetry.config import TelemetryConfig, WandbConfig
from cluster.units import Settings, Share
from data_ops.curation.config import CurateConfig
from data_ops.documents.config import TokenizerConfig
from data_ops.ingest.config import WindowConfig
from data_ops.mixing.config import MixtureConfig
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Planning, Shape
from data_ops.sampling.config import ReservoirConfig
from data_ops.sources.kinds import ConfiguredSource
from models.config import EngineConfig, ModelConfig, Objective, OptimConfig
from models.kinds.kinds import model_config as model_of
from ray_jobs.config.blocks import (
    CardConfig,
    CheckpointConfig,
    EvaluateConfig,
    GateConfig,
    JudgeConfig,
    ServeConfig,
    SloConfig,
    TriggerConfig,
)
from ray_jobs.store.paths import RUN_NAME
from tune.config import SweepConfig


class Config(Settings):
    """One run, completely."""

    name: str = Field(
        "headrace",
        pattern=RUN_NAME.pattern,
        description="a new name is a new run, an old one resumes",
    )
    store: str = Field("./lake", min_length=1, description="where everything is kept: a folder, s3://... or gs://...")
    store_mode: Literal["umask", "private"] = Field(
        "umask", description="who reads a store's files: whom the umask lets, or, private, its owner alone (0600, 0700)"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="decides every random choice of store and run")
    held_out: Share | None = Field(
        None, description="share of the documents kept for evaluation, by hash: 5 % of a new store, may be raised"
    )
    sources: dict[str, ConfiguredSource] = Field(default_factory=dict, description="label -> where documents come from")
    window: WindowConfig = WindowConfig()
    curate: CurateConfig = CurateConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    reservoir: ReservoirConfig = ReservoirConfig()
    round: RoundConfig = RoundConfig()
    mixture: MixtureConfig | None = Field(None, description="how fresh text of several sources is mixed")
    model: SerializeAsAny[ModelConfig] = ModelConfig()
    engine: EngineConfig = EngineConfig()
    optim: OptimConfig = OptimConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    judge: JudgeConfig = JudgeConfig()
    gate: GateConfig = GateConfig()
    serve: ServeConfig = ServeConfig()
    trigger: TriggerConfig = TriggerConfig()
    slo: SloConfig = SloConfig()
    card: CardConfig = CardConfig()
    wandb: WandbConfig = WandbConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    cluster: ClusterConfig = ClusterConfig()
    plan: PlanConfig | None = Field(None, description="what `headrace plan` is asked")
    sweep: SweepConfig | None = Field(None, description="what `headrace sweep` is asked")

    @field_validator("model", mode="before")
    @classmethod
    def _model_is_of_its_kind(cls, model: object) -> object:
        return model_of(model) if isinstance(model, dict) and model.get("kind", "decoder") != "decoder" else model

    def _refuse_shared_queues(self) -> None:
        owners: dict[str, str] = {}
        for label, source in self.sources.items():
            other = owners.setdefault(source.alone, label) if source.alone else label
            if other != label:
                raise ValueError(
                    f"sources.{other} and sources.{label} take from the same queue {source.alone}, which gives each "
                    "message to one of them; give each its own, or one source both paths"
                )

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        self._refuse_shared_queues()
        rows = self.engine.batch_rows(self.model.row_tokens)
        if isinstance(self.engine.workers, int):
            self.engine.check_even(self.engine.workers, self.model.row_tokens)
        elif not self.engine.world_sizes(self.model.row_tokens):
            self.engine.check_even(self.engine.fewest, self.model.row_tokens)
        if self.round.tokens < rows * self.model.row_tokens:
            raise ValueError(
                f"round.tokens={self.round.tokens} is less than one step of engine.batch_tokens="
                f"{self.engine.batch_tokens}; use round.tokens={rows * self.model.row_tokens} or more"
            )
        kind = self.optim.schedule.kind
        if self.judge.every and self.judge.candidate != "average" and kind != "infinite":
            raise ValueError(
                f"judge.every={self.judge.every} lets a copy decay, which optim.schedule.kind={kind} does not provide "
                "for; use kind=infinite, or judge.candidate=average"
            )
        for rule, labels in self.curate.only_for.items():
            if strange := sorted(labels - self.sources.keys()):
                raise ValueError(
                    f"the rule {rule} is for the sources {strange}, which are none of {sorted(self.sources)}"
                )
        if self.optim.kind == "muon" and self.engine.offload != "none":
            raise ValueError(
                f"engine.offload={self.engine.offload} keeps on hosts what optim.kind=muon puts together on GPUs; use "
                "offload=none, or kind=adamw"
            )
        named = self.slo.freshness if isinstance(self.slo.freshness, dict) and self.sources else {}
        if strange := sorted(named.keys() - self.sources.keys()):
            raise ValueError(f"slo.freshness names {strange}, which are none of the sources {sorted(self.sources)}")
        self._learns_what_it_can()
        self._mixes_what_is_there()
        for label in self.sources:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
                raise ValueError(f"sources.{label}: a label is made of letters, digits, '.', '_' and '-'; rename it")
        return self

    def _learns_what_it_can(self) -> None:
        """What a source says is learnt of it must be what the kind of model learns."""
        masks = self.model.learns == Objective.MASKED
        for label, source in self.sources.items():
            said = getattr(source, "objective", None)
            if said is None or (said == "masked") == masks:
                continue
            if masks:
                raise ValueError(
                    f"sources.{label}.objective={said} is for a model that predicts next tokens, and model.kind="
                    f"{self.model.kind} fills masks; leave it out, or set it to masked"
                )
            raise ValueError(
                f"sources.{label}.objective=masked is for an encoder, and model.kind={self.model.kind} predicts next "
                "tokens; leave it out, or set model.kind=encoder"
            )

    def _mixes_what_is_there(self) -> None:
        """A mixture must name configured sources, and cannot be had beside shedding by backlog."""
        if self.mixture is None:
            return
        if self.round.max_backlog_tokens is not None:
            raise ValueError(
                f"round.max_backlog_tokens={self.round.max_backlog_tokens} sheds by the log as a whole, a mixture "
                "gives every source its own place; leave one of them out"
            )
        named = self.mixture.named
        if self.sources and (strangers := sorted(named - set(self.sources))):
            raise ValueError(
                f"mixture names {', '.join(strangers)}, which is no source; there are {', '.join(sorted(self.sources))}"
            )


def planning(config: Config) -> Planning:
    """What decides a run's rounds."""
    return Planning(config.round, config.reservoir, shape(config), config.seed, config.mixture)


def shape(config: Config) -> Shape:
    """The shape of a step."""
    return Shape(config.model.row_tokens, config.engine.batch_rows(config.model.row_tokens))
