"""Does a person see what happened, in place on a terminal and in plain lines elsewhere?"""

import io
import re

import pytest
from rich.console import Console

from cluster.readable import rate, seconds, share, short, signed, size, visible, whole
from data_ops.ingest.events import Warned, WindowDone
from ray_jobs.report.terminal import Display
from ray_jobs.training.events import BranchBegun, CandidateJudged, Committed, RoundBegun, StepDone, StepSkipped

STEP = {"loss": 2.913, "tokens_per_second": 411_900.0, "mfu": 0.57, "data_wait_s": 0.002, "seconds": 1.0}
STEP |= {"learning_rate": 3e-4, "freshness_s": (38.0, 20.0)}
SLICE = {
    "name": "wire/2026-01",
    "documents": 9,
    "difference": 0.0004,
    "low": -0.0006,
    "high": 0.0014,
    "verdict": "within",
}
FRESH = {"difference": -0.041, "low": -0.046, "high": -0.036, "verdict": "better", "role": "fresh"}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def plain(every_s=5.0, clock=None):
    stream = io.StringIO()
    return Display(stream=stream, every_s=every_s, clock=clock or Clock()), stream


def terminal():
    stream = io.StringIO()
    display = Display(stream=stream, clock=Clock())
    display.console = Console(file=stream, force_terminal=True, width=120, highlight=False, color_system=None)
    return display, stream


def test_the_lines_read_like_the_story_of_the_run():
    display, stream = plain()
    facts = {"name": "news", "store": "./lake", "workers": 8, "zero_stage": 2, "precision": "bf16", "parameters": 162e6}
    display.header({**facts, "resumed_step": 1190, "resumed_round": 16})
    dropped = {"short": 611, "duplicate": 301, "x": 92}
    display.event(WindowDone(window=41, read=10_000, kept=8911, dropped=dropped, quarantined=85, seconds=1.84))
    tokens = {"fresh_tokens": 37_500_000, "replay_tokens": 12_500_000}
    display.event(RoundBegun(round=17, fresh_documents=12_214, steps=96, **tokens))
    display.event(Committed(step=1240, size_bytes=2_100_000_000))
    display.event(BranchBegun(step=1240, tokens=1_000_000, steps=8))
    display.event(Warned(text="the disk is nearly full"))
    display.event(StepSkipped(step=1241, text="its loss is not finite"))
    verdict = CandidateJudged(
        step=1286,
        promoted=True,
        checkpoint="news@1240/1286",
        verdict="promoted",
        reasons=("it is better",),
        previous="news@940/966",
    )
    display.event(verdict)
    display.report("lake/runs/news/report.html")
    said = stream.getvalue()
    for part in (
        "· news · ./lake · 8 workers on 1 node · ZeRO-2 bf16 · 162 M parameters · resumed at step 1,190 (round 16)",
        " ingest   window 41     read 10,000  kept 8,911  dropped 1,004 (short 611, duplicate 301, ...)  ",
        "quarantined 85  1.8 s",
        "fresh 37.5 M tokens (12,214 documents) + replay 12.5 M (25 %)  96 steps",
        " commit   step 1,240  2.1 GB",
        " branch   step 1,240    a copy decays on replay 1 M tokens  8 steps",
        " note     the disk is nearly full",
        " note     step 1241 was skipped: its loss is not finite",
        " judge    promoted: it is better",
        " promoted checkpoint news@1240/1286 is the champion (was news@940/966)",
        " report   lake/runs/news/report.html",
    ):
        assert part in said
    assert "\x1b" not in said


def test_plain_train_lines_come_every_few_seconds_and_at_the_end_of_a_round():
    clock = Clock()
    display, stream = plain(every_s=5.0, clock=clock)
    display.round(RoundBegun(round=0, steps=100))
    for step in range(1, 101):
        clock.now += 0.1
        display.train(StepDone(step=step, **STEP))
    lines = [line for line in stream.getvalue().splitlines() if " train" in line]
    assert len(lines) == 3 and "100/100  loss 2.913  412k tok/s  MFU 0.57  wait 0.2 %  lr 3.0e-4" in lines[-1]


def test_a_run_that_stops_between_two_lines_still_shows_its_last_step():
    display, stream = plain()
    with display:
        display.train(StepDone(step=1, **STEP))
        display.train(StepDone(step=7, **STEP))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1", "7"]


def test_a_terminal_updates_one_line_in_place_and_is_left_clean():
    display, stream = terminal()
    with display:
        display.round(RoundBegun(round=0, steps=3))
        for step in (1, 2, 3):
            display.clock.now += 1
            display.train(StepDone(step=step, **STEP))
        display.judge({"promoted": True, "old_margin": 0.005, "fresh": FRESH, "slices": [{**SLICE, "role": "old"}]})
    said = stream.getvalue()
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1, "the cursor comes back"
    assert "\x1b[2K" in said and "3/3" in said
    assert said.rindex("judge") > said.rindex("train")


