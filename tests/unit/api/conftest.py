"""A listening API with its real store, two users, and what it logs."""

import asyncio
import ipaddress
import shutil
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
import structlog
import uvloop

from api.app import ApiServer
from api.call import ApiParts, Facts, Sample, Setting, Site
from api.models_doctor import FindingDetail, Findings, GroupName
from auth.login import Login
from auth.passwords import Passwords
from auth.second_factor import SecondFactor
from auth.tokens import Tokens
from auth.vault import Vault
from collector.dial import Dialer
from collector.fetch import Tools
from collector.service import Collecting
from intake.deliver import Arrival, deliver
from intake.recipients import resolve
from intake.spool import Spool
from mail.address import Address, parse_domain
from net.limits import Connections, Failures, OctetBudget
from net.listen import Endpoint, bind
from net.metrics import CONNECTIONS, QUEUE, Gauges, Metrics
from net.rates import Rates
from server.config import Config
from server.domain_dns import DomainDns
from store.records import Account, Role, StoreSettings
from store.store import Store

HOSTNAME = "mail.example.org"
SECRET = "correct horse battery"
KEY = bytes(range(32))
SECRETS_KEY = bytes(32)
WAIT_S = 20  # longer than anything here takes; a test that waits so long has failed


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """As the server. The folders of the protocols try the transports on both event loops."""
    return {"uvloop": uvloop.new_event_loop}


def now() -> datetime:
    return datetime.now(UTC)


