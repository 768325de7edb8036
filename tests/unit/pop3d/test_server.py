"""The driver: real sockets, TLS, store and sign-in; and every dialog over them."""

import asyncio
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_connection
from time import monotonic
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from auth.login import Login
from auth.passwords import Passwords
from mail.address import Address, parse_domain
from mail.facts import Facts
from mail.ident import UniqueId
from net.limits import Connections, Failures
from net.listen import Endpoint, bind
from net.tls import Certificate, make_self_signed
from pop3d.server import ALPN, Pop3Limits, Pop3Server
from store.messages import Copy, NewMessage
from store.records import Role, StoreSettings
from store.store import Store
from tests.dialog import DIALOGS, SECRET, USER, SocketTalk, content, parse, run, wire

WAIT_S = 20  # longer than anything here takes; a test that waits so long has failed
PATIENT = Pop3Limits()
SIGN_IN = f"USER {USER}\r\nPASS {SECRET}\r\n".encode()


def now() -> datetime:
    return datetime.now(UTC)


class Place:
    """A store with one user, kept for all tests of this module; `fill` makes it new."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "restante.db"
        settings = StoreSettings(
            url=f"sqlite:///{self.file}", quota_octets=0, trash_days=30, max_listed=10_000
        )
        self.store = Store(settings, clock=now)
        self.passwords = Passwords(cost=4)
        self.maildrop_id = asyncio.run(self._add_user())
        pair = folder / "test.crt", folder / "test.key"
        make_self_signed(*pair, hostname="mail.example.org", now=now())
        self.certificate = Certificate(*pair, clock=now)

    async def _add_user(self) -> int:
        await self.store.domains.add(parse_domain("example.org"))
        account = await self.store.accounts.add(
            "ann",
            await self.passwords.hash(SECRET),
            role=Role.USER,
            address=Address.parse(USER),
        )
        return account.maildrop_id

    async def sizes(self) -> list[int]:
        return [entry.size for entry in await self._entries()]

    async def _entries(self) -> Any:
        return (await self.store.maildrops.snapshot(self.maildrop_id)).entries

    async def fill(self, *sizes: int) -> None:
        old = [entry.uid for entry in await self._entries()]
        await self.store.maildrops.remove(self.maildrop_id, old)
        start = now()
        for n, size in enumerate(sizes):
            uid = UniqueId.new(start + timedelta(milliseconds=n))
            copy = Copy(self.maildrop_id, Address.parse(USER), b"")
            await self.store.messages.append(NewMessage(uid, None, content(size), Facts(), [copy]))

    def marked(self) -> set[int]:
        """Numbers of the messages that are marked as retrieved, in a place filled once."""
        with sqlite3.connect(self.file) as database:
            rows = database.execute("SELECT bits FROM device_mark").fetchall()
        database.close()
        bits = sum(int.from_bytes(octets, "little") for (octets,) in rows)
        return {number for number in range(bits.bit_length()) if bits >> number & 1}

    def damage(self) -> None:
        """No stored body matches its checksum any more."""
        with sqlite3.connect(self.file) as database:
            database.execute("UPDATE body SET sha256 = zeroblob(32)")
        database.close()

    def close(self) -> None:
        self.store.close()
        self.passwords.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("pop3"))
    yield made
    made.close()


@pytest.fixture
def own_place(tmp_path: Path) -> Iterator[Place]:
    """For a test that breaks it."""
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def events() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs(processors=[merge_contextvars]) as captured:
        yield captured


def ends(events: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [event for event in events if event["event"] == "pop3.end"]


class Client:
    """Speaks POP3 by hand, after the greeting."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), WAIT_S)

    async def lines(self, number: int) -> list[bytes]:
        return [await self.line() for _ in range(number)]

    async def rest(self) -> bytes:
        """All that comes before the server closes."""
        return await asyncio.wait_for(self.reader.read(), WAIT_S)

    async def say(self, command: str) -> bytes:
        self.send(command.encode() + b"\r\n")
        return await self.line()

    async def answer(self, command: bytes) -> None:
        """Reads the whole answer to a command."""
        first = await self.line()
        if first.startswith(b"+OK") and command[:4] in (b"RETR", b"TOP ", b"LIST", b"UIDL"):
            while await self.line() != b".\r\n":
                pass

    async def sign_in(self) -> None:
        self.send(SIGN_IN)
        assert [line[:3] for line in await self.lines(2)] == [b"+OK", b"+OK"]

    def leave(self) -> None:
        self.writer.transport.abort()


