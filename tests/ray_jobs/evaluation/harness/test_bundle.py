"""Does a store keep a task as it was, and notice when it is not?"""

from pathlib import Path

import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json
from cluster.storage.store import Store
from ray_jobs.evaluation.harness.bundle import Bundle, bundled_names, keep_bundle, kept_bundle, read_bundle
from tests.ray_jobs.evaluation.harness.test_definition import PLAIN, written


def exam(folder: Path, text: str = PLAIN, data: str = '{"question": "a"}\n') -> str:
    folder.mkdir(exist_ok=True)
    (folder / "exam.jsonl").write_text(data)
    return str(written(folder, text))


def test_the_digest_is_of_questions_and_data_and_not_of_where_they_lie(tmp_path: Path):
    first = read_bundle(exam(tmp_path / "a"))
    assert read_bundle(exam(tmp_path / "b")).digest == first.digest
    assert read_bundle(exam(tmp_path / "b", PLAIN + "tag: other\n")).digest == first.digest
    assert read_bundle(exam(tmp_path / "b", PLAIN + "num_fewshot: 1\n")).digest != first.digest
    assert read_bundle(exam(tmp_path / "b", data='{"question": "b"}\n')).digest != first.digest


def test_a_store_gives_back_what_was_put_there_and_refuses_what_was_changed(tmp_path: Path):
    store, bundle = Store.open(str(tmp_path / "store")), read_bundle(exam(tmp_path / "a"))
    digest = keep_bundle(store, bundle)
    assert digest == keep_bundle(store, bundle) and kept_bundle(store, digest) == bundle
    assert kept_bundle(store, digest).files == {"test-0.jsonl": b'{"question": "a"}\n'}
    store.write(f"tasks/{digest}/test-0.jsonl", b'{"question": "c"}\n')
    with pytest.raises(DamagedError, match="its files are not those of it; restore it from a copy"):
        kept_bundle(store, digest)


def test_a_kept_task_names_no_file_outside_its_folder(tmp_path: Path):
    store, bundle = Store.open(str(tmp_path / "store")), read_bundle(exam(tmp_path / "a"))
    evil = Bundle(bundle.definition, {"../../x.json": b"{}"})
    publish_json(store, f"tasks/{evil.digest}/task.json", {"definition": evil.definition, "files": list(evil.files)})
    with pytest.raises(DamagedError, match=r"it names the file '\.\./\.\./x.json'"):
        kept_bundle(store, evil.digest)


def test_what_is_not_there_is_named_with_what_is(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no task 'smal_choice'; name a YAML file, or one of small_choice"):
        read_bundle("smal_choice")
    with pytest.raises(ValueError, match=r"the data file .*exam.jsonl of .*exam.yaml cannot be read"):
        read_bundle(str(written(tmp_path, PLAIN)))
    assert bundled_names() == ["small_choice", "small_extract", "small_pairs", "small_translation"]
