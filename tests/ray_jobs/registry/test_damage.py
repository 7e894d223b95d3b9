"""Is every byte of the weights that runs begin with looked at?"""

from pathlib import Path

from ray_jobs.registry.damage import damage_of_store
from tests.support.folders import folder_of, taken


def test_weights_that_a_run_begins_with_are_whole_or_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    assert damage_of_store(store, tmp_path) == []
    (part,) = (tmp_path / "lake").glob("runs/base@*/checkpoints/00000000-base/*.safetensors")
    held = bytearray(part.read_bytes())
    held[-1] ^= 1
    part.write_bytes(held)
    (sentence,) = damage_of_store(store, tmp_path)
    assert "does not hold the bytes of" in sentence and name in sentence
