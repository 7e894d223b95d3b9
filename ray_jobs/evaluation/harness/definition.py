"""Which YAML files define a task that may be run, and what is refused of them?

A task file comes from outside, and lm-evaluation-harness would run code that it names. So the file is read here, as
data; only keys and metrics that are known pass, data are local files, and the harness never opens the file itself.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml
from pydantic import JsonValue

MEAN_METRICS: Final = {
    "multiple_choice": ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"),
    "loglikelihood": ("acc",),
    "loglikelihood_rolling": ("bits_per_byte",),
    "generate_until": ("exact_match", "squad_em", "squad_f1", "rouge1", "rouge2", "rougeL"),
}
"""Metrics that are a mean over questions (or over bytes), so that two models can be compared question by question."""
SET_METRICS: Final = {
    "multiple_choice": ("f1", "mcc", "brier_score"),
    "loglikelihood": ("perplexity",),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity"),
    "generate_until": ("bleu", "chrf", "ter"),
}
"""Metrics of all questions together."""
DEFAULT_METRICS: Final = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("acc", "perplexity"),
    "loglikelihood_rolling": ("bits_per_byte", "byte_perplexity", "word_perplexity"),
    "generate_until": ("exact_match",),
}
FORMATS: Final = {"json": (".json", ".jsonl"), "csv": (".csv",), "parquet": (".parquet",), "text": (".txt",)}
KEYS: Final = frozenset(
    "task task_alias tag dataset_path dataset_name dataset_kwargs training_split validation_split test_split "  # noqa: SIM905
    "fewshot_split fewshot_config doc_to_text doc_to_target doc_to_choice description target_delimiter "
    "fewshot_delimiter num_fewshot output_type metric_list generation_kwargs filter_list gen_prefix metadata".split()
)
FEWSHOT_KEYS: Final = frozenset(
    "sampler split samples fewshot_indices doc_to_text doc_to_choice doc_to_target gen_prefix fewshot_delimiter "  # noqa: SIM905
    "target_delimiter".split()
)
NAME: Final = re.compile(r"[A-Za-z0-9_]{1,40}")
UNSEEN: Final = frozenset({"task_alias", "tag", "dataset_name", "metadata"})  # they change no question
CODE: Final = "which runs code of the file, and Headrace never does that"

Definition = dict[str, JsonValue]


class _Loader(yaml.SafeLoader):
    """YAML as data: any tag of its own is refused."""


def _refuse_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> None:
    raise ValueError(f"line {node.start_mark.line + 1} has the tag !{suffix}, {CODE}; write the value as a template")


_Loader.add_multi_constructor("!", _refuse_tag)


def read_definition(path: Path) -> Definition:
    """Read a task's YAML, checked, with its data files as they are named in it; ValueError in one sentence."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the task file {path} cannot be read ({error}); name a YAML file of lm-eval") from None
    try:
        found = yaml.load(text, Loader=_Loader)
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__} instead of keys; write a task of lm-eval")
        return checked_definition(found)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        sentence = " ".join(str(error).split())
        raise ValueError(f"the task file {path} is refused: {sentence}") from None


def checked_definition(found: Mapping[str, JsonValue]) -> Definition:
    """Return what is asked of a definition, without keys that change no question; ValueError for what is refused."""
    for key in found:
        if key not in KEYS:
            raise ValueError(f"it has the key {key}, {_why(key)}; use keys of {', '.join(sorted(KEYS - UNSEEN))}")
    kind = found.get("output_type", "generate_until")
    if not isinstance(kind, str) or kind not in MEAN_METRICS:
        raise ValueError(f"output_type={kind} is none of {', '.join(MEAN_METRICS)}; use one of them")
    if not isinstance(found.get("doc_to_target"), str | int) and kind != "loglikelihood_rolling":
        raise ValueError("it has no doc_to_target; say which field or template holds the right answer")
    _check_data(found)
    _check_fewshot(found.get("fewshot_config"))
    _check_generation(found.get("generation_kwargs"))
    return {key: value for key, value in found.items() if key not in UNSEEN} | {
        "output_type": kind,
        "metric_list": _checked_metrics(found.get("metric_list"), kind),
    }


