"""How does the driver reach Ray: one `ray.init`, one environment for every worker?

`connect` joins the cluster named by `address`, by RAY_ADDRESS or by the Ray job it runs in; else it starts
a local Ray of its own, closed to others: it listens on the loopback interface alone, keeps its files in a folder of
this user alone, and asks for a random token that lives in this process and its children only
(no file in $HOME, so any number start side by side). A local Ray has at least 4 logical CPUs, so that two
workers and data tasks fit on 2 cores. It starts without the daemons that nobody asks on one machine
(`ray_internals.frugal_and_patient`). Its workers are forked from one process that has imported what they need
(`cluster.runtime.forkserver`), where there is no GPU.
"""

import os
import secrets
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from cluster.runtime.config import ClusterConfig
from cluster.runtime.forkserver import ForkServer
from cluster.runtime.private_files import is_private
from cluster.runtime.reach import wait_for_head
from cluster.runtime.root import ROOT
from cluster.runtime.session_folder import make_session_folder, remove_session_folder
from cluster.runtime.topology import Node

NAMESPACE = "headrace"
LEAST_CPUS = 4
WORKER_ENVIRONMENT = {
    "DEEPSPEED_LOG_LEVEL": "error",
    "OMP_NUM_THREADS": "1",  # a second thread beside any other load is slower, down to 0.14 x
    "PYTHONWARNINGS": "ignore",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "1800",  # the default waits for a missing rank for ever
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor a group; ours is ray_jobs/training/group/node_policy.py
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how late a dead worker, and the end, is seen; Ray's own is 2
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "TOKENIZERS_PARALLELISM": "false",
}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # Ray's switch for its own addresses: "0" is 127.0.0.1, everywhere
DAEMON_ENVIRONMENT = {
    LOOPBACK: "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_register_timeout_seconds": "180",  # Ray's own is 60; a first run compiles loops before it forks
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # Ray's own is 60; a local head that is gone does not come back
    "RAY_worker_maximum_startup_concurrency": "16",  # a run starts about ten light processes at once
}
WITHOUT_METRICS = {"RAY_enable_metrics_collection": "0"}