class House:
    """What the API is told of a server here. `missing` is not ready."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        server = {"hostname": HOSTNAME, "resolvers": ["127.0.0.1:9"]}  # nobody is there
        self.dns = DomainDns(Config.model_validate({"server": server}))
        self.missing = ""

    async def facts(self) -> Facts:
        return Facts(
            version="1.2.3",
            started_at=now(),
            listeners={"smtp": ["127.0.0.1:2525"]},
            certificates=[("5A:1C", 90)],
            store_url="sqlite:///restante.db",
            free_octets=1000,
            backup_age_s=7200,
        )

    def settings(self) -> list[Setting]:
        return [Setting("smtp.listen", ["[::]:25"], "file", [], "Where mail comes in.", "a list")]

    async def examine(self, only: Collection[str] | None) -> Findings:
        groups: tuple[GroupName, ...] = ("tls", "store")
        found = [group for group in groups if only is None or group in only]
        items = [FindingDetail(group=each, mark="ok", text="well", next="") for each in found]
        return Findings(items=items, to_fix=0)

    async def readiness(self) -> dict[str, bool]:
        return {part: part != self.missing for part in ("listeners", "store", "space")}

    async def challenge(self, token: str) -> bytes | None:
        return b"token.print" if token == "token" else None

    async def gauges(self) -> Gauges:
        return {QUEUE: {"": 3}, CONNECTIONS: {"smtp": 1, "http": 2}}

    def history(self) -> list[Sample]:
        return [Sample(now(), kept=2, stored_octets=1000, connections=3)]


class Api:
    """`start` may be called with parts of its own."""

    def __init__(self, folder: Path, *, url: str = "") -> None:
        self.file = folder / "restante.db"
        settings = StoreSettings(
            url=url or f"sqlite:///{self.file}", quota_octets=0, trash_days=30, max_listed=10_000
        )
        self.store = Store(settings, clock=now)
        self.passwords = Passwords(cost=4)
        self.parts = ApiParts(
            store=self.store,
            login=Login(
                self.store,
                self.passwords,
                Failures(clock=monotonic),
                key=SECRETS_KEY,
                clock=monotonic,
            ),
            passwords=self.passwords,
            second=SecondFactor(self.store, Vault(KEY), issuer=HOSTNAME, clock=now),
            house=House(),
            tokens=Tokens((KEY,), issuer=HOSTNAME, clock=now),
            key=KEY,
            secrets_key=SECRETS_KEY,
            hostname=HOSTNAME,
            clock=now,
            connections=Connections(total=500, per_client=30, clock=monotonic),
            rates=Rates({}, clock=monotonic),
            site=Site(public_url=f"https://{HOSTNAME}"),
            collecting=Collecting(self._tools(folder), every_s=300),
        )
        self.server: ApiServer | None = None
        self._sessions: list[aiohttp.ClientSession] = []
        self._arrivals = now()

    def _tools(self, folder: Path) -> Tools:
        """Of a collector to which every host is this machine."""

        async def here(_name: str) -> list[str]:
            return ["127.0.0.1"]

        dialer = Dialer(
            tls=ssl.create_default_context(),
            hostname=HOSTNAME,
            own_ports=frozenset(),
            private=[ipaddress.ip_network("127.0.0.0/8")],
            resolve=here,
            connect_s=0.3,
            refusal_s=0.0,
        )
        self.spool = Spool(OctetBudget(1024 * 1024), folder)
        vault = Vault(KEY)
        return Tools(self.store, dialer, vault, self.spool, HOSTNAME, 1024 * 1024, now)

    async def start(self, **parts: Any) -> None:
        sockets = bind([Endpoint("127.0.0.1", 0)])
        self.port: int = sockets[0].getsockname()[1]
        self.server = ApiServer(replace(self.parts, **parts))
        await self.server.start(sockets)

    async def stop(self) -> None:
        for session in self._sessions:
            await session.close()
        if self.server:
            await self.server.stop(WAIT_S)
        self.spool.close()
        self.store.close()
        self.passwords.close()

    async def add_user(self, login: str, address: str | None, *, role: Role = Role.USER) -> Account:
        return await self.store.accounts.add(
            login,
            await self.passwords.hash(SECRET),
            role=role,
            address=Address.parse(address) if address else None,
        )

    def client(self, token: str | None = None) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=WAIT_S),
        )
        self._sessions.append(session)
        return session

    async def token(self, login: str) -> str:
        credentials = {"login": login, "password": SECRET}
        async with self.client().post("/api/auth/login", json=credentials) as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["access_token"])

    async def signed_in(self, login: str = "ann") -> aiohttp.ClientSession:
        return self.client(await self.token(login))

    async def deliver(self, content: bytes, *recipients: str) -> str:
        """One second later than the message before; returns its id."""
        self._arrivals += timedelta(seconds=1)
        resolved = [
            await resolve(Address.parse(text), self.store)
            for text in recipients or ("ann@example.org",)
        ]
        arrival = Arrival(
            peer_ip="192.0.2.7",
            helo="client.example.net",
            protocol="ESMTP",
            cipher=None,
            sender=Address.parse("bob@example.net"),
            recipients=tuple(resolved),
            content=content,
        )
        kept = await deliver(arrival, self.store, hostname=HOSTNAME, clock=lambda: self._arrivals)
        return str(kept.uid)

    def spoil(self, statement: str) -> None:
        """Changes the database behind the store's back."""
        with sqlite3.connect(self.file) as database:
            database.execute(statement)
        database.close()

    async def exchange(self, octets: bytes) -> bytes:
        """Sends octets as they are and reads until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(octets)
        async with asyncio.timeout(WAIT_S):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


class Log:
    """What was logged, and a way to wait for a line."""

    def __init__(self) -> None:
        self.lines: list[MutableMapping[str, Any]] = []
        self._came = asyncio.Event()

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        self.lines.append({**event, "level": method})
        self._came.set()
        raise structlog.DropEvent

    async def line(self, event: str = "api.request", **fields: object) -> MutableMapping[str, Any]:
        """The first line of an event with these fields, once it is there."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for line in self.lines:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                self._came.clear()
                await self._came.wait()


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    captured = Log()
    structlog.reset_defaults()  # whatever a server of another test has set
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, captured])
    yield captured
    structlog.reset_defaults()


async def _fill(folder: Path) -> None:
    made = Api(folder)
    await made.store.domains.add(parse_domain("example.org"))
    await made.add_user("ann", "ann@example.org")
    await made.add_user("bob", "bob@example.org")
    await made.stop()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a closed store that every test copies."""
    folder = tmp_path_factory.mktemp("api")
    asyncio.run(_fill(folder))
    return folder


@pytest.fixture
async def idle(tmp_path: Path, filled: Path, log: Log) -> AsyncIterator[Api]:
    """Not listening yet."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    made = Api(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
async def api(idle: Api) -> Api:
    await idle.start()
    return idle


async def problem(answer: aiohttp.ClientResponse, status: int, slug: str) -> dict[str, Any]:
    """The document of a refusal, after what every one must have (RFC 9457)."""
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    document: dict[str, Any] = await answer.json()
    assert document["type"] == f"/problems/{slug}"
    assert document["code"] == slug
    assert document["status"] == status
    assert document["title"]
    assert document["request_id"] == answer.headers["X-Request-Id"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert status < 500 or slug.startswith("upstream-") or "detail" not in document
    return document