def data_files(definition: Definition) -> dict[str, list[str]]:
    """Return the data files of a checked definition, by split."""
    kwargs = definition["dataset_kwargs"]
    assert isinstance(kwargs, dict)
    files = kwargs["data_files"]
    by_split = files if isinstance(files, dict) else {"train": files}
    return {
        str(split): [str(f) for f in (named if isinstance(named, list) else [named])]
        for split, named in by_split.items()
    }


def metrics_of(definition: Definition) -> list[str]:
    """Return the names of a checked definition's metrics, as it orders them."""
    entries = definition["metric_list"]
    assert isinstance(entries, list)
    return [str(entry["metric"]) for entry in entries if isinstance(entry, dict)]


def _why(key: str) -> str:
    if key in ("class", "custom_dataset", "process_docs", "process_results", "unsafe_code"):
        return CODE
    if key == "include":
        return "which pulls in another file; write its keys into this one"
    if key in ("group", "aggregate_metric_list", "task_list"):
        return "which makes a group of tasks; name each task of it"
    return "which is not known here"


def _check_data(found: Mapping[str, JsonValue]) -> None:
    path, kwargs = found.get("dataset_path"), found.get("dataset_kwargs")
    if path not in FORMATS:
        raise ValueError(
            f"dataset_path={path} is no format of local files; fetch the data, write one of {', '.join(FORMATS)}, "
            "with dataset_kwargs: {data_files: {test: FILE}}"
        )
    if not isinstance(kwargs, dict) or not kwargs.get("data_files"):
        raise ValueError("it names no data; write dataset_kwargs: {data_files: {test: FILE}}")
    if unknown := sorted(set(kwargs) - {"data_files", "field", "delimiter"}):
        raise ValueError(f"dataset_kwargs has {unknown[0]}, which is not taken; leave data_files, field and delimiter")
    by_split = data_files({"dataset_kwargs": kwargs})
    if odd := next((split for split in by_split if not NAME.fullmatch(split)), None):
        raise ValueError(f"data_files has the split {odd!r}; call splits by letters, digits and _")
    for file in [f for files in by_split.values() for f in files]:
        if ":" in file or "*" in file:
            raise ValueError(f"the data file {file!r} is no path of a local file; download it, and name each file")
        if Path(file).suffix not in FORMATS[str(path)]:
            raise ValueError(
                f"the data file {file!r} does not end in {' or '.join(FORMATS[str(path)])}, as dataset_path={path} asks"
            )
    if not found.get("test_split") and not found.get("validation_split"):
        raise ValueError("it has neither test_split nor validation_split; name the split whose questions are asked")


def _check_fewshot(config: JsonValue) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise ValueError(f"fewshot_config={config!r} is no mapping; write {{sampler: first_n}}")
    if unknown := sorted(set(config) - FEWSHOT_KEYS):
        raise ValueError(f"fewshot_config has {unknown[0]}, {_why(unknown[0])}; use {', '.join(sorted(FEWSHOT_KEYS))}")
    if not isinstance(config.get("samples", []), list) or config.get("sampler", "default") not in (
        "default",
        "first_n",
    ):
        raise ValueError("fewshot_config takes a list of samples, and sampler: default or first_n; use those")


def _check_generation(kwargs: JsonValue) -> None:
    given = kwargs if isinstance(kwargs, dict) else {}
    if given.get("do_sample") or given.get("temperature"):
        raise ValueError("generation_kwargs draws tokens; answers are the likeliest text; leave them out")
    if unknown := sorted(set(given) - {"until", "max_gen_toks", "do_sample", "temperature"}):
        raise ValueError(f"generation_kwargs has {unknown[0]}, which is not taken; leave until and max_gen_toks")


def _checked_metrics(entries: JsonValue, kind: str) -> list[JsonValue]:
    if entries is None:
        return [{"metric": name} for name in DEFAULT_METRICS[kind]]
    known = MEAN_METRICS[kind] + SET_METRICS[kind]
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"metric_list={entries!r} is no list; write - metric: {known[0]}")
    for entry in entries:
        name = entry.get("metric") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or name not in known:
            raise ValueError(f"{name} is no metric of output_type={kind}; use some of {', '.join(known)}")
        if entry.get("hf_evaluate") or not isinstance(entry.get("aggregation", ""), str):
            raise ValueError(f"the metric {name} is fetched from the hub (hf_evaluate); leave that out")
    return [
        {key: value for key, value in entry.items() if key != "aggregation"}
        for entry in entries
        if isinstance(entry, dict)
    ]