@dataclass(frozen=True)
class Session:
    """A connection to Ray; `owned` if `connect` made it, so that `shutdown` ends it."""

    address: str
    is_local: bool
    owned: bool
    forkserver: ForkServer | None = None
    folder: str | None = None  # of a local Ray, if `connect` started it

    def nodes(self) -> dict[str, Node]:
        """Return what each node has that lives and stays, by its id, for `cluster.runtime.topology`."""
        import ray

        leaving = self.draining()
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        return {
            name: Node(cpus=found.get("CPU", 0.0), gpus=found.get("GPU", 0.0))
            for name, found in alive.items()
            if name not in leaving
        }

    def draining(self) -> set[str]:
        """Return the ids of nodes that were told to leave: an interruption notice, a drain by hand."""
        from cluster.runtime.ray_internals import draining_nodes

        return draining_nodes()

    def shutdown(self) -> None:
        """Disconnect; a local Ray ends."""
        import ray

        if self.owned:
            ray.shutdown()
        if self.forkserver:
            self.forkserver.close()
        if self.folder:
            remove_session_folder(self.folder)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "forkserver": None, "folder": None}  # they belong to the process that made them

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def connect(
    config: ClusterConfig, *, quiet: bool = True, metrics: bool = False, preload: Sequence[str] = ()
) -> Session:
    """Connect to Ray, or start it here; joins a connection that this process has already.

    quiet: workers' prints stay in Ray's log files. metrics: keep Prometheus export on (costs an agent's CPU).
    preload: modules that workers find imported, if Ray is started here and there is no GPU.
    ConnectionError if the cluster named does not answer or refuses the token.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address in (None, "local"):
        already_imported = "ray" in sys.modules
        os.environ |= local_environment(os.environ, metrics)  # before Ray: its daemons inherit it
        if already_imported:
            from cluster.runtime.ray_internals import reread_environment

            reread_environment(loopback=os.environ[LOOPBACK] == "0")
    import ray

    if ray.is_initialized():
        return Session(ray.get_runtime_context().gcs_address, is_local=address is None, owned=False)
    options: dict[str, object] = {"logging_level": "ERROR", "log_to_driver": not quiet, "namespace": NAMESPACE}
    if address in (None, "local"):
        return _start_local(config, metrics, preload, options)
    try:
        needs = {"env_vars": worker_environment(os.environ), **_at_start()}
        wait_for_head(address)
        context = ray.init(address=address, runtime_env=needs, **options)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise ConnectionError(
            f"no Ray cluster accepts us at {address} ({' '.join(str(error).split())[:200]}): start one with "
            "'ray start --head', set RAY_AUTH_MODE=token with its RAY_AUTH_TOKEN, or unset RAY_ADDRESS"
        ) from error
    return Session(context.address_info["gcs_address"], is_local=False, owned=True)


def _at_start() -> dict[str, str]:
    """What a worker does before anything else, by name: Ray puts the folder of the driver before all others."""
    return {"worker_process_setup_hook": f"ray_jobs.names.{'claim_private' if is_private() else 'claim'}"}


def _start_local(
    config: ClusterConfig, metrics: bool, preload: Sequence[str], options: Mapping[str, object]
) -> Session:
    """Start a Ray of our own on this machine; ConnectionError if it does not come up."""
    from cluster.runtime.ray_internals import frugal_and_patient

    # CUDA does not survive a fork, and an import may start it: with a GPU workers start as Ray starts them
    forkserver = ForkServer(preload) if preload and not has_gpu() else None
    folder = None
    try:
        folder = make_session_folder()
        own = {
            "num_cpus": config.num_cpus or max(LEAST_CPUS, os.cpu_count() or 1),
            "object_store_memory": config.object_store,
            "include_dashboard": False,
            "runtime_env": _at_start(),
            "_temp_dir": folder,
        }
        with frugal_and_patient(logs=bool(options["log_to_driver"]), metrics=metrics):
            address = _start({**own, **options})
    except Exception as error:
        if forkserver:
            forkserver.close()
        if folder:
            remove_session_folder(folder)
        said = " ".join(str(error).split())[:200]
        raise ConnectionError(f"no Ray could be started here ({said}); free memory or CPUs, try again") from error
    return Session(address, is_local=True, owned=True, forkserver=forkserver, folder=folder)


def _start(options: Mapping[str, object]) -> str:
    """Start a local Ray and return its address; start it once more if it did not come up."""
    import ray

    before = set(psutil.Process().children(recursive=True))
    try:
        return str(ray.init(address="local", **options).address_info["gcs_address"])
    except Exception:  # noqa: BLE001 - it is a bare one that Ray raises then
        new = set(psutil.Process().children(recursive=True)) - before
        half = [child for child in new if _is_of_ray(child)]
        for child in half:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(half, timeout=10)
        return str(ray.init(address="local", **options).address_info["gcs_address"])


def _is_of_ray(child: psutil.Process) -> bool:
    try:
        return str(Path(sys.modules["ray"].__file__ or "").parent) in " ".join(child.cmdline())
    except psutil.Error:
        return False


def local_environment(environ: Mapping[str, str], metrics: bool) -> dict[str, str]:
    """Return what to add to the environment before a local Ray starts; what the user set stays."""
    wanted = worker_environment(environ) | DAEMON_ENVIRONMENT | ({} if metrics else WITHOUT_METRICS)
    wanted |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback_interface())
    if not has_gpu():
        wanted["DS_ACCELERATOR"] = "cpu"
    if not any(name in environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {name: value for name, value in wanted.items() if name == "PYTHONPATH" or name not in environ}


def loopback_interface() -> str:
    """Name the interface of 127.0.0.1: lo, and lo0 on macOS."""
    known = psutil.net_if_addrs().items()
    return next((name for name, addresses in known if any(a.address == "127.0.0.1" for a in addresses)), "lo")


def has_gpu() -> bool:
    """Is there an NVIDIA GPU in this machine? Asked of the kernel, because a process that asked CUDA must not fork."""
    return any(Path("/proc/driver/nvidia").glob("gpus/*")) or Path("/dev/nvidia0").exists()


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what workers need and the environment lacks; PYTHONPATH if we run from a source tree."""
    wanted = {name: value for name, value in WORKER_ENVIRONMENT.items() if name not in environ}
    root = str(ROOT)
    before = environ.get("PYTHONPATH", "")
    installed = root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    shipped = "runtime_resources" in root  # a Ray job's working_dir: Ray puts it on every worker's path
    if not installed and not shipped and root not in before.split(os.pathsep):
        wanted["PYTHONPATH"] = f"{root}{os.pathsep}{before}" if before else root
    return wanted