class Running:
    """A server on a free port."""

    def __init__(self, server: Pop3Server, endpoint: Endpoint) -> None:
        self.server = server
        self.endpoint = endpoint
        self.clients: list[Client] = []

    async def client(self, *, alpn: str | None = None, greeting: bytes = b"+OK") -> Client:
        context = trusting()
        if alpn:
            context.set_alpn_protocols([alpn])
        client = Client(
            *await asyncio.open_connection(self.endpoint.host, self.endpoint.port, ssl=context)
        )
        self.clients.append(client)
        if greeting:
            assert (await client.line()).startswith(greeting)
        return client

    async def signed_in(self) -> Client:
        client = await self.client()
        await client.sign_in()
        return client

    async def emptied(self) -> None:
        """When every connection has ended."""
        await asyncio.wait_for(self.server.none_open.wait(), WAIT_S)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def running(
    place: Place,
    limits: Pop3Limits = PATIENT,
    *,
    total: int = 100,
    strangers: int = 100,
) -> AsyncIterator[Running]:
    login = Login(
        place.store,
        place.passwords,
        Failures(clock=monotonic),
        key=bytes(32),
        clock=monotonic,
    )
    server = Pop3Server(
        place.store,
        login,
        connections=Connections(total=total, clock=monotonic),
        strangers=Connections(total=strangers, clock=monotonic),
        limits=limits,
    )
    [listening] = bind([Endpoint("127.0.0.1", 0)])
    server.start([listening], place.certificate.context(ALPN))
    live = Running(server, Endpoint(*listening.getsockname()[:2]))
    try:
        yield live
    finally:
        for client in live.clients:
            client.leave()
        await server.drain(0)


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog(path: Path, place: Place) -> None:
    dialog = parse(await asyncio.to_thread(path.read_text, "utf-8"))
    await place.fill(*dialog.sizes)
    async with running(place) as live:
        address = live.endpoint.host, live.endpoint.port

        def connect() -> SocketTalk:
            plain = create_connection(address, WAIT_S)
            return SocketTalk(trusting().wrap_socket(plain))

        await asyncio.to_thread(run, dialog, connect)


Events = list[MutableMapping[str, Any]]


async def test_a_session_from_greeting_to_removal(place: Place, events: Events) -> None:
    await place.fill(41, 300_000, 20)
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"RETR 1\r\nRETR 2\r\nTOP 1 1\r\nDELE 1\r\nDELE 3\r\nQUIT\r\n")
        said = await client.rest()
        expected = wire(41, None) + wire(300_000, None) + wire(41, 1)
        assert said[: len(expected)] == expected
        assert [line[:3] for line in said[len(expected) :].splitlines()] == [b"+OK"] * 3
        await live.emptied()
    assert await place.sizes() == [300_000]
    [end] = ends(events)
    assert end["retr"] == "2/300041"
    assert (end["dele"], end["why"], end["peer"]) == (2, "quit", "127.0.0.1")
    assert end["account"] is not None
    assert len(end["cid"]) == 8


async def test_a_lost_connection_removes_nothing(place: Place, events: Events) -> None:
    # RFC 1939 section 6
    await place.fill(10, 20)
    async with running(place) as live:
        client = await live.signed_in()
        assert (await client.say("DELE 1")).startswith(b"+OK")
        client.leave()
        await live.emptied()
    assert await place.sizes() == [10, 20]
    [end] = ends(events)
    assert (end["dele"], end["why"]) == (0, "lost")


async def test_a_removal_that_has_begun_is_finished_without_the_client(
    place: Place, events: Events
) -> None:
    await place.fill(10, 20)
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"DELE 1\r\nQUIT\r\n")
        assert (await client.line()).startswith(b"+OK")
        client.leave()
        await live.emptied()
    # The two octets of DELE and QUIT came in one write: after the first +OK the commit is out.
    assert await place.sizes() == [20]
    [end] = ends(events)
    assert end["dele"] == 1


