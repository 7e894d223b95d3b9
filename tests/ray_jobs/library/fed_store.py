"""A store that loops of one's own train from, made and grown without Ray by the product's own functions."""

from pathlib import Path

from data_ops.ingest.seen import Histories
from ray_jobs.config.schema import Config
from ray_jobs.ingest.opening import open_store
from tests.support.log_without_ray import plan_window, run_window
from tests.support.runs import write_documents


def grow(folder: Path, count: int, first: int = 0) -> str:
    """Let documents `first` .. `first + count` arrive and take them in; returns the store."""
    write_documents(folder / "corpus" / f"{first:06d}.jsonl", count, first)
    config = Config.model_validate(
        {
            "store": f"{folder}/lake",
            "seed": 7,
            "held_out": 0.1,
            "sources": {"wire": {"kind": "files", "path": f"{folder}/corpus/*.jsonl", "text": "body", "time": "at"}},
            "window": {"max_documents": 60},
            "tokenizer": {"kind": "bytes"},
        }
    )
    opened = open_store(config)
    seen = Histories(opened.lake, opened.settings.curate.remembered)
    while (window := plan_window(opened.lake, opened.settings)) is not None:
        opened.lake.commit_window(*run_window(opened.lake, opened.settings, window, seen))
    return config.store
