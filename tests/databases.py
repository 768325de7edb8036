"""Real database servers: each with a folder, a port and a password of its own, loopback only.

They are as durable as the store demands of its server, and as unhelpful as a server may be: the
default collation is not the one the store needs.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.waiting import free_port, until

Needs = Callable[[str], str]

OWNER = "restante"  # of the databases: an ordinary user


@dataclass
class Database:
    """A server process. It can be ended in any way and started again on the same folder."""

    name: str  # as SQLAlchemy calls the engine
    folder: Path
    port: int
    _command: list[str]
    _stop: signal.Signals  # ends it cleanly, without waiting for its clients
    _admin: URL  # the superuser, by a socket in the folder, which nobody else can enter
    _owner: URL
    _create: tuple[str, ...]
    # --pdeathsig goes by the thread that starts a process: that of a caller may end before us.
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _process: subprocess.Popen[bytes] | None = None
    _alive: int = -1  # a pipe that ends when no process of the server is left

    def url(self, name: str) -> str:
        """A new empty database; one of that name that was there before is dropped."""
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        self.execute(*(statement.format(name=name) for statement in self._create))
        return self.at(name)

    def at(self, name: str) -> str:
        """Where a database is, or would be."""
        return self._owner.set(database=name).render_as_string(hide_password=False)

    def execute(self, *statements: str) -> list[Any]:
        """Runs statements as the superuser; returns the rows of the last, if it has some."""
        engine = create_engine(self._admin, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        rows: list[Any] = []
        with engine.connect() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                rows = list(result) if result.returns_rows else []
        return rows

    def start(self) -> None:
        self._process = self._starter.submit(self._popen).result()
        until(self._ready, f"{self.name} is ready")

    def _popen(self) -> subprocess.Popen[bytes]:
        self._alive, inherited = os.pipe()
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                pass_fds=(inherited,),
                umask=0o077,
            )
        os.close(inherited)
        return process

    def _ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self._log.read_text()[-4000:]
        try:
            # First without the driver: PyMySQL leaves a Unix socket open that it fails to connect.
            socket.create_connection(("127.0.0.1", self.port)).close()
            self.execute("SELECT 1")
        except (ConnectionRefusedError, OperationalError):
            return False
        return True

    def stop(self) -> None:
        """Cleanly; whoever is connected loses the connection."""
        self._end(self._stop)

    def close(self) -> None:
        self.stop()
        self._starter.shutdown()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Ends it at once, and starts it again: it recovers what was committed."""
        self._end(signal.SIGKILL)
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(60)
        self._process = None
        # PostgreSQL's processes outlive a killed parent by a moment, and it does not start while
        # they hold its memory.
        os.read(self._alive, 1)
        os.close(self._alive)

    @property
    def _log(self) -> Path:
        return self.folder / "log"


@contextmanager
def postgresql(needs: Needs) -> Iterator[Database]:
    # Debian keeps the server's programs in a folder for each version, outside of PATH.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = f"{versions[-1]}/" if versions else ""
    initdb, server = needs(f"{programs}initdb"), needs(f"{programs}postgres")
    with _folder("postgresql") as folder:
        port, password = free_port(), secrets.token_hex(16)
        data = folder / "data"
        cluster = {
            "pgdata": data,
            "username": "admin",
            "auth-local": "trust",
            "auth-host": "scram-sha-256",
            "encoding": "UTF8",
            # Text in the order of a language: the store must not lean on the default.
            "locale": "C",
            "locale-provider": "icu",
            "icu-locale": "en",
        }
        _run([*_as_nobody(needs), initdb, "--data-checksums", "--no-sync", *_options(cluster)])
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
        }
        database = Database(
            name="postgresql",
            folder=folder,
            port=port,
            _command=[
                *_as_nobody(needs, "--pdeathsig", "INT"),
                *(server, "-D", str(data), *_options(settings)),
            ],
            _stop=signal.SIGINT,
            _admin=URL.create(
                "postgresql+psycopg",
                "admin",
                database="postgres",
                query={"host": str(folder), "port": str(port)},
            ),
            _owner=URL.create("postgresql+psycopg", OWNER, password, "127.0.0.1", port),
            _create=(
                "DROP DATABASE IF EXISTS {name} WITH (FORCE)",
                f"CREATE DATABASE {{name}} OWNER {OWNER}",
            ),
        )
        with _running(database, f"CREATE ROLE {OWNER} LOGIN PASSWORD '{password}'"):
            yield database


@contextmanager
def mariadb(needs: Needs) -> Iterator[Database]:
    server = needs("mariadbd")
    with _folder("mariadb") as folder:
        port, password = free_port(), secrets.token_hex(16)
        data = folder / "data"
        # What mariadb-install-db does, but that needs a program of one more package.
        shared = Path(server).parents[1] / "share"
        [tables] = shared.glob("m*/m*_system_tables.sql")
        [rows] = shared.glob("m*/m*_system_tables_data.sql")
        bootstrap = (
            b"CREATE DATABASE mysql;\nUSE mysql;\n",
            tables.read_bytes(),
            rows.read_bytes(),
            # root has no password: it comes by the socket alone.
            b"\nDELETE FROM global_priv WHERE host <> 'localhost';\n",
        )
        data.mkdir()
        _give(data)
        _run(
            [*_as_nobody(needs), server, "--no-defaults", "--bootstrap", f"--datadir={data}"],
            given=b"".join(bootstrap),
        )
        settings = {
            "datadir": data,
            "bind-address": "127.0.0.1",
            "port": port,
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "skip-name-resolve": 1,  # over TCP nobody comes from "localhost"
            "max-allowed-packet": 16 * 1024 * 1024,
            "innodb-flush-log-at-trx-commit": 1,
        }
        database = Database(
            name="mariadb",
            folder=folder,
            port=port,
            _command=[
                *_as_nobody(needs, "--pdeathsig", "TERM"),
                *(server, "--no-defaults", *_options(settings)),
            ],
            _stop=signal.SIGTERM,
            _admin=URL.create(
                "mariadb+pymysql",
                "root",
                database="mysql",
                query={"unix_socket": str(folder / "socket")},
            ),
            _owner=URL.create("mariadb+pymysql", OWNER, password, "127.0.0.1", port),
            _create=(
                "DROP DATABASE IF EXISTS {name}",
                "CREATE DATABASE {name}",
                f"GRANT ALL ON {{name}}.* TO {OWNER}@127.0.0.1",
            ),
        )
        with _running(database, f"CREATE USER {OWNER}@127.0.0.1 IDENTIFIED BY '{password}'"):
            yield database


@contextmanager
def _running(database: Database, create_owner: str) -> Iterator[None]:
    try:
        database.start()
        database.execute(create_owner)
        yield
    finally:
        database.close()


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Not below pytest's own folder: the server runs as another user, who must get in."""
    folder = Path(tempfile.mkdtemp(prefix=f"restante-{name}-"))
    _give(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _give(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")


def _as_nobody(needs: Needs, *options: str) -> list[str]:
    """Before a command that root must not run, since neither server runs as root.

    With --pdeathsig the server ends when we do, in whatever way.
    """
    if os.geteuid() == 0:
        options = (*options, "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    return [needs("setpriv"), *options] if options else []


def _options(settings: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def _run(command: list[str], given: bytes = b"") -> None:
    done = subprocess.run(
        command,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        umask=0o077,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
