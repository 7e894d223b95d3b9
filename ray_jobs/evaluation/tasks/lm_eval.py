"""Which tasks of lm-evaluation-harness is a model judged by? Entries of `evaluate.tasks`: {kind: lm_eval, ...}."""

import re
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, Self

import pyarrow as pa
from pydantic import Field, field_validator

from cluster.storage.store import Store
from ray_jobs.evaluation.harness.asking import Harness, harness_version
from ray_jobs.evaluation.harness.bundle import Bundle, keep_bundle, kept_bundle, read_bundle
from ray_jobs.evaluation.harness.definition import MEAN_METRICS, metrics_of
from ray_jobs.evaluation.harness.result import (
    TaskResult,
    figures_of,
    judged_items,
    keep_result,
    kept_result,
    result_key,
    unit_of,
)
from ray_jobs.evaluation.tasks.task import SCORES, Better, Scorer, Scores, Task

if TYPE_CHECKING:
    from ray_jobs.evaluation.harness.answerer import ModelAnswerer

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class LmEval(Task):
    """Ask a task of lm-evaluation-harness, which a YAML file and local data define."""

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "score"

    file: str = Field(..., description="YAML of the task, or the name of one that is brought along")
    name: str | None = Field(None, description="how it is called in decisions and reports; absent: as its file")
    shots: int | None = Field(None, ge=0, le=64, description="examples before each question; absent: as the file says")
    limit: int | None = Field(None, ge=1, description="questions that are asked, the first ones; absent: all")
    metric: str | None = Field(
        None, description="by which it is judged; absent: the first that is a mean over questions"
    )
    may_lose: float | None = Field(
        None,
        gt=0,
        description="how much worse a candidate may be, in the metric's unit; absent: it is shown, not asked",
    )
    batch_tokens: int = Field(4096, ge=1, description="positions that are read at once")
    begins_document: bool = Field(True, description="does a prompt begin as documents do in training?")
    digest: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="of the copy in the store; set by Headrace")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"name={name!r} is no name; use letters, digits, _, . and -")
        return name

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or re.sub(r"[^A-Za-z0-9_.-]", "_", PurePath(self.file).stem) or "task"

    @property
    def margin(self) -> float | None:
        """How much worse than the champion a candidate may be."""
        return self.may_lose

    def check(self) -> None:
        """Read the file and its data; ValueError for what cannot be asked."""
        harness_version()
        if self.digest is None:
            self.judged_by(read_bundle(self.file))

    def pinned(self, store: Store) -> Self:
        """Put the task into the store, so that it stays what it is until the verdict."""
        if self.digest is not None:
            return self
        return self.model_copy(update={"digest": keep_bundle(store, read_bundle(self.file))})

    def run(self, scorer: Scorer) -> Scores:
        """One row a question: the judged metric."""
        with Harness() as harness:
            return scores_of_task(self.result(scorer, None, harness))

    def kept(self, store: Store, checkpoint: str) -> TaskResult | None:
        """What this checkpoint showed before, if the same was asked."""
        if self.digest is None:
            return None
        return kept_result(store, checkpoint, self.called, self._key(self.digest))

    def result(self, scorer: Scorer, checkpoint: str | None, harness: Harness) -> TaskResult:
        """Ask the model; keep what it showed, where it is a checkpoint."""
        store = scorer.lake.store
        bundle = kept_bundle(store, self.digest) if self.digest else read_bundle(self.file)
        judged = self.judged_by(bundle)
        if scorer.model is None:
            raise ValueError(
                f"the task {self.called} asks a model itself, and there is none to ask; use headrace evaluate"
            )
        answering = import_module("ray_jobs.evaluation.harness.answerer")  # torch: not for reading a configuration
        answerer: ModelAnswerer = answering.ModelAnswerer(
            scorer.model, scorer.tokenizer, self.batch_tokens, self.begins_document
        )
        found = harness.run(bundle, self.called, self.shots, self.limit, answerer)
        figures = figures_of(found)
        found_as = [name for name in figures if name == judged or name.startswith(f"{judged},")]
        if not found_as:
            raise ValueError(f"the task {self.called} has no metric {judged}; use one of {', '.join(figures)}")
        result = TaskResult(
            task=self.called,
            checkpoint=checkpoint or "",
            digest=bundle.digest,
            harness=harness_version(),
            settings=self._settings(),
            judged=found_as[0],
            figures=figures,
            items=judged_items(found, found_as[0]),
            cut=answerer.cut,
        )
        if checkpoint is not None:
            keep_result(store, result, self._key(bundle.digest))
        return result

    def judged_by(self, bundle: Bundle) -> str:
        """The metric that the gate compares question by question."""
        means = MEAN_METRICS[str(bundle.definition["output_type"])]
        names = [name for name in metrics_of(bundle.definition) if name in means]
        if self.metric is not None and self.metric.partition(",")[0] not in names:
            raise ValueError(
                f"metric={self.metric} of the task {self.called} is no mean over questions that its file asks; use one "
                f"of {', '.join(names) or 'none: add one to metric_list'}"
            )
        if not names:
            raise ValueError(
                f"the task {self.called} has metrics of all questions together only, and is judged question by "
                f"question; add one of {', '.join(means)} to its metric_list"
            )
        return self.metric or names[0]

    def _settings(self) -> dict[str, int | bool | str | None]:
        return {
            "shots": self.shots,
            "limit": self.limit,
            "begins_document": self.begins_document,
            "metric": self.metric,
        }

    def _key(self, digest: str) -> str:
        return result_key(digest, self._settings(), harness_version())


def scores_of_task(result: TaskResult) -> Scores:
    """Return the judged metric of a result, question by question."""
    columns = [
        [bytes.fromhex(item.id) for item in result.items],
        [result.task] * len(result.items),
        [item.total for item in result.items],
        [item.size for item in result.items],
    ]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCORES, strict=True)], schema=SCORES)
    span = 0.0 if result.judged == "bits_per_byte" else 1.0
    return Scores(table, result.figures[result.judged].better, unit_of(result.judged), span)
