"""Is a task file read as data only, and is what would run code, or reach out, refused in one sentence?"""

from pathlib import Path

import pytest

from ray_jobs.evaluation.harness.bundle import SAMPLES, bundled_names
from ray_jobs.evaluation.harness.definition import checked_definition, data_files, metrics_of, read_definition

PLAIN = """
task: exam
dataset_path: json
dataset_kwargs: {data_files: {test: exam.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: gold
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "exam.yaml"
    path.write_text(text)
    return path


def test_a_plain_task_passes_with_the_harness_own_metrics_and_checking_it_again_changes_nothing(tmp_path: Path):
    found = read_definition(written(tmp_path, PLAIN + "metadata: {version: 1}\ntag: mine\n"))
    assert metrics_of(found) == ["acc", "acc_norm"] and data_files(found) == {"test": ["exam.jsonl"]}
    assert not {"metadata", "tag"} & set(found) and checked_definition(found) == found


@pytest.mark.parametrize("name", bundled_names())
def test_what_is_brought_along_passes(name: str):
    found = read_definition(SAMPLES / f"{name}.yaml")
    assert all((SAMPLES / file).is_file() for files in data_files(found).values() for file in files)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("process_results: !function utils.score\n", "the tag !function, which runs code of the file"),
        ("process_docs: !function utils.docs\n", "line 10 has the tag !function"),
        ("doc_to_text: !!python/object/apply:os.system [id]\n", "python/object"),
        ("class: utils.Task\n", "the key class, which runs code of the file"),
        ("process_results: utils.score\n", "the key process_results, which runs code"),
        ("custom_dataset: utils.load\n", "the key custom_dataset, which runs code"),
        ("unsafe_code: true\n", "the key unsafe_code, which runs code"),
        ("include: other.yaml\n", "pulls in another file; write its keys"),
        ("group: all\n", "makes a group of tasks; name each"),
        ("use_prompt: promptsource:*\n", "the key use_prompt, which is not known"),
        ("dataset_path: glue\n", "dataset_path=glue is no format of local files"),
        ("dataset_path: pandas\n", "dataset_path=pandas is no format"),
        ("dataset_kwargs: {data_files: {test: 'https://x.org/a.jsonl'}}\n", "no path of a local file"),
        ("dataset_kwargs: {data_files: {test: 'hf://datasets/x/a.jsonl'}}\n", "no path of a local file"),
        ("dataset_kwargs: {data_files: {test: a.py}}\n", "does not end in .json or .jsonl"),
        ("dataset_kwargs: {data_files: {'../x': a.json}}\n", "the split '../x'"),
        ("dataset_kwargs: {data_files: {test: a.json}, trust_remote_code: true}\n", "has trust_remote_code"),
        ("dataset_kwargs: {}\n", "names no data"),
        ("output_type: speech\n", "output_type=speech is none of"),
        ("metric_list: [{metric: perspective_api}]\n", "perspective_api is no metric of output_type=multiple_choice"),
        ("metric_list: [{metric: acc, hf_evaluate: true}]\n", "fetched from the hub"),
        ("fewshot_config: {samples: !function a.b}\n", "the tag !function"),
        ("fewshot_config: {process_docs: a.b}\n", "process_docs, which runs code"),
        ("generation_kwargs: {do_sample: true}\n", "draws tokens"),
        ("generation_kwargs: {num_beams: 4}\n", "has num_beams"),
        ("doc_to_target: null\n", "no doc_to_target"),
        ("test_split: null\n", "neither test_split nor validation_split"),
        ("- a\n", "refused"),
    ],
)
def test_what_is_refused_is_named_in_one_sentence(tmp_path: Path, more: str, said: str):
    path = written(tmp_path, PLAIN + more)
    with pytest.raises(ValueError) as refused:
        read_definition(path)
    sentence = str(refused.value)
    assert said in sentence and sentence.startswith(f"the task file {path} is refused: ") and "\n" not in sentence


def test_a_file_that_is_absent_or_no_text_is_named(tmp_path: Path):
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("a.yaml", "b.yaml"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_definition(tmp_path / name)
