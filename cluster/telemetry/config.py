"""What can be configured of telemetry and Weights & Biases?"""

from typing import Literal

from pydantic import Field

from cluster.units import Duration, Settings


class TelemetryConfig(Settings):
    """Where metrics go beside metrics.jsonl and W&B."""

    tensorboard: bool = Field(False, description="Write TensorBoard's event files into the run's folder.")
    prometheus: bool = Field(False, description="Export every metric through Ray's Prometheus endpoint.")
    mlflow: str | None = Field(
        None,
        pattern=r"^[^/:'\"`]+$",
        description="Registered model of MLflow whose alias `champion` follows ours; the server: MLFLOW_TRACKING_URI.",
    )
    flush_every: Duration = Field(30.0, gt=0, description="Seconds between writes of metrics.jsonl to a bucket.")
    json_logs: bool = Field(False, description="Write log lines as JSON objects.")


Mode = Literal["online", "offline", "disabled"]


class WandbConfig(Settings):
    """Weights & Biases; every absent value falls back to its WANDB_* variable."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto",
        description="auto: WANDB_MODE, else online if a key is in WANDB_API_KEY or netrc, else offline.",
    )
    project: str | None = Field(None, description="Project; absent: WANDB_PROJECT or headrace.")
    entity: str | None = Field(None, description="Team or user; absent: WANDB_ENTITY.")
    group: str | None = Field(None, description="Group of runs; absent: WANDB_RUN_GROUP.")
    tags: tuple[str, ...] = Field((), description="Tags of the run.")
    timeout: Duration = Field(30.0, gt=0, description="Seconds to wait for the server, at the start and at the end.")
