"""What do we use of Ray that it does not promise to keep? All of it is here and in `training/group/scaling_policy.py`.

Ray 2.60 has no public way to drain a node, to list those that drain, to be asked whether its head lives, to read its
environment anew, to start workers by another script, or to start without some daemons. Importing this file imports Ray.
"""

import copy
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray.actor
import ray.autoscaler._private
from ray._private import parameter, ray_constants, services, utils
from ray._private.state import state
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient, UniqueID  # type: ignore[attr-defined]
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.exceptions import RayError

RAYLET_S = 90.0  # until the raylet of a local Ray must have come up


def draining_nodes() -> set[str]:
    """Return the ids of nodes that were told to leave; Ray Train's own watcher asks here."""
    return set(state.get_draining_nodes() or ())


def head_lives(address: str, timeout_s: float) -> None:
    """Ask Ray's head at host:port whether it lives; raises what Ray does where it does not."""
    GcsClient(address=address).check_alive([], timeout=timeout_s)


def drain_node(address: str | None, node_id: str | None, reason: str, end_s: float, timeout_s: float) -> str:
    """Tell Ray that a node is preempted at `end_s` (seconds since 1970); why it refuses, or "".

    node_id: None for the one living node at this machine's address. RuntimeError if the head does not
    answer, or if there is no such node, or several.
    """
    preemption = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client = GcsClient(address=services.canonicalize_bootstrap_address_or_die(address))
    try:
        node = node_id or _node_here(client, timeout_s)
        accepted, why = client.drain_node(node, preemption, reason, int(end_s * 1000), timeout=timeout_s)
    except RayError as error:
        raise RuntimeError(f"Ray's head does not answer: {error}") from error
    return "" if accepted else f"Ray refuses to drain node {node}: {why}"


def _node_here(client: GcsClient, timeout_s: float) -> str:
    alive = client.get_all_node_info(timeout=timeout_s, state_filter=gcs_pb2.GcsNodeInfo.ALIVE)
    mine = ray.util.get_node_ip_address()
    found = [key.hex() for key, info in alive.items() if info.node_manager_address == mine]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} living Ray nodes at {mine}; say which one with --node-id")
    return str(found[0])


def reread_environment(*, loopback: bool) -> None:
    """Make an imported Ray see RAY_AUTH_MODE, the token and where to listen: it read them at import."""
    ray_constants.ENABLE_RAY_CLUSTER = not loopback
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def start_workers_by(script: str) -> str:
    """Let a local Ray start its workers by another script; the one before."""
    before = str(ray_constants.SETUP_WORKER_FILENAME)
    ray_constants.SETUP_WORKER_FILENAME = script
    return before


@contextmanager
def frugal_and_patient(*, logs: bool, metrics: bool) -> Iterator[None]:
    """Let a local Ray that starts meanwhile do without daemons that nobody asks there, and wait for the others.

    Left out, and with them a third of what a start costs: the autoscaler's monitor, the process that passes on what
    workers print (unless `logs`), and, unless `metrics`, the dashboard and what of its agent only an installation with
    the dashboard has, the export of metrics included. Ray gives its raylet 30 s, too few on a busy machine.
    """
    params, server, node = parameter.RayParams, services.start_api_server, services.get_node
    dashboard_error = utils.get_dashboard_dependency_error
    parameter.RayParams = partial(params, no_monitor=True, include_log_monitor=logs)
    services.get_node = partial(_wait_for, node, RAYLET_S)
    if not metrics:
        services.start_api_server = lambda *_, **__: ("", None)  # its address and its process
        utils.get_dashboard_dependency_error = lambda: ImportError("nobody looks at the dashboard of a local Ray")
    try:
        yield
    finally:
        parameter.RayParams, services.start_api_server, services.get_node = params, server, node
        utils.get_dashboard_dependency_error = dashboard_error


def _wait_for(get_node: Callable[[str, str], object], most_s: float, address: str, node_id: str) -> object:
    """Ask for a node until it has come up; the RuntimeError with which Ray says that it has not, after most_s."""
    until = time.monotonic() + most_s
    while True:
        try:
            return get_node(address, node_id)
        except RuntimeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@contextmanager
def class_ids_from_kernel() -> Iterator[None]:
    """Let actor classes that are made meanwhile take their ids from the kernel.

    Ray's own would begin its generator of ids, and every fork would go on with the same ids.
    """
    own = ray.actor.ActorClassID
    ray.actor.ActorClassID = _ClassIds
    try:
        yield
    finally:
        ray.actor.ActorClassID = own


class _ClassIds:
    @staticmethod
    def from_random() -> ray.ActorClassID:
        return ray.ActorClassID(os.urandom(ray.ActorClassID.size()))


def random_id() -> bytes:
    """Draw an id of Ray's generator, which begins with the first one drawn."""
    return bytes(UniqueID.from_random().binary())


def validate_launch_file(config: Mapping[str, object]) -> None:
    """Check a file of `ray up` as Ray does; raises ValidationError, or what Ray stumbles over."""
    from ray.autoscaler._private.util import fillout_defaults, validate_config  # a second, for one command

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # it logs the whole error besides raising it
    validate_config(fillout_defaults(copy.deepcopy(dict(config))))


def azure_parameters() -> set[str]:
    """Return the parameters that Ray's template of an Azure machine knows."""
    template = Path(ray.autoscaler._private.__file__).parent / "_azure" / "azure-vm-template.json"
    return set(json.loads(template.read_text(encoding="utf-8"))["parameters"])
