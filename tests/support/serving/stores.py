"""Small stores whose checkpoints answer: models of random weights that say different things, taken in as people do."""

from pathlib import Path

from cluster.storage.store import Store
from ray_jobs.checkpoints.manifest import by_name
from ray_jobs.ingest.opening import open_store
from ray_jobs.origin.taking import take_in
from ray_jobs.registry.champion import put_in_service_by_hand
from tests.support.folders import config_of, folder_of

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def served_store(folder: Path, checkpoints: int = 1, chat: str | None = None) -> tuple[Store, list[str]]:
    """Make a store with so many checkpoints, the first of which is the champion; the store and their names.

    chat: the chat template that the models bring.
    """
    names = []
    for seed in range(checkpoints):
        base = folder / f"model-{seed}"
        folder_of(base, seed=seed)
        if chat is not None:
            (base / "chat_template.jinja").write_text(chat)
        config = config_of(folder, f"model.from={base}", f"name=run-{seed}")
        opened = open_store(config)
        name = take_in(opened.store, config, opened.tokenizer)
        assert name is not None
        names.append(by_name(opened.store, name).name)
    promote(opened.store, names[0])
    return opened.store, names


def promote(store: Store, name: str) -> None:
    """Put a checkpoint in service, as `headrace promote --to` does."""
    put_in_service_by_hand(store, name, new_reference=False)
