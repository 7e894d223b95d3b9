"""Where do a run's metrics and champions go beside its own log? As asked: W&B, TensorBoard, Prometheus, MLflow."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cluster.runtime.session import Session
from cluster.storage.store import Store
from cluster.telemetry.mlflow_registry import MlflowRegistry
from cluster.telemetry.sinks import Prometheus, Sink, Telemetry
from cluster.telemetry.wandb_run import choose_mode, machine, open_wandb
from ray_jobs.config.schema import Config
from ray_jobs.registry.lineage import tell_mlflow, tracking_id
from ray_jobs.store.paths import run_path


@contextmanager
def open_telemetry(
    config: Config,
    store: Store,
    session: Session,
    stop: Callable[[], None],
    resumed_step: int | None,
    begin_with: Mapping[str, object],
) -> Iterator[Telemetry]:
    """Open the sinks for as long as a run lasts; `stop` is what the stop button of W&B does.

    begin_with: where counters stand at its start.
    """
    sinks = list[Sink]()
    if choose_mode(config.wandb) != "disabled":
        nodes = [(node.cpus, node.gpus) for node in session.nodes().values()]
        settings = {**config.model_dump(mode="json"), "system": machine(nodes)}
        local, run_id = store.local_path(run_path(config.name, "wandb")), tracking_id(store, config.name)
        tracked = open_wandb(config.wandb, run_id, config.name, settings, local, stop)
        sinks += [tracked] if tracked is not None else []
    if config.telemetry.tensorboard:
        from cluster.telemetry.tensorboard import TensorBoard  # an extra, which preflight looked for

        sinks.append(TensorBoard(store, run_path(config.name, "tensorboard"), resumed_step))
    if config.telemetry.prometheus:
        sinks.append(Prometheus(config.name, begin_with))
    if config.telemetry.mlflow:
        sinks.append(MlflowRegistry(config.telemetry.mlflow))
        tell_mlflow(store, config.telemetry.mlflow)
    telemetry = Telemetry(sinks)
    try:
        yield telemetry
    finally:
        telemetry.close()
