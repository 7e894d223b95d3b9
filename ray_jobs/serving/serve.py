"""What does `headrace serve` do? It lets the champion of a store answer over HTTP, and its successors after it."""

from collections.abc import Callable
from typing import NamedTuple

from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.endpoint import Endpoint
from ray_jobs.registry.champion import put_in_service_by_hand
from ray_jobs.registry.lineage import tell_mlflow
from ray_jobs.serving.feedback.desk import FeedbackDesk, source_lines
from ray_jobs.serving.loop import AnsweringLoop
from ray_jobs.serving.openai.app import ServeApp
from ray_jobs.serving.watch import Acts, ChampionWatch

TOKEN = "HEADRACE_SERVE_TOKEN"
GRACE_S = 60  # for answers that go on when a signal comes


class Server(NamedTuple):
    """The application, and the threads behind it, which run."""

    app: ServeApp
    watch: ChampionWatch
    loop: AnsweringLoop
    desk: FeedbackDesk


def serve_command(config: Config, host: str, port: int, token_file: str | None, tell: Callable[[str], None]) -> None:
    """Answer until a signal ends it. ConfigError where others could ask without a token, or there is no champion."""
    endpoint = Endpoint(host, port, TOKEN, token_file)
    token = endpoint.token("ask")
    server = start_serving(config, token, tell)
    served = server.watch.current
    tell(f"serving    {served.name}, {served.decoder.rows} answers at once, {served.context} tokens each at most")
    tell(f"listening  http://{host}:{port}/v1")
    if served.decoder.rows < config.serve.batch:
        tell("warning    on this machine a text's place in a batch changes its last bits, so answers take turns")
    if folder := config.serve.feedback.folder:
        tell("feedback   read what people corrected by a source:")
        for line in source_lines(folder):
            tell(f"           {line}")
    try:
        endpoint.answer(server.app, GRACE_S)
    finally:
        server.desk.close()


def start_serving(config: Config, token: str | None, tell: Callable[[str], None]) -> Server:
    """Load the champion and start what answers; ConfigError where there is none."""
    store = Store.open(config.store)

    def roll_back(checkpoint: str, reason: str) -> None:
        put_in_service_by_hand(store, checkpoint, new_reference=False, reason=reason)
        tell_mlflow(store, config.telemetry.mlflow)

    watch = ChampionWatch(store, config.engine.precision, config.serve, config.gate, Acts(tell, roll_back))
    desk = FeedbackDesk(config.serve.feedback, watch.rate if config.serve.canary.share else None)
    loop = AnsweringLoop(config.serve.batch, config.serve.queue)
    loop.start()
    watch.start(loop.uses)
    return Server(ServeApp(watch, loop, desk, token, config.serve.max_body), watch, loop, desk)
