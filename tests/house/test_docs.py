"""Are the docs true of the code? Tables are compared with the models; commands, links and examples are tried."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from data_ops.curation.config import RULES
from ray_jobs.__main__ import app
from ray_jobs.config.reading import check, read_config, recipes
from ray_jobs.config.reference import metrics_reference, reasons_reference, reference
from ray_jobs.config.schema import Config
from tests.support.root import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NESTED = {"optim.schedule", "model.rope", "model.lora", "model.mtp", "serve.feedback", "serve.canary"}
COMMANDS = sorted(typer.main.get_command(app).commands)
ANEW = """write it anew: python -c "from ray_jobs.config.reference import write; write('docs')" """
OURS = ("cluster", "data_ops", "models", "tune", "ray_jobs", "tests", "benchmarks", "docs", ".ci")
TEXT = ("", ".py", ".md", ".yaml", ".toml", ".json", ".css", ".csv", ".txt")
#: Folders that exist on one machine only, written so that this file does not name them itself.
MACHINE = re.compile(r"(?<![\w.:/*])/(?:h[o]me|r[o]ot|U[s]ers|w[o]rk)/[a-z.]|\.\./sh[a]red\b")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language ("" for none)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


def project_files() -> Iterator[Path]:
    """Every text file of the project."""
    for path in [*ROOT.glob("*"), *(p for folder in OURS for p in (ROOT / folder).rglob("*"))]:
        if path.is_file() and path.suffix in TEXT and not {".git", "__pycache__"} & set(path.parts):
            yield path


def test_the_page_of_keys_is_what_the_models_say():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), ANEW


def test_the_page_of_metrics_is_what_the_table_says():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == metrics_reference(), ANEW


def test_the_page_of_reasons_is_what_the_table_and_the_rules_say():
    page = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert page == reasons_reference(), ANEW


def test_every_key_of_the_configuration_stands_in_its_page_with_a_meaning():
    rows = re.findall(r"^\| `([^`]+)` \|.*\| ([^|]+) \|$", reference(), re.MULTILINE)
    described = {key for key, meaning in rows if len(meaning) > 2}
    for block, info in Config.model_fields.items():
        inner = getattr(info.annotation, "model_fields", {})
        keys = {f"{block}.{field.alias or name}" for name, field in inner.items()}
        assert keys - NESTED <= described
    assert {"name", "store", "optim.schedule.kind", "sources.<label>.path", "plan.gpu"} <= described


def test_every_command_has_its_line_in_the_readme():
    listed = re.findall(r"^\| `headrace (\w+)`", README, re.MULTILINE)
    assert sorted(listed) == COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_commands_that_exist(page):
    named = re.findall(r"`headrace (\w+)", page.read_text(encoding="utf-8"))
    lines = [line for block in blocks(page.read_text(encoding="utf-8"), "") for line in block.splitlines()]
    named += [line.split()[1] for line in lines if line.startswith("headrace ")]
    assert set(named) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_resolves(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_configuration_in_the_readme_is_accepted():
    examples = blocks(README, "yaml")
    assert examples
    for example in examples:
        assert check(yaml.safe_load(example)).sources


def test_the_command_lines_of_the_readme_are_accepted(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(blocks(README, "yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    tried = 0
    for line in "".join(blocks(README, "")).splitlines():
        if " -c " in line and re.search(r"headrace (run|submit)", line):
            words = shlex.split(line, comments=True)
            rest = words[words.index("-c") + 1 :]
            assert read_config(rest[:1], [word for word in rest[1:] if "=" in word]).sources
            tried += 1
    assert tried >= 4


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_accepted_and_has_sources(name):
    assert read_config([name]).sources


def test_the_page_of_keys_names_every_rule():
    assert all(rule in reference() for rule in RULES)


def test_places_for_figures_are_closed():
    opened = re.findall(r"<!-- figures:\w+ -->", README)
    assert len(opened) == README.count("<!-- /figures -->") >= 1


def test_the_pictures_are_small_and_of_the_recipe_as_it_is():
    folder = ROOT / "docs" / "pictures"
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    recipe = (ROOT / "ray_jobs" / "config" / "recipes" / f"{made['recipe']}.yaml").read_bytes()
    anew = "run the demo and draw them anew: python docs/pictures/draw.py demo"
    assert hashlib.sha256(recipe).hexdigest() == made["recipe_sha256"], anew
    for name in re.findall(r"!\[[^]]*\]\((docs/pictures/[^)]+)\)", README):
        assert (ROOT / name).stat().st_size < 150_000


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in project_files()
        for match in MACHINE.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_decisions_are_numbered_without_gaps_and_name_alternatives():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert all(part in text for part in ("**Decided.**", "**Alternatives.**", "**Why.**", "**Price.**"))
