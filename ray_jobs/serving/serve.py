"""What does `headrace serve` do? It lets the champion of a store answer over HTTP, and its successors after it."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.endpoint import Endpoint
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champion import put_in_service_by_hand
from ray_jobs.registry.lineage import tell_mlflow
from ray_jobs.serving.feedback.desk import FeedbackDesk, source_lines
from ray_jobs.serving.loop import AnsweringLoop
from ray_jobs.serving.openai.app import Door, ServeApp
from ray_jobs.serving.replicas.group import ReplicaPlace, keep_replicas
from ray_jobs.serving.replicas.siblings import Siblings
from ray_jobs.serving.watch import Acts, ChampionWatch

TOKEN = "HEADRACE_SERVE_TOKEN"
GRACE_S = 60  # for answers that go on when a signal comes


class Server(NamedTuple):
    """The application, and the threads behind it, which run."""

    app: ServeApp
    watch: ChampionWatch
    loop: AnsweringLoop
    desk: FeedbackDesk
    siblings: Siblings


def serve_command(config: Config, host: str, port: int, token_file: str | None, tell: Callable[[str], None]) -> None:
    """Answer until a signal ends it. ConfigError where others could ask without a token, or there is no champion."""
    endpoint = Endpoint(host, port, TOKEN, token_file)
    endpoint.token("ask")
    if folder := config.serve.feedback.folder:
        tell("feedback   read what people corrected by a source:")
        for line in source_lines(folder):
            tell(f"           {line}")
    count = config.serve.replicas
    if count == 1:
        _answer(config, endpoint, tell, None, None)
        return
    try:
        listener = endpoint.listen()
    except OSError as error:
        raise ConfigError(f"http://{host}:{port} cannot be listened at: {error.strerror}; name another port") from None
    with tempfile.TemporaryDirectory(prefix="headrace-") as private:
        work = partial(_work, config, endpoint, tell)
        number = keep_replicas(count, private, listener, work, tell, GRACE_S + 5)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)  # ended by it, as a server that is alone is


def start_serving(
    config: Config, token: str | None, tell: Callable[[str], None], place: ReplicaPlace | None = None
) -> Server:
    """Load the champion and start what answers; ConfigError where there is none. place: among replicas."""
    store = Store.open(config.store)

    def roll_back(checkpoint: str, reason: str) -> None:
        put_in_service_by_hand(store, checkpoint, new_reference=False, reason=reason)
        tell_mlflow(store, config.telemetry.mlflow)

    serve, siblings = config.serve, Siblings(place)
    watch = ChampionWatch(store, config.engine.precision, serve, config.gate, Acts(tell, roll_back))
    part = "" if place is None else str(place.number)
    desk = FeedbackDesk(serve.feedback, watch.rate if serve.canary.share else None, part)
    loop = AnsweringLoop(serve.batch, serve.queue)
    loop.start()
    watch.start(loop.uses)
    app = ServeApp(watch, loop, desk, siblings, Door(token, serve.max_body))
    return Server(app, watch, loop, desk, siblings)


def _work(
    config: Config,
    endpoint: Endpoint,
    tell: Callable[[str], None],
    place: ReplicaPlace,
    listener: socket.socket,
) -> None:
    """What one replica does: its share of the processors, and no traceback where the configuration is wrong."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // place.total))
    try:
        _answer(config, endpoint, tell, place, listener)
    except ConfigError as error:
        tell(f"error      {error}")
        sys.exit(2)


def _answer(
    config: Config,
    endpoint: Endpoint,
    tell: Callable[[str], None],
    place: ReplicaPlace | None,
    listener: socket.socket | None,
) -> None:
    server = start_serving(config, endpoint.token("ask"), tell, place)
    served = server.watch.current
    if place is None or place.number == 0:
        tell(f"serving    {served.name}, {served.decoder.rows} answers at once, {served.context} tokens each at most")
        tell(f"listening  http://{endpoint.host}:{endpoint.port}/v1")
        if served.decoder.rows < config.serve.batch:
            tell("warning    on this machine a text's place in a batch changes its last bits, so answers take turns")
    try:
        sockets = None if listener is None else [listener, *server.siblings.open()]
        endpoint.answer(server.app, GRACE_S, sockets)
    finally:
        server.desk.close()