def test_a_terminal_is_left_clean_after_an_error():
    display, stream = terminal()
    with pytest.raises(KeyboardInterrupt), display:
        display.train(StepDone(step=1, **STEP))
        raise KeyboardInterrupt
    assert stream.getvalue().count("\x1b[?25h") == 1


def test_the_bar_fills_over_the_round_and_not_over_the_run():
    display, stream = plain(every_s=0)
    display.header({"resumed_step": 1000})
    display.round(RoundBegun(round=0, steps=10))
    display.train(StepDone(step=1005))
    assert "▕███████████           ▏ 1,005/1,010" in stream.getvalue()


def test_the_judgement_begins_with_its_word_and_the_reason_that_decided():
    display, stream = plain()
    display.judge({"promoted": True, "verdict": "promoted", "reasons": ["fresh text got better: −0.04", "old kept"]})
    display.judge({"promoted": False, "reasons": ["fresh text got worse: +0.1", "help/1 is worse"]})
    display.judge({"promoted": False, "verdict": "not asked", "reasons": ["60 fresh held-out documents"]})
    assert [line.strip() for line in stream.getvalue().splitlines()] == [
        "judge    promoted: fresh text got better: −0.04",
        "old kept",
        "judge    refused: fresh text got worse: +0.1",
        "help/1 is worse",
        "judge    not asked: 60 fresh held-out documents",
    ]


def test_the_ledger_adds_up_before_the_eyes_and_shows_losses():
    display, stream = plain()
    display.ledger({"read": 18_204, "trained": 15_871, "held_out": 172, "dropped": {"short": 1998}, "quarantined": 163,
                    "pending": 0, "lost": 2, "repeated": 0})  # fmt: skip
    expected = "18,204 read = 15,871 trained + 172 held out + 1,998 dropped + 163 quarantined · lost 2 · repeated 0"
    assert expected in stream.getvalue()


def test_text_of_strangers_cannot_steer_the_terminal():
    display, stream = plain()
    display.note("bad record \x1b[2J\x07 [red]not markup[/red] \u202edesrever")
    said = stream.getvalue()
    assert not re.search(r"[\x1b\x07\u202e]", said) and "[red]not markup[/red]" in said and "\\x1b[2J" in said


def test_with_json_nothing_reaches_stdout(capsys):
    Display(json=True).note("starved")
    Display().note("plain")
    out, err = capsys.readouterr()
    assert "starved" in err and "starved" not in out and "plain" in out


@pytest.mark.parametrize("method", ["header", "judge", "ledger"])
def test_facts_that_are_missing_are_left_out_and_never_break_a_run(method):
    display, stream = plain(every_s=0)
    with display:
        getattr(display, method)({})
    assert "None" not in stream.getvalue()


def test_a_loss_that_is_not_finite_is_shown_as_it_is():
    display, stream = plain(every_s=0)
    display.train(StepDone(step=3, loss=float("nan")))
    assert "loss nan" in stream.getvalue()


@pytest.mark.parametrize(
    ("write", "value", "said"),
    [
        (whole, 12214, "12,214"), (whole, None, "–"), (short, 411_900, "412k"), (short, 37_500_000, "37.5 M"),
        (short, 999_999, "1 M"), (short, 9_999, "9,999"), (size, 2_100_000_000, "2.1 GB"), (seconds, 0.002, "2 ms"),
        (seconds, 119.6, "120 s"), (seconds, 86_400, "1 d"), (seconds, float("nan"), "–"), (share, 0.0021, "0.2 %"),
        (share, 1, "100 %"), (signed, -0.0412, "−0.041"), (signed, 0.0, "0.000"),
        (rate, 0, "0"), (rate, 3e-4, "3.0e-4"),
        (visible, "a\x00\ud800", "a\\x00\\ud800"),
    ],
)  # fmt: skip
def test_numbers_are_written_with_their_unit(write, value, said):
    assert write(value) == said


def test_the_first_line_says_what_a_run_begins_with_until_it_goes_on():
    facts = {"name": "news", "store": "./lake", "begins_with": "./my\x1b-llama", "resumed_step": None}
    said = []
    for resumed in (None, 7):
        stream = io.StringIO()
        with Display(stream=stream) as display:
            display.header(facts | {"resumed_step": resumed, "resumed_round": 0})
        said.append(stream.getvalue())
    assert "begins with ./my\\x1b-llama" in said[0]
    assert "begins with" not in said[1]


@pytest.mark.parametrize(("ages", "said"), [((3.0, 4.0), True), ((3.0, 9e9), False), ((-9e5, -8e5), False)])
def test_how_long_ago_the_event_was_is_told_of_live_text_alone(ages, said):
    display, stream = plain(every_s=0.0)
    display.event(RoundBegun(round=0, steps=2))
    display.event(StepDone(step=1, to_gradient_s={"wire": ages}, **STEP))
    assert ("from the event" in stream.getvalue()) == said, stream.getvalue()
