"""Would a run work here, and if not, what is the one thing to do about it?

`examine` looks at Python, packages, machine, GPUs, Ray's authentication, the cluster and the store; every
finding is a `Check` with its mend, a command or one sentence. Secrets are looked for, never read out.
Nothing is changed but a probe file, which is deleted again.
"""

import importlib.metadata
import os
import re
import resource
import shutil
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from cluster.launch.check import check_launch_file
from cluster.runtime.session import has_gpu
from cluster.storage.store import Store
from cluster.telemetry.wandb_run import has_key
from data_ops.sources.first_look import FirstLook, first_look
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import SourceConfig

PYTHON = (3, 11)
PACKAGES = {
    "ray": "2.60",
    "torch": "2.13",
    "deepspeed": "0.19.8",
    "pyarrow": "20",
    "deltalake": "1.6",
    "numpy": "2",
    "numba": "0.61",
    "pydantic": "2.10",
    "tokenizers": "0.22",
    "xxhash": "3.5",
    "orjson": "3.10",
    "wandb": "0.31",
}
GB = 1e9
MIN_MEMORY, MIN_SHM, MIN_DISK, MIN_FILES = 4 * GB, 1 * GB, 10 * GB, 4096
BUILD_DAY = 1_790_000_000  # 2026-09-21: a clock before it is wrong


class Check(NamedTuple):
    """One finding; `mend` is empty when ok."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


def examine(store_uri: str | None = None, address: str | None = None) -> list[Check]:
    """Examine this machine, and the store and the cluster if given.

    address: of the Ray dashboard, http://host:8265; absent: RAY_API_SERVER_ADDRESS if set.
    """
    checks = [check_python(), *look_at_packages(), *check_machine(), check_compiler(), check_gpus()]
    dashboard = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    auth = check_auth_mode(has_cluster=bool(dashboard or os.environ.get("RAY_ADDRESS")))
    checks += [auth, check_token_file(), check_wandb(), check_open_files()]
    if dashboard and dashboard.startswith("http"):
        checks.append(check_cluster_closed(dashboard))
    if store_uri:
        checks += look_at_store(store_uri)
    return checks


def check_cluster_file(path: str) -> list[Check]:
    """Would this launch file start a cluster that is closed to strangers? One failed check for each thing wrong."""
    try:
        found = check_launch_file(path)
    except (OSError, UnicodeDecodeError) as error:
        return [Check("cluster file", "fail", f"{path} cannot be read: {error}", "name a YAML file")]
    if not found:
        return [Check("cluster file", "ok", f"{path}: keys exist, nothing is left to fill in, closed to strangers")]
    return [Check("cluster file", "fail", f"{place} {problem}", mend) for place, problem, mend in found]


def look_at_sources(sources: Mapping[str, SourceConfig]) -> list[Check]:
    """Does each source hold what its configuration says? One record of it as it will be read."""
    checks = []
    for label, config in sources.items():
        try:
            problem = open_source(label, config).missing()
            look = FirstLook(problem=problem) if problem else first_look(label, config)
        except (OSError, ValueError) as error:
            checks.append(Check(f"source {label}", "fail", str(error), "make it readable, or correct its keys"))
            continue
        if look.problem:
            found, _, mend = look.problem.partition("; ")
            checks.append(Check(f"source {label}", "fail", found, mend))
        else:
            checks.append(Check(f"source {label}", "ok", look.sample or "nothing is there yet"))
    return checks


def doctor_table(checks: Iterable[Check]) -> str:
    """Return one aligned line a check, and below it the mend of whatever is not ok."""
    lines = []
    for check in checks:
        lines.append(f"{check.state:<4}  {check.name:<16}  {check.found}")
        if check.mend:
            lines.append(f"{'':<4}  {'':<16}  -> {check.mend}")
    return "\n".join(lines)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Is Python new enough?"""
    found = ".".join(map(str, version))
    if version[:2] >= PYTHON:
        return Check("python", "ok", found)
    return Check("python", "fail", found, f"install Python {'.'.join(map(str, PYTHON))} or newer")


def look_at_packages() -> list[Check]:
    """Is every package there, and new enough? Ok ones share one line."""
    good, bad = [], []
    for name, least in PACKAGES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            bad.append(Check(name, "fail", "not installed", f"pip install '{name}>={least}'"))
            continue
        if version_key(version) < version_key(least):
            bad.append(Check(name, "fail", f"{version} is older than {least}", f"pip install '{name}>={least}'"))
        else:
            good.append(f"{name} {version}")
    return [Check("packages", "ok", f"{len(good)} of {len(PACKAGES)}: {', '.join(good)}"), *bad]


