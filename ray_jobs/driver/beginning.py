"""With which weights does a run begin? Random ones, or others, which are taken into the store and put in service."""

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from ray_jobs.config.schema import Config
from ray_jobs.origin.taking import take_in
from ray_jobs.registry.champion import champion_name, put_base_in_service


def begin(store: Store, config: Config, tokenizer: Tokenizer, *, judged: bool) -> str | None:
    """Return the checkpoint that a run begins with, None for random weights.

    Where candidates are judged and no champion is there, it becomes the first.
    """
    base = take_in(store, config, tokenizer)
    if base is not None and judged and champion_name(store) is None:
        put_base_in_service(store, base)
    return base