async def test_two_sessions_may_remove_the_same_message(place: Place) -> None:
    # RFC 1939 section 4 asks for a lock only where messages could change under a session
    await place.fill(41, 20)
    async with running(place) as live:
        first, second = await live.signed_in(), await live.signed_in()
        for client in (first, second):
            assert (await client.say("DELE 1")).startswith(b"+OK")
        first.send(b"QUIT\r\n")
        assert (await first.rest()).startswith(b"+OK")
        # The other still lists and reads what it saw at its beginning.
        second.send(b"RSET\r\nLIST 1\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
        said = await second.rest()
        assert b"+OK 1 41\r\n" + wire(41, None) in said
        assert said.splitlines()[-1].startswith(b"+OK")
    assert await place.sizes() == [20]


@pytest.mark.parametrize(
    ("said", "end", "marked"),
    [
        (b"RETR 2\r\nRETR 3\r\n", "QUIT", {2, 3}),
        (b"RETR 2\r\nDELE 2\r\n", "QUIT", {2}),
        (b"RETR 2\r\nDELE 2\r\n", "", {2}),
        (b"RETR 2\r\nRSET\r\n", "", {2}),
        # A client that says nothing more may not have got it: it is offered again.
        (b"RETR 1\r\nRETR 2\r\n", "", {1}),
        (b"TOP 1 0\r\nTOP 2 1000\r\nLIST\r\nUIDL\r\n", "QUIT", set()),
        (b"RETR 9\r\nDELE 1\r\n", "QUIT", set()),
    ],
)
async def test_what_was_retrieved_whole_is_kept(
    own_place: Place, said: bytes, end: str, marked: set[int]
) -> None:
    await own_place.fill(10, 20, 300_000)
    async with running(own_place) as live:
        client = await live.signed_in()
        for command in said.splitlines(keepends=True):
            client.send(command)
            await client.answer(command)
        assert own_place.marked() == set()  # nothing is written before the end
        if end:
            assert (await client.say(end)).startswith(b"+OK")
            assert own_place.marked() == marked  # before the answer
        client.leave()
        await live.emptied()
    assert own_place.marked() == marked


async def test_a_message_removed_for_good_in_the_middle_is_never_half_a_message(
    own_place: Place,
) -> None:
    await own_place.fill(16_000_000)
    async with running(own_place) as live:
        client = await live.signed_in()
        client.send(b"RETR 1\r\nNOOP\r\n")
        assert await client.line() == b"+OK 16000000 octets\r\n"
        with sqlite3.connect(own_place.file) as database:
            for table in ("body_chunk", "body", "message"):
                database.execute(f"DELETE FROM {table}")
        database.close()
        try:
            said = await client.rest()
        except ConnectionError:
            said = b""
        assert not said.endswith(b"\r\n.\r\n")
        assert b"+OK" not in said
        await live.emptied()


async def test_a_client_that_talks_on_behind_quit_gets_its_answer(place: Place) -> None:
    await place.fill(10)
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"DELE 1\r\nQUIT\r\n")
        client.send(b"NOOP\r\n" * 1000)
        assert [line[:3] for line in (await client.rest()).splitlines()] == [b"+OK", b"+OK"]
    assert await place.sizes() == []


async def test_a_flood_of_commands_is_answered_in_order(place: Place) -> None:
    await place.fill(10)
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"LIST 1\r\n" * 20_000 + b"STAT\r\n")
        assert set(await client.lines(20_000)) == {b"+OK 1 10\r\n"}
        assert await client.line() == b"+OK 1 10\r\n"


async def test_a_damaged_small_message_is_refused_and_the_session_goes_on(place: Place) -> None:
    await place.fill(41)
    place.damage()
    async with running(place) as live:
        client = await live.signed_in()
        assert (await client.say("RETR 1")).startswith(b"-ERR [SYS/TEMP] ")
        assert (await client.say("STAT")) == b"+OK 1 41\r\n"


async def test_a_damaged_large_message_is_broken_off_without_its_dot(
    place: Place, events: Events
) -> None:
    await place.fill(600_000)
    place.damage()
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"RETR 1\r\nNOOP\r\n")
        try:
            said = await client.rest()
        except ConnectionError:
            said = b""
        assert not said.endswith(b"\r\n.\r\n")
        assert b"+OK done" not in said
        await live.emptied()
    assert [event["log_level"] for event in events if event["event"] == "pop3.unread"] == ["error"]
    [end] = ends(events)
    assert end["why"] == "message broken off"
    assert end["retr"] == "0/0"


async def test_a_message_that_is_gone_is_refused(place: Place) -> None:
    await place.fill(41)
    async with running(place) as live:
        client = await live.signed_in()
        with sqlite3.connect(place.file) as database:
            database.execute("UPDATE message SET uid = randomblob(16) WHERE folder = 0")
            database.execute(
                "UPDATE maildrop SET modseq = modseq + 1, tombstone_floor = modseq + 1"
            )
        database.close()
        assert (await client.say("RETR 1")).startswith(b"-ERR [SYS/TEMP] ")
        assert (await client.say("STAT")) == b"+OK 1 41\r\n"


