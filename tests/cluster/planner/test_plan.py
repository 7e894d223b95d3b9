"""Does the planner agree with itself, choose well and answer in plain words?"""

import io
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from cluster.planner.duration import SIBLING, days, flops, gpu_hours, tokens
from cluster.planner.formulas import checkpoint_interval_s, goodput, model_shape, train_flops, zero_bytes
from cluster.planner.gpus import GPUS
from cluster.planner.memory import Case, best_stage, fewest_gpus, holds, memory_gb
from cluster.planner.plan import PlanConfig, choice, plan
from models.config import EngineConfig, ModelConfig
from models.kinds.decoder import Decoder
from ray_jobs.commands.plan import plan_asked, show_plan
from ray_jobs.config.reading import check, read_config
from ray_jobs.outcome import ConfigError

sizes = st.integers(10**6, 10**12)


def shown(result, width=120):
    stream = io.StringIO()
    show_plan(result, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_flops_are_palms_and_those_of_the_metric_mfu():
    assert train_flops(175e9, 1, 96 * 12288 * 2048) == 6 * 175e9 + 12 * 96 * 12288 * 2048
    shape = ModelConfig(layers=12, width=768, heads=12, row_tokens=1024)
    parameters = Decoder().num_parameters(shape, 32_000)
    config = PlanConfig(parameters=parameters, tokens=1, layers=12, width=768, row_tokens=1024)
    assert flops(Case(config, "H100", 1)) == Decoder().flops_per_token(shape, 32_000)
    ahead = ModelConfig.model_validate({**shape.model_dump(), "mtp": {"tokens": 4}})
    more = {"parameters": Decoder().num_parameters(ahead, 32_000), "predicted_tokens": 4}
    predicting = Case(config.model_copy(update=more), "H100", 1)
    assert flops(predicting) == Decoder().flops_per_token(ahead, 32_000) > 1.2 * flops(Case(config, "H100", 1))


def test_attention_is_8_percent_of_the_flops_of_a_small_model_in_rows_of_2048():
    found = plan(PlanConfig(parameters="1.1B", layers=22, width=2048))
    assert found["attention_flops_share"] == pytest.approx(1 - 1 / 1.168, abs=0.001)


@pytest.mark.slow
@given(st.floats(0.01, 600), st.floats(1e4, 1e7))
def test_no_other_checkpoint_interval_loses_noticeably_less(stall_s, mtbf_s):
    best = goodput(checkpoint_interval_s(stall_s, mtbf_s), stall_s, 0, mtbf_s)
    for factor in (0.5, 0.8, 1.25, 2):
        other = goodput(factor * checkpoint_interval_s(stall_s, mtbf_s), stall_s, 0, mtbf_s)
        assert 1 - best <= (1 - other) * (1.1 if stall_s < mtbf_s / 100 else 2)


@given(sizes, st.integers(2, 4096))
def test_a_higher_stage_never_needs_more_and_more_gpus_never_need_more(parameters, ranks):
    states = [zero_bytes(parameters, ranks, stage) for stage in range(4)]
    assert states[0] > states[1] > states[2] > states[3]
    for stage in range(4):
        assert zero_bytes(parameters, 2 * ranks, stage) <= states[stage]


def test_one_moment_less_saves_four_bytes_a_parameter_and_muon_keeps_both_of_its_tables():
    states = {kind: Case(PlanConfig(optimizer=kind), "A100-80", 8).state_bytes for kind in ("adamw", "lion", "muon")}
    assert (states["adamw"], states["lion"]) == (12, 8)
    assert states["muon"] == pytest.approx(8 + 4 * 32_000 * 4224 / 7e9, rel=0.05)
    lora = PlanConfig(optimizer="muon", trained=10_000_000)
    assert Case(lora, "A100-80", 8).state_bytes == 8


@pytest.mark.slow
@given(sizes, st.integers(10**6, 10**13), st.integers(1, 4096), st.sampled_from(sorted(GPUS)), st.booleans())
def test_every_plan_is_ordered_adds_up_and_can_be_printed(parameters, count, gpus, gpu, recompute):
    config = PlanConfig(parameters=parameters, tokens=count, gpus=gpus, gpu=gpu, recompute=recompute)
    found = plan(config)
    assert (found["gpu"], found["gpus"], found["tokens"]) == (gpu, gpus, count)
    for name in ("gpu_hours", "days", "cost"):
        assert 0 < found[name]["low"] < found[name]["expected"] < found[name]["high"]
    assert found["cost"]["expected"] == pytest.approx(found["gpu_hours"]["expected"] * found["price_per_hour"])
    assert found["days"]["high"] == pytest.approx(found["gpu_hours"]["high"] / gpus / 24)
    for cell in found["memory_gb"].values():
        assert cell["total"] >= cell["states"] + cell["activations"] + cell["buffers"]
        assert cell["fits"] == (cell["total"] <= found["gpu_memory_gb"])
    best = found["recommended"]
    if best["gpus"] == gpus:
        assert found["memory_gb"][str(best["zero_stage"])]["fits"]
    assert json.loads(json.dumps(found)) == found
    assert str(gpu) in shown(found)


@given(st.integers(10**7, 10**11), st.sampled_from(sorted(GPUS)), st.integers(10**9, 10**12), st.integers(5, 90))
def test_the_fewest_gpus_are_enough_and_one_step_fewer_are_not(parameters, gpu, count, limit):
    config = PlanConfig(parameters=parameters, tokens=count, gpu=gpu, days=limit, recompute=True)
    gpus = fewest_gpus(config, gpu, lambda case: days(case) <= limit)
    if gpus is None:
        return
    case = Case(config, gpu, gpus)
    assert holds(case) and days(case) <= limit
    fewer = case._replace(gpus=gpus - 8 if gpus > 8 else gpus // 2)
    assert not fewer.gpus or not (holds(fewer) and days(fewer) <= limit)


@given(st.integers(10**7, 10**11), st.integers(1, 600))
def test_recommended_settings_are_taken_by_the_engine_as_they_are(parameters, gpus):
    found = plan(PlanConfig(parameters=parameters, gpu="H200", gpus=gpus))
    best = found["recommended"]
    engine = EngineConfig(
        workers=best["gpus"],
        zero_stage=best["zero_stage"],
        micro_batch_rows=best["micro_batch_rows"],
        batch_tokens=best["batch_tokens"],
    )
    engine.check_even(best["gpus"], found["row_tokens"])
    assert engine.split(best["gpus"], found["row_tokens"]) == (best["accumulation"], best["micro_batch_rows"])


@given(sizes, st.integers(1, 64))
def test_recompute_and_smaller_micro_batches_save_memory(parameters, rows):
    kept, saved = (Case(PlanConfig(parameters=parameters, recompute=r), "A100-80", 8) for r in (False, True))
    less, more = (memory_gb(case, 3, rows)["activations"] for case in (saved, kept))
    assert less < more or model_shape(parameters)[0] == 1
    assert memory_gb(kept, 3, rows)["total"] < memory_gb(kept, 3, rows + 1)["total"]


def test_recomputing_is_a_third_more_work_and_happens_only_where_it_must():
    plain, again = (gpu_hours(Case(PlanConfig(recompute=r), "H100", 8)).expected for r in (False, True))
    assert again / plain == pytest.approx(4 / 3)
    assert plan(PlanConfig(gpu="H100", gpus=8))["recompute"] is False
    large = plan(PlanConfig(parameters="175B", gpu="A100-80", gpus=1024))
    assert large["recompute"] is True and large["recommended"]["zero_stage"] == 3
    assert "model.recompute=true" in shown(large)
    told = plan(PlanConfig(parameters="175B", gpu="A100-80", gpus=1024, recompute=False))["recommended"]
    assert told["zero_stage"] is None and "use plan.recompute=true" in told["reason"]


def test_what_does_not_fit_gets_the_number_of_gpus_it_needs():
    found = plan(PlanConfig(parameters="70B", gpu="A100-80", gpus=8))
    best, text = found["recommended"], shown(found)
    assert best["gpus"] > 8 and best["reason"].startswith("8 A100-80 are too few in memory")
    assert f"plan.gpus={best['gpus']}" in text and "Does not fit" in text and "settings" not in text
    assert best_stage(Case(PlanConfig(parameters="70B", recompute=False), "A100-80", best["gpus"]))
    fewer = int(best["reason"].partition("or plan.gpus=")[2].split()[0])
    assert 8 < fewer < best["gpus"]
    assert best_stage(Case(PlanConfig(parameters="70B", recompute=True), "A100-80", fewer))
    assert not best_stage(Case(PlanConfig(parameters="70B", recompute=True), "A100-80", fewer - 8))


def test_what_fits_on_no_number_of_gpus_is_refused_in_one_sentence_that_says_what_would():
    with pytest.raises(ValueError, match=r"rows of 1000000 tokens need [\d,]+ GB on each H100.*: use plan.row_tokens="):
        plan(PlanConfig(row_tokens=10**6))


def test_a_7b_model_on_8_a100_needs_zero_and_162m_does_not():
    assert plan(PlanConfig(parameters="7B", gpu="A100-80", gpus=8))["recommended"]["zero_stage"] >= 1
    assert plan(PlanConfig(parameters="162M", gpu="A100-80", gpus=8))["recommended"]["zero_stage"] == 0


def test_what_is_left_open_is_chosen_as_the_cheapest_that_published_runs_stand_behind():
    found = plan(PlanConfig(parameters="7B", tokens="1T", days=20))
    known = [one for one in found["choices"] if one["published_runs"]]
    assert found["gpu"] == min(known, key=lambda one: one["cost"]["expected"])["gpu"]
    assert found["days"]["expected"] <= 20
    assert {one["gpu"] for one in found["choices"]} == set(GPUS), "B200 is shown, though never chosen by itself"
    dear = plan(PlanConfig(parameters="7B", tokens="1T", days=20, rent_prices={"H100": 99}))
    assert dear["gpu"].startswith("A100")


def test_tokens_left_open_are_20_a_parameter():
    assert plan(PlanConfig(parameters="7B"))["tokens"] == 140_000_000_000
    assert tokens(Case(PlanConfig(parameters="7B", tokens="1B"), "H100", 8)) == 10**9


def test_a_deadline_that_no_number_of_gpus_meets_is_told_with_what_would():
    found = plan(PlanConfig(parameters="70B", tokens="15T", gpu="A100-80", days=10))
    assert found["gpus"] == 2048 and found["days"]["expected"] > 10
    assert any("No number of A100-80 ends in plan.days=10" in note for note in found["notes"])


def test_few_steps_are_told_with_a_step_that_leaves_enough():
    notes = plan(PlanConfig(parameters="350M", tokens="7B", gpu="H100"))["notes"]
    (said,) = (note for note in notes if "few to learn in" in note)
    assert said.startswith("plan.batch_tokens=4,194,304 makes 1,668 steps of 7B tokens")
    assert "524,288 leave 10,000 or more" in said


def test_chosen_gpus_that_end_too_late_are_told():
    notes = plan(PlanConfig(parameters="70B", gpu="H100", gpus=64))["notes"]
    assert any("days are more than plan.days=30: take more than 64 GPUs" in note for note in notes)
    assert any("tensor parallelism, which Headrace has not" in note for note in notes)


def test_more_gpus_than_rows_in_a_step_are_told():
    notes = plan(PlanConfig(gpu="H100", gpus=4096))["notes"]
    assert any("use 2048 GPUs at most" in note for note in notes)


def test_a_cluster_that_fails_faster_than_it_restarts_is_refused():
    with pytest.raises(ValueError, match=r"plan.gpus=100000 fail every 36 s and need 120 s to restart"):
        plan(PlanConfig(gpus=100_000, mtbf_hours=1000))


def test_more_failures_cost_more_hours_and_ask_for_more_checkpoints():
    sound, frail = (plan(PlanConfig(gpu="H100", gpus=512, mtbf_hours=hours)) for hours in (1e6, 1e3))
    assert frail["gpu_hours"]["expected"] > sound["gpu_hours"]["expected"]
    assert frail["checkpoint_interval_s"] < sound["checkpoint_interval_s"]
    assert frail["goodput"] + frail["failure_overhead_share"] == pytest.approx(1)


def test_a_measured_mfu_narrows_the_interval():
    own = plan(PlanConfig(mfu=0.5, gpu="H100", gpus=8, days=1000))
    wide = plan(PlanConfig(gpu="H100", gpus=8))
    assert own["mfu"] == {"low": 0.5 / SIBLING, "expected": 0.5, "high": 0.5 * SIBLING}
    assert own["gpu_hours"]["expected"] == pytest.approx(0.8 * wide["gpu_hours"]["expected"])
    assert plan(PlanConfig(mfu=0.9))["mfu"]["high"] == 1
    assert not own["notes"] and wide["notes"]


def test_prices_are_a_setting_and_dated_with_their_source_when_they_are_not():
    listed = plan(PlanConfig(gpu="H100"))
    assert listed["price_source"].startswith("list of 20") and GPUS["H100"].source in listed["price_source"]
    own = plan(PlanConfig(gpu="A100", rent_prices={"a100-80gb": 1.99, "H100": 5}))
    assert own["price_source"] == "plan.rent_prices" and own["price_per_hour"] == 1.99
    assert own["cost"]["expected"] == pytest.approx(1.99 * own["gpu_hours"]["expected"])
    assert choice(PlanConfig(rent_prices={"H100": 5}), "H100")["price_per_hour"] == 5


def test_rent_or_buy_turns_where_both_cost_the_same():
    prices = {"rent_prices": {"H100": 3.0}, "purchase_prices": {"H100": 25_000}, "running_costs": {"H100": 0.5}}
    found = plan(PlanConfig(parameters="7B", gpu="H100", gpus=8, tokens="1T", **prices))["rent_or_buy"]
    assert found["break_even_hours"] == pytest.approx(25_000 / 2.5)
    at_even = 8 * (25_000 + found["break_even_hours"] * 0.5)
    assert at_even == pytest.approx(8 * found["break_even_hours"] * 3.0)
    said = {}
    for count in ("1B", "2.3T", "100T"):
        deal = plan(PlanConfig(parameters="7B", gpu="H100", gpus=8, tokens=count, **prices))["rent_or_buy"]
        low, high = deal["hours_needed"]["low"], deal["hours_needed"]["high"]
        said[deal["advice"]] = (low, high)
    assert said["rent"][1] < 10_000 < said["buy"][0] and said["either"][0] <= 10_000 <= said["either"][1]
    never = plan(PlanConfig(gpu="H100", rent_prices={"H100": 0.2}))
    assert never["rent_or_buy"]["break_even_hours"] is None and never["rent_or_buy"]["advice"] == "rent"
    assert "costs less than running a bought H100" in shown(never)


def test_counts_and_gpu_names_are_read_as_people_write_them():
    config = PlanConfig(parameters="0.162B", tokens="1.5T", gpu="a100-80gb")
    assert (config.parameters, config.tokens, config.gpu) == (162_000_000, 1_500_000_000_000, "A100-80")
    assert PlanConfig(parameters=7e9).parameters == 7_000_000_000
    wrong = ({"parameters": "seven"}, {"tokens": "inf"}, {"gpu": "V100"}, {"gpus": 0}, {"parametres": 1})
    for one in (*wrong, {"rent_prices": {"V100": 1}}, {"rent_prices": {"H100": -1}}, {"rent_prices": 2}):
        with pytest.raises(ValidationError):
            PlanConfig(**one)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("plan.gpu=V100", "plan.gpu: 'V100' is unknown; use A100-40, A100-80, H100, H200, B200"),
        ("plan.tokens=0", "plan.tokens=0: input should be greater than or equal to 1"),
        ("plan.tokens=-5", "plan.tokens=-5: input should be greater than or equal to 1"),
        ("plan.parameters=big", "plan.parameters: 'big' is no count; write for example 162M, 7B or 1T"),
        ("plan.rent_prices.H100=x", "plan.rent_prices: H100: 'x' is no price; write USD, from 0"),
        ("plan.rent_price.H100=2", "plan.rent_price is unknown; did you mean plan.rent_prices?"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_mend(given, said):
    with pytest.raises(ConfigError) as error:
        read_config([], [given])
    assert str(error.value) == said


def test_a_plan_block_in_yaml_and_flags_ask_the_same(tmp_path):
    (tmp_path / "p.yaml").write_text("plan: {parameters: 13B, tokens: 1T, gpu: h100, rent_prices: {H100: 2.1}}\n")
    words = ["plan.parameters=13B", "--plan.tokens=1T", "plan.gpu=H100", "plan.rent_prices.H100=2.1"]
    assert plan(plan_asked(read_config([str(tmp_path / "p.yaml")]))) == plan(plan_asked(read_config([], words)))


def test_the_model_of_a_run_is_what_is_planned_and_flags_win():
    run = {
        "model": {"layers": 24, "width": 2048, "heads": 16, "row_tokens": 4096, "recompute": True},
        "tokenizer": {"kind": "bpe", "vocabulary": 50_000},
        "engine": {"workers": [2, 16], "batch_tokens": 1 << 20},
        "round": {"tokens": 1 << 20},
    }
    config = plan_asked(check(run))
    shape = check(run).model
    assert config.parameters == Decoder().num_parameters(shape, 50_000)
    assert (config.layers, config.width, config.row_tokens, config.recompute) == (24, 2048, 4096, True)
    assert (config.gpus, config.batch_tokens, config.vocabulary) == (16, 1 << 20, 50_000)
    other = plan_asked(check({**run, "plan": {"parameters": "7B", "gpus": 64}}))
    assert (other.parameters, other.gpus, other.layers) == (7_000_000_000, 64, None)
    assert plan_asked(check({})) == PlanConfig()
    ahead = plan_asked(check({"model": {**run["model"], "mtp": {"tokens": 3}}}))
    assert ahead.predicted_tokens == 3 and ahead.parameters > config.parameters


def test_the_table_says_what_a_person_wants_to_know_first():
    text = shown(plan(PlanConfig(parameters="7B", tokens="1T", gpu="A100-80", gpus=64)))
    lines = text.splitlines()
    assert lines[0] == "7 B parameters on 1 T tokens, 64 × A100-80"
    assert text.index("days") < text.index("Memory of one GPU") < text.index("Which GPUs") < text.index("how sure")
    assert "engine.workers=64 engine.zero_stage=" in text and "take this" in text
    assert max(map(len, lines)) <= 120
    narrow = shown(plan(PlanConfig(parameters="7B")), width=80)
    assert "settings" in narrow


@pytest.mark.slow
def test_the_command_prints_one_json_object_with_the_contracts_keys():
    line = ["plan.parameters=7B", "plan.tokens=1T", "plan.gpu=A100-80", "plan.gpus=64", "--json"]
    done = subprocess.run([sys.executable, "-m", "ray_jobs", "plan", *line], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found["memory_gb"]) == {"0", "1", "2", "3"}
    assert {"states", "activations", "total"} <= set(found["memory_gb"]["2"])
    assert set(found["gpu_hours"]) == set(found["cost"]) == {"low", "expected", "high"}
    assert found["memory_gb"]["1"]["states"] == pytest.approx((4 + 12 / 64) * 7)
