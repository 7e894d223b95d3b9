"""How does a task of lm-evaluation-harness run beside us? In a process of its own, which asks for every answer.

It gets a scratch folder, the data and where Python finds its packages, and nothing else of our environment: no login,
no address of a cluster. `program.py` takes its network away before anything of a task is read.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol, Self

import msgspec
from pydantic import JsonValue

from ray_jobs.evaluation.harness.bundle import Bundle
from ray_jobs.evaluation.harness.definition import Definition

HOME = Path(__file__).parents[3]  # where our packages are
PROGRAM = Path(__file__).with_name("program.py")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


class Answerer(Protocol):
    """What answers a task's requests, in their order."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """How likely is each continuation of a context, in nats, and is it the likeliest?"""
        ...

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """How likely is each text as a whole?"""
        ...

    def generate(self, prompts: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        """What does the model say behind each prompt? Beside it: until, max_gen_toks."""
        ...


class AnsweredItem(msgspec.Struct, frozen=True):
    """A question with its figures by metric; `key` is the question as its data have it."""

    key: dict[str, object]
    values: dict[str, object]


class Whole(msgspec.Struct, frozen=True):
    """A metric over all questions; error: of one that is no mean, by resampling."""

    value: float
    higher_is_better: bool
    error: float | None


class Run(msgspec.Struct, frozen=True):
    """What a task found."""

    items: list[AnsweredItem]
    whole: dict[str, Whole]


class _Line(msgspec.Struct, frozen=True):
    """One line of the program: a request for answers, the figures, or why there are none."""

    ask: str | None = None
    requests: list[list[object]] = []
    refusal: str | None = None
    items: list[AnsweredItem] | None = None
    whole: dict[str, Whole] | None = None


class HarnessError(ValueError):
    """A task that cannot be run; the message says why, in one sentence."""


def harness_version() -> str:
    """Return the installed version of lm-eval; HarnessError where there is none."""
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        raise HarnessError("tasks of lm-eval need it, and it is not installed; pip install 'headrace[tasks]'") from None


class Harness:
    """The process, which is started at the first task and runs one after the other. Close it, or use it in a `with`."""

    def __init__(self, offline: Mapping[str, str] = OFFLINE) -> None:
        self._offline = offline
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-task-")
        self._process: subprocess.Popen[bytes] | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and remove its scratch folder."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def run(self, bundle: Bundle, name: str, shots: int | None, limit: int | None, answerer: Answerer) -> Run:
        """Run a task, whose questions a model answers; HarnessError where it is refused, or does not run.

        shots: examples that are shown before each question, None: as the task says; limit: questions that are asked.
        """
        harness_version()
        self._runs += 1
        folder = Path(self._folder.name) / str(self._runs)
        folder.mkdir()
        for file, data in bundle.files.items():
            (folder / file).write_bytes(data)
        message: object = {"definition": _placed(bundle.definition, name, folder), "shots": shots, "limit": limit}
        while True:
            said = self._exchange(message, name)
            if said.refusal is not None:
                raise HarnessError(f"the task {name} cannot be asked: {said.refusal}; mend its file")
            if said.ask is None:
                return Run(said.items or [], said.whole or {})
            message = _answers(said, answerer)

    def _exchange(self, message: object, name: str) -> "_Line":
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        with suppress(OSError):  # it ended; why is told below
            process.stdin.write(msgspec.json.encode(message) + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            return msgspec.json.decode(line, type=_Line)
        text = (Path(self._folder.name) / "stderr").read_text(encoding="utf-8", errors="replace")
        last = " ".join(text.strip().splitlines()[-1:])[:300]
        raise HarnessError(f"the task {name} ended without figures ({last}); mend its file, or install headrace[tasks]")

    def _start(self) -> "subprocess.Popen[bytes]":
        folder = Path(self._folder.name)
        environment = {
            "PYTHONPATH": os.pathsep.join([str(HOME), *(path for path in sys.path if path)]),
            "PYTHONUTF8": "1",
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "HF_HOME": str(folder / "cache"),
            "TMPDIR": str(folder),
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
            **self._offline,
        }
        with (folder / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                cwd=folder,
            )


def _placed(definition: Definition, name: str, folder: Path) -> Definition:
    """Let a definition name its files where they are now."""
    kwargs = definition["dataset_kwargs"]
    assert isinstance(kwargs, dict) and isinstance(kwargs["data_files"], dict)
    names = {split: each for split, each in kwargs["data_files"].items() if isinstance(each, list)}
    files: dict[str, JsonValue] = {split: [str(folder / str(one)) for one in each] for split, each in names.items()}
    placed: dict[str, JsonValue] = {**kwargs, "data_files": files}
    return {**definition, "task": name, "dataset_kwargs": placed}


def _answers(said: _Line, answerer: Answerer) -> Sequence[object]:
    if said.ask == "loglikelihood":
        return answerer.loglikelihood([(str(context), str(end)) for context, end in said.requests])
    if said.ask == "loglikelihood_rolling":
        return answerer.rolling([str(text) for (text,) in said.requests])
    return answerer.generate(
        [(str(prompt), dict(how) if isinstance(how, dict) else {}) for prompt, how in said.requests]
    )