async def test_an_unexpected_fault_is_temporary_and_ends_the_session(
    own_place: Place, events: Events
) -> None:
    await own_place.fill(41)
    async with running(own_place) as live:
        client = await live.signed_in()
        await asyncio.to_thread(own_place.store.close)
        assert (await client.say("RETR 1")).startswith(b"-ERR [SYS/TEMP] local fault")
        assert await client.rest() == b""
        await live.emptied()
    assert [event["log_level"] for event in events if event["event"] == "pop3.fault"] == ["error"]
    assert [end["why"] for end in ends(events)] == ["fault"]


@pytest.mark.parametrize(
    ("limits", "said", "why"),
    [
        (Pop3Limits(login_s=0.2), b"", "login time"),
        (Pop3Limits(idle_s=0.2), SIGN_IN + b"DELE 1\r\n", "idle"),
        (Pop3Limits(session_s=1), SIGN_IN + b"DELE 1\r\n", "session time"),
    ],
)
async def test_a_client_out_of_time_is_closed_without_a_word(
    place: Place, events: Events, limits: Pop3Limits, said: bytes, why: str
) -> None:
    # RFC 1939 section 3: the server closes and sends no response, and removes nothing
    await place.fill(10)
    async with running(place, limits) as live:
        client = await live.client()
        client.send(said)
        answers = (await client.rest()).splitlines()
        assert [line[:3] for line in answers] == [b"+OK"] * said.count(b"\r\n")
        await live.emptied()
    assert [end["why"] for end in ends(events)] == [why]
    assert await place.sizes() == [10]


@pytest.mark.parametrize("command", [b"RETR 1\r\n", b"UIDL\r\n" * 20_000])
async def test_a_client_that_does_not_read_is_cut(
    place: Place, events: Events, command: bytes
) -> None:
    await place.fill(16_000_000, *[10] * 40)
    async with running(place, Pop3Limits(write_stall_s=0.3)) as live:
        client = await live.signed_in()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(command)
        await live.emptied()
    assert [end["why"] for end in ends(events)] == ["write stall"]


async def test_a_client_over_the_number_is_told_to_come_back(place: Place, events: Events) -> None:
    async with running(place, total=1) as live:
        first = await live.client()
        second = await live.client(greeting=b"-ERR [SYS/TEMP] too many connections; try again in ")
        assert await second.rest() == b""
        assert (await first.say("QUIT")).startswith(b"+OK")
        assert await first.rest() == b""
        await live.emptied()
        (await live.client()).leave()
        await live.emptied()
    assert sorted(end["why"] for end in ends(events)) == ["lost", "quit", "refused"]


async def test_a_client_that_has_signed_in_makes_room_for_a_stranger(place: Place) -> None:
    await place.fill()
    async with running(place, strangers=1) as live:
        first = await live.client()
        await live.client(greeting=b"-ERR [SYS/TEMP] ")
        await first.sign_in()
        second = await live.client()
        assert (await first.say("NOOP")).startswith(b"+OK")
        assert (await second.say("QUIT")).startswith(b"+OK")


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
async def test_a_browser_is_closed_without_a_word(place: Place, protocol: str) -> None:
    # RFC 7301 section 3.2: the client did not come for POP3
    async with running(place) as live:
        client = await live.client(alpn=protocol, greeting=b"")
        assert await client.rest() == b""
        await live.client(alpn="pop3")


async def test_draining_lets_a_session_end_and_takes_no_new_one(place: Place) -> None:
    await place.fill(10)
    async with running(place) as live:
        client = await live.signed_in()
        draining = asyncio.create_task(live.server.drain(WAIT_S))
        client.send(b"DELE 1\r\nQUIT\r\n")
        assert [line[:3] for line in (await client.rest()).splitlines()] == [b"+OK", b"+OK"]
        await draining
        with pytest.raises(ConnectionRefusedError):
            await live.client()
    assert await place.sizes() == []


async def test_draining_cuts_who_stays(place: Place, events: Events) -> None:
    await place.fill(10)
    async with running(place) as live:
        client = await live.signed_in()
        assert (await client.say("DELE 1")).startswith(b"+OK")
        await live.server.drain(0.1)
    assert [end["why"] for end in ends(events)] == ["shutdown"]
    assert await place.sizes() == [10]
