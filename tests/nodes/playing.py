"""How does a scene become a judged result? Network and raylets up, the run, the scene, the end, and then the judges:
`headrace verify`, the checker of the breaking machine, and the comparison with a run that nobody disturbed.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.chaos import corpus
from tests.chaos.campaign import HELD_OUT, MIN_CHARS, SEED
from tests.chaos.checker.comparison import compare
from tests.chaos.checker.history import check, read_history
from tests.chaos.life import RECIPE, RUN
from tests.nodes import network
from tests.nodes.scenes import Scene, cluster_of
from tests.nodes.story import Story, StoryError, lines
from tests.support.runs import environment

BATCH_TOKENS = 1536  # 12 rows: shared evenly by 1, 2, 3 and 4 workers
NODES_RECIPE = RECIPE.replace("batch_tokens: 1024", f"batch_tokens: {BATCH_TOKENS}")
TWIN_SECONDS = 600
AGAIN = 3  # how often the same command is started again after an end that is not 0


def play(name: str, scene: Scene, folder: Path) -> dict[str, Any]:
    """Play one scene in `folder`; what was found, and what went wrong so far: `judge` says the rest."""
    corpus.grow(folder, 0, 0, scene.records)
    network.build()
    cluster = cluster_of(scene)
    story = Story(cluster, folder, NODES_RECIPE, f"engine.workers={scene.workers}", *scene.arguments)
    problems: list[str] = []
    found: dict[str, Any] = {}
    code = -1
    try:
        cluster.up()
        story.start()
        try:
            found = scene.play(story)
            code, _ = story.end()
            while code != 0 and story.starts < AGAIN:
                story.start()
                code, _ = story.end()
        except StoryError as end:
            problems.append(str(end))
    finally:
        story.close()
        told = lines(story.moments, story.began)
        (folder / "moments.txt").write_text("\n".join(told) + "\n")
        found["stubborn"] = cluster.down()
        network.tear_down()
    problems += [f"the command ended with exit code {code}"] if code else []
    result = {"scene": name, "workers": scene.workers, "ok": not problems, "problems": problems, "starts": story.starts}
    result |= {"code": code, "found": found, "moments": told, "folder": str(folder)}
    (folder / "result.json").write_text(json.dumps(result, indent=1))
    return result


def judged(result: dict[str, Any], scene: Scene, twin: Path) -> dict[str, Any]:
    """The result with what is wrong in the store of a run that ended well, compared with the undisturbed one."""
    problems = result["problems"] + ([] if result["code"] else judge(Path(result["folder"]), twin, scene))
    return result | {"ok": not problems, "problems": problems}


def undisturbed(folder: Path, scene: Scene) -> None:
    """Run the same corpus on a local Ray that nobody disturbs; RuntimeError if that does not end well."""
    corpus.grow(folder, 0, 0, scene.records)
    (folder / "run.yaml").write_text(NODES_RECIPE)
    done = _headrace(folder, "run", f"engine.workers={scene.twin}", *scene.arguments)
    if done.returncode:
        raise RuntimeError(f"the undisturbed run in {folder} ended with {done.returncode}: {done.stderr[-1500:]}")


def judge(folder: Path, twin: Path, scene: Scene) -> list[str]:
    """What is wrong with a finished run's store; [] if nothing is."""
    done = _headrace(folder, "verify")
    verified = json.loads(done.stdout.strip().splitlines()[-1])
    problems = [] if done.returncode == 0 else [f"verify: exit {done.returncode}: {done.stdout[-500:]}"]
    problems += [f"verify: {key} {verified[key]}" for key in ("lost", "repeated") if verified.get(key)]
    history = read_history(folder / "lake", RUN)
    verdict = check(history, folder / "corpus", SEED, HELD_OUT, MIN_CHARS)
    problems += verdict.problems + ([] if verdict.ok else [f"the checker: {verdict}"])
    other = read_history(twin / "lake", RUN)
    return problems + compare(history, other, same_rounds=True, same_bits=scene.same_bits)


def _headrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ray_jobs", arguments[0], "-c", "run.yaml", "--json", *arguments[1:]]
    known = environment()
    return subprocess.run(
        argv, cwd=folder, env=known, capture_output=True, text=True, timeout=TWIN_SECONDS, check=False
    )
