"""Are the weights that a run began with still what `model.from` names?"""

import msgspec

from cluster.storage.state import write_json
from cluster.storage.store import Store
from models.kinds.exchange.growth import grown
from ray_jobs.config.schema import Config
from ray_jobs.origin.place import Folder, place_of, seen
from ray_jobs.origin.record import ORIGIN, Origin
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import run_path


def refuse_changed(store: Store, config: Config, origin: Origin) -> None:
    """Raise ConfigError unless `model.from` names what a run began with, unchanged; a folder that is gone may be."""
    start = config.model.start
    if start != origin.named:
        raise ConfigError(
            f"model.from={start} differs from {origin.named}, with which run {config.name} began; "
            "set it back, or use another name for a new run"
        )
    if not origin.seen:
        return
    try:
        place = place_of(start, store)
        now = seen(place)
        if now == origin.seen or not isinstance(place, Folder):
            return
        found = place.look(config.model)
    except (ConfigError, ValueError, OSError):
        return
    from models.engine.weights import measure_weights, with_heads  # torch, 2 s: only where a file changed

    weights = grown(with_heads(found, config.model, config.seed), config.model).weights
    if (sha256 := measure_weights(weights).sha256) != origin.sha256:
        raise ConfigError(
            f"model.from={start} holds weights {sha256[:12]} now, run {config.name} began with {origin.sha256[:12]}; "
            "put them back, or use another name for a new run"
        )
    write_json(store, run_path(config.name, ORIGIN), msgspec.structs.replace(origin, seen=now))
