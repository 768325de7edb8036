"""Restante, as `restante serve` runs it, on a folder and ports of its own.

Its settings are the defaults, but for those that a run on one machine needs: loopback is exempt
from the limits per client. Sender verification asks DNS; it is off unless a row is about it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from auth.passwords import Passwords
from bench.parties import DOMAIN, POLLED, SECRET, USERS, Party
from mail.address import Address, parse_domain
from server import admin
from server.config import load
from server.parts import app_password_key, open_store
from store.records import Role
from tests.waiting import free_port

RESTANTE = Path(sys.executable).with_name("restante")
START_S = 120
CHEAP = 4  # of the users who sign in only to look what has come: bcrypt's lowest cost

CONFIG = """\
[server]
hostname = "mail.example.test"
resolvers = {resolvers}
[smtp]
listen = ["127.0.0.1:{smtp}"]
verify = "{verify}"
[pop3]
listen = ["127.0.0.1:{pop3}"]
max_listed = {listed}
refuser_listen = []
[api]
http_listen = ["127.0.0.1:{http}"]
[limits]
exempt = ["127.0.0.0/8"]
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is not as by default."""

    users: int = USERS
    verify: bool = False
    listed: int = 10_000
    url: str = ""
    resolver: str = ""  # who is asked about DNS
    database: tuple[int, ...] = ()  # processes of the store's server, which are part of the cost


@dataclass
class Restante:
    folder: Path
    wish: Wish
    smtp: int = field(default_factory=free_port)
    pop3: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def party(self, name: str = "Restante") -> Party:
        return Party(name, "user", self.smtp, self.pop3, self.roots)

    def roots(self) -> list[int]:
        assert self._process
        return [self._process.pid, *self.wish.database]

    def start(self) -> None:
        log = self.folder / "log"
        kept = {name: value for name, value in os.environ.items() if name[:9] != "RESTANTE_"}
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [RESTANTE, "serve"], cwd=self.folder, stdout=output, stderr=output, env=kept
            )
        deadline = time.monotonic() + START_S
        while b'"event": "server.ready"' not in (said := log.read_bytes()[before:]):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"restante does not start: {said[-2000:].decode()}")
            time.sleep(0.05)

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)

    def make(self) -> None:
        """The folder and the users. Who is polled has a password as everybody has by default."""
        self.folder.mkdir()
        listed, verify = self.wish.listed, "on" if self.wish.verify else "off"
        resolvers = json.dumps([self.wish.resolver] if self.wish.resolver else [])
        ports = {"smtp": self.smtp, "pop3": self.pop3, "http": self.http}
        text = CONFIG.format(listed=listed, verify=verify, resolvers=resolvers, **ports)
        self.data.mkdir(mode=0o700)
        if self.wish.url:
            (self.data / "url").write_text(self.wish.url)
            (self.data / "url").chmod(0o600)
            text += '[store]\nurl_file = "url"\n'
        self.config.write_text(text)
        asyncio.run(self._people())

    async def _people(self) -> None:
        config = load(self.config, {})
        with (
            closing(open_store(config)) as store,
            closing(Passwords()) as passwords,
            closing(Passwords(cost=CHEAP)) as cheap,
        ):
            await store.domains.add(parse_domain(DOMAIN))
            for n, login in enumerate(f"user{n}" for n in range(self.wish.users)):
                hashed = await (passwords if n < POLLED else cheap).hash(SECRET)
                await store.accounts.add(login, hashed, role=Role.USER)
                await store.domains.add_address(Address.parse(f"{login}@{DOMAIN}"), login)

    def app_password(self, login: str) -> str:
        """One of a mail app's own, which is not checked by bcrypt. The server must not run."""

        async def add() -> str:
            config = load(self.config, {})
            with closing(open_store(config)) as store, closing(Passwords()) as passwords:
                desk = admin.Desk(store, passwords, app_password_key(config))
                made = await admin.app_password_add(desk, login=login, name="bench")
                return str(made["password"])

        return asyncio.run(add())

    def token(self, login: str) -> str:
        """For the API."""
        command = [str(RESTANTE), "token", "add", login, "bench", "--json"]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return str(json.loads(done.stdout)["token"])


@contextmanager
def restante(folder: Path, wish: Wish | None = None) -> Iterator[Restante]:
    """Running."""
    found = Restante(folder, wish or Wish())
    found.make()
    found.start()
    try:
        yield found
    finally:
        found.stop()
