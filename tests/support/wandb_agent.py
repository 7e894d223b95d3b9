"""The real agent of W&B sweeps, with a script where its server would be; run as a process of its own.

    python -m tests.support.wandb_agent SWEEP.yaml TRIALS.json

TRIALS: [{"id": ..., "args": {key: value}, "command": [...], "stop_when": a file}]. What a server would send (start this
trial; stop it, once the file holds a step) comes from there; starting, watching, signalling and counting is W&B's code.
The last line of stdout says how each trial ended and how many the agent took for failed.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import wandb
import yaml
from wandb.wandb_agent import Agent


class Scripted(Agent):  # type: ignore[misc]  # wandb has no types here
    """An agent that gets its commands from a list."""

    POLL_INTERVAL = 0.2

    def __init__(self, sweep: dict[str, Any], trials: list[dict[str, Any]]) -> None:
        super().__init__(api=None, queue=wandb.wandb_agent.multiprocessing.Queue(), sweep_id="sw1", count=len(trials))
        self.sweep, self.trials, self.started = sweep, trials, dict[str, Any]()

    def _heartbeat_commands(self, agent_id: str, run_status: dict[str, bool]) -> list[dict[str, Any]]:
        if not run_status:
            trial = self.trials[len(self.started)]
            self._sweep_command = list(trial.get("command", self.sweep["command"]))
            values = {key: {"value": value} for key, value in trial["args"].items()}
            return [{"type": "run", "run_id": trial["id"], "program": self.sweep["program"], "args": values}]
        trial = self.trials[len(self.started) - 1]
        seen = Path(trial["stop_when"]) if "stop_when" in trial else None
        if seen is not None and seen.exists() and '"event":"step"' in seen.read_text():
            return [{"type": "stop", "run_id": trial["id"]}]  # again and again, as a server does until it is gone
        return []

    def _command_run(self, command: dict[str, Any]) -> None:
        super()._command_run(command)
        self.started[command["run_id"]] = self._run_processes[command["run_id"]]


if __name__ == "__main__":
    os.environ["WANDB_SWEEP_ID"] = "sw1"
    wandb.Api = lambda: None  # made anew after every trial, for heartbeats that are scripted here
    agent = Scripted(yaml.safe_load(Path(sys.argv[1]).read_text()), json.loads(Path(sys.argv[2]).read_text()))
    agent._run_loop("agent")
    ended = {trial: process.poll() for trial, process in agent.started.items()}
    print(json.dumps({"ended": ended, "failed": agent._failed}))
