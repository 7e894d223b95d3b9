"""Is it told, source by source, which share of the text was trained within the time that slo.freshness asks?"""

import msgspec
import pytest

from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError
from ray_jobs.report.freshness import KeptObjectives, chain_section, kept_objectives, objective_sentences
from tests.ray_jobs.driver.test_meter import step

EVENTS = [step(1, 1.0, to_gradient_s={"wire": (1.0, 50.0, 61.0, 2.0), "help": (1.0,)})]
SOURCES = "sources={wire: {path: a/*.jsonl}, help: {path: b/*.jsonl}}"


def kept(*given: str):
    config = read_config([], [SOURCES, *given]).model_dump(mode="json")
    return kept_objectives(EVENTS, msgspec.convert(config, KeptObjectives, strict=False))


def test_an_objective_is_of_all_sources_or_of_those_that_are_named():
    assert kept() == {}
    assert kept("slo.freshness=1m") == {
        "help": {"within_s": 60, "share": 1.0, "wanted": 0.99},
        "wire": {"within_s": 60, "share": 0.75, "wanted": 0.99},
    }
    assert kept("slo={freshness: {wire: 2m}, late: 5%}") == {"wire": {"within_s": 120, "share": 1.0, "wanted": 0.95}}


def test_it_is_told_in_a_sentence_and_in_the_report():
    found = kept("slo={freshness: {wire: 1m}}")
    (line,) = objective_sentences(found)
    assert (
        line == "wire: 75.0 % of the text was trained within 60 s of its event, less than the 99 % that slo.late asks"
    )
    chain = {"wire": {"to_gradient": {"p50": 1.0, "p95": 2.0}}}
    assert line in str(chain_section(chain, found)) and "slo.late" not in str(chain_section(chain))


def test_a_source_that_is_not_there_is_a_mistake():
    with pytest.raises(ConfigError, match=r"slo.freshness names \['wires'\], which are none of the sources"):
        read_config([], [SOURCES, "slo={freshness: {wires: 1m}}"])