def version_key(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare.

    >>> version_key("2.13.0+cpu") > version_key("2.10")
    True
    """
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])


def check_machine() -> list[Check]:
    """Are there CPUs, memory, shared memory and disk enough?"""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    few = "two workers and data tasks share it; expect slow runs"
    checks = [Check("cpus", "ok", str(cpus)) if cpus >= 2 else Check("cpus", "warn", str(cpus), few)]
    checks.append(check_bytes("memory", memory, MIN_MEMORY, "use a machine with more memory"))
    if Path("/dev/shm").is_dir():
        mend = "start the container with --shm-size=4g: Ray's object store lives there"
        checks.append(check_bytes("shared memory", shutil.disk_usage("/dev/shm").free, MIN_SHM, mend))
    mend = "free space below /tmp, where Ray keeps its session, or set RAY_TMPDIR"
    checks.append(check_bytes("disk /tmp", shutil.disk_usage("/tmp").free, MIN_DISK, mend))
    if time.time() < BUILD_DAY:
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return [*checks, Check("clock", "fail", now, "set the clock, for example: timedatectl set-ntp true")]
    return [*checks, Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))]


def check_bytes(name: str, free: float, least: float, mend: str) -> Check:
    """Is there enough of something counted in bytes?"""
    found = f"{free / GB:.1f} GB"
    return Check(name, "ok", found) if free >= least else Check(name, "warn", f"{found}, little", mend)


def check_compiler() -> Check:
    """Is there a C compiler? Triton needs one where there is a GPU, for the kernels that are compiled there."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler:
        return Check("c compiler", "ok", compiler)
    if has_gpu():
        return Check("c compiler", "fail", "none, and there is a GPU", "apt-get install gcc libc6-dev, or set CC")
    return Check("c compiler", "ok", "none; only a GPU needs it")


def check_gpus() -> Check:
    """Does torch see GPUs, and can they bf16?"""
    import torch

    if not torch.cuda.is_available():
        if Path("/proc/driver/nvidia/version").exists():
            mend = (
                "install a torch built for CUDA: pip install torch --index-url https://download.pytorch.org/whl/cu130"
            )
            return Check("gpus", "fail", f"a driver, but torch {torch.__version__} sees no GPU", mend)
        return Check("gpus", "ok", "none; training runs on CPUs")
    found = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Check("gpus", "ok", f"{found}, bf16")
    return Check("gpus", "warn", f"{found}, no bf16", "set engine.precision=fp32, or use A100 or newer")


def check_auth_mode(mode: str | None = None, *, has_cluster: bool = True) -> Check:
    """Is Ray's authentication mode explicit?"""
    mode = mode if mode is not None else os.environ.get("RAY_AUTH_MODE", "")
    if mode == "token":
        return Check("ray auth", "ok", "RAY_AUTH_MODE=token")
    found = f"RAY_AUTH_MODE={mode}" if mode else "RAY_AUTH_MODE is not set"
    if not mode and not has_cluster:
        return Check("ray auth", "ok", f"{found}; a local Ray listens on this machine alone")
    if mode == "disabled":
        return Check("ray auth", "warn", found, "export RAY_AUTH_MODE=token wherever others reach this network")
    return Check("ray auth", "warn", found, "export RAY_AUTH_MODE=token; the default depends on a file in $HOME")


def check_token_file(home: Path | None = None) -> Check:
    """Is there a token, and can nobody else read it?"""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", (home or Path.home()) / ".ray" / "auth_token"))
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check("ray token", "ok", "in RAY_AUTH_TOKEN")
    if not path.exists():
        return Check("ray token", "ok", "none; a local Ray makes its own, a cluster needs `ray get-auth-token`")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check("ray token", "fail", f"{path} has mode {mode:04o}, others read it", f"chmod 600 {path}")
    return Check("ray token", "ok", f"{path}, mode {mode:04o}")


def check_cluster_closed(dashboard: str) -> Check:
    """Does the cluster refuse who has no token? Anyone it answers can run code on it."""
    url = dashboard.rstrip("/") + "/api/jobs/"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = f"{url} answers without a token (HTTP {answer.status})"
        return Check("cluster", "fail", found, "restart the cluster with RAY_AUTH_MODE=token on every node")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Check("cluster", "ok", f"{url} refuses without a token (HTTP {error.code})")
        return Check("cluster", "warn", f"{url} answers HTTP {error.code}", "look at the dashboard's log")
    except OSError as error:
        mend = "start it with 'ray start --head' or open a tunnel with 'ray dashboard cluster.yaml'"
        return Check("cluster", "fail", f"{dashboard} does not answer: {error}", mend)


def look_at_store(uri: str) -> list[Check]:
    """Can the store be written, read and deleted, and is there room?"""
    try:
        store = Store.open(uri)
        store.check_writable()
    except (OSError, ValueError) as error:
        text, _, mend = str(error).partition(": ")
        return [Check("store", "fail", text, mend or "correct store= in the config")]
    free, ok = store.free_bytes(), Check("store", "ok", f"{store.uri} can be written, read and deleted")
    if free is None:
        return [ok]
    return [
        ok,
        check_bytes("store space", free, MIN_DISK, f"free space below {store.uri}, or keep fewer checkpoints"),
    ]


def check_wandb() -> Check:
    """Is there a W&B key? Its value is not looked at."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return Check("wandb", "ok", f"WANDB_MODE={os.environ['WANDB_MODE']}")
    if has_key():
        return Check("wandb", "ok", "a key is there; runs are uploaded")
    return Check("wandb", "ok", "no key; runs are kept offline (wandb login to upload)")


def check_open_files() -> Check:
    """May a process open enough files?"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= MIN_FILES:
        return Check("open files", "ok", str(soft))
    return Check("open files", "warn", f"limit {soft}", f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}")
