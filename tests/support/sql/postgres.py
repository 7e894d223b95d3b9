"""A real PostgreSQL within a test: a cluster of its own in a temporary folder, on loopback, as an unprivileged user.

It can be killed and started again. `initdb` takes some two seconds, so tests of a module share one and make databases.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import pytest

from tests.support.runs import free_ports

PLACES = ("/usr/lib/postgresql/*/bin/pg_ctl", "/usr/pgsql-*/bin/pg_ctl", "/opt/homebrew/opt/postgresql*/bin/pg_ctl")
SECONDS = 120.0  # a busy machine takes minutes for what takes seconds elsewhere
SETTINGS = (
    "listen_addresses=127.0.0.1 shared_buffers=32MB max_connections=40 fsync=off max_prepared_transactions=5 "
    "wal_writer_delay=10ms"
)

SLOW_LOG = ("wal_writer_delay = '10s'", "autovacuum = off")


def binaries() -> Path | None:
    """Where PostgreSQL's commands are; None where it is not installed."""
    found = shutil.which("pg_ctl")
    places = [Path(found)] if found else [place for glob in PLACES for place in sorted(Path("/").glob(glob[1:]))]
    return places[-1].parent if places else None


class Postgres:
    """A cluster with one superuser `postgres` that is let in without a password, and others by `host` lines."""

    def __init__(self, *hosts: str) -> None:
        """hosts: lines of pg_hba.conf that go before the one that lets everybody in."""
        bin_folder = binaries()
        if bin_folder is None:
            pytest.skip("PostgreSQL's server is not installed here (pg_ctl is not found)")
        self.bin = bin_folder
        self.user = None if os.getuid() else next((u for u in ("postgres", "nobody") if _exists(u)), "nobody")
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-pg-", dir="/tmp"))  # its user must reach it
        if self.user:
            shutil.chown(self.folder, self.user)
        (self.port,) = free_ports(1)
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "-D", str(self.data))
        hba = self.data / "pg_hba.conf"
        hba.write_text("".join(f"{line}\n" for line in hosts) + hba.read_text())
        with (self.data / "postgresql.conf").open("a") as settings:  # `alter system` does not change what argv says
            settings.writelines(
                f"{name} = '{value}'\n" for name, _, value in (s.partition("=") for s in SETTINGS.split())
            )
        self.start()

    @property
    def data(self) -> Path:
        """The folder of its files."""
        return self.folder / "data"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Where it is found."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers; after a kill its old processes may still be there."""
        options = f"-p {self.port} -k {self.folder}"
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self._run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options)
                return
            except subprocess.CalledProcessError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.3)

    def kill(self) -> None:
        """End the server as a crash does."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    @contextmanager
    def flushes_nothing(self) -> Iterator[None]:
        """Nothing that is committed without waiting for the disk gets there within, and a crash ends it."""
        self.execute(*(f"alter system set {key}" for key in SLOW_LOG), "select pg_reload_conf()")
        deadline = time.monotonic() + SECONDS
        while self.asked("select current_setting('wal_writer_delay')") != [("10s",)]:
            assert time.monotonic() < deadline, "the server did not take up its settings"
            time.sleep(0.05)
        ((writer,),) = self.asked("select pid::text from pg_stat_activity where backend_type = 'walwriter'")
        os.kill(int(str(writer)), signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill()
            os.kill(int(str(writer)), signal.SIGKILL)
            self.start()
            self.execute("alter system reset all", "select pg_reload_conf()")

    def stop(self) -> None:
        """End the server as an administrator does, without waiting for its clients."""
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))

    def close(self) -> None:
        """End the server and leave nothing behind."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.data))
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, database: str = "postgres", **options: bool) -> adbc.Connection:
        """A connection for writing; every statement is a transaction of its own unless autocommit=False."""
        return adbc.connect(self.url(database), **{"autocommit": True, **options})

    def create(self, database: str) -> str:
        """Make a database of this name anew; where it is found."""
        self.execute(f'drop database if exists "{database}" with (force)', f'create database "{database}"')
        return self.url(database)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each as a transaction."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def asked(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows that a statement gives."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def _run(self, command: str, *arguments: str) -> None:
        argv = [str(self.bin / command), *arguments]
        subprocess.run(
            argv,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.user,
            group=self.user and pwd.getpwnam(self.user).pw_gid,
            extra_groups=[] if self.user else None,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"},
            timeout=SECONDS,
        )


def _exists(user: str) -> bool:
    try:
        return pwd.getpwnam(user).pw_uid > 0
    except KeyError:
        return False
