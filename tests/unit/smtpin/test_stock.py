"""Stock aiosmtpd beside ours.

Where it is right it is the oracle. Where it is not, the fault is shown: when one of these tests
fails after an upgrade, what we put in its place may go. Faults that take long to show are missing.
"""

import asyncio
import logging
import re
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd import smtp

from tests.unit.smtpin.listener import ANN, HOST, WAIT_S, Client, listening, send_message

KIB = 1024


class Keeper:
    """A handler that keeps contents in a list and takes every recipient."""

    def __init__(self) -> None:
        self.envelopes: list[smtp.Envelope] = []
        self.reply: str | Exception = "250 OK"

    async def handle_DATA(
        self, _server: smtp.SMTP, _session: smtp.Session, envelope: smtp.Envelope
    ) -> str:
        self.envelopes.append(envelope)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    @property
    def contents(self) -> list[str | bytes | None]:
        return [envelope.content for envelope in self.envelopes]


class Stock:
    def __init__(self, keeper: Keeper, port: int) -> None:
        self.keeper = keeper
        self.clients: list[Client] = []
        self._port = port

    async def dial(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self._port))
        self.clients.append(client)
        return client

    async def connect(self, hello: str | None = "EHLO client.example.net") -> Client:
        client = await self.dial()
        assert (await client.hear()).startswith("220 ")
        if hello:
            assert (await client.say(hello)).startswith("250")
        return client


@asynccontextmanager
async def stock(keeper: Keeper | None = None, **arguments: Any) -> AsyncIterator[Stock]:
    keeper = keeper or Keeper()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: smtp.SMTP(keeper, hostname=HOST, loop=loop, **arguments), "127.0.0.1"
    )
    running = Stock(keeper, server.sockets[0].getsockname()[1])
    try:
        yield running
    finally:
        server.close()
        for client in running.clients:
            client.reset()
            with suppress(ConnectionError):
                await client.writer.wait_closed()
        await asyncio.sleep(0)


def test_every_fault_of_aiosmtpd_has_its_test() -> None:
    tests = [path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    text = "".join(path.read_text("utf-8") for path in tests)
    found = {int(number) for number in re.findall(r"def test_d(\d\d)_", text)}
    assert found == set(range(1, 30))


CONTENTS = [
    b"",
    b"\r\n",
    b"..\r\n",
    b"Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n",
    b"Subject: x\r\n\r\n" + b"y" * 900 + b"\r\n.. \r\n",
]


@pytest.mark.parametrize("content", CONTENTS)
async def test_c1_agrees_with_aiosmtpd_about_plain_mail(content: bytes) -> None:
    async with listening() as listener, stock() as theirs:
        for client in (await listener.connect(), await theirs.connect()):
            assert (await send_message(client, content)).startswith("250 ")
    assert listener.shelf.contents == theirs.keeper.contents


async def test_d01_stock_takes_many_times_the_memory_of_many_lines() -> None:
    content = b"\r\n" * 16 * KIB
    async with stock() as theirs:
        client = await theirs.connect()
        tracemalloc.start()
        try:
            await send_message(client, content)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak > 20 * len(content)


async def test_d02_d03_stock_reads_on_far_beyond_the_limit() -> None:
    async with stock(data_size_limit=10 * KIB) as theirs:
        client = await theirs.connect()
        assert (await send_message(client, b"x" * 500 * KIB + b"\r\n")).startswith("500 ")
        assert (await send_message(client, b"x\r\n" * 200 * KIB)).startswith("552 ")


async def test_d04_stock_refuses_lines_that_real_mail_has() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        assert (await send_message(client, b"x" * 1100 + b"\r\n")).startswith("500 ")


async def test_d05_stock_keeps_bare_line_ends() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        assert (await send_message(client, b"a\n.\nb\r\n")).startswith("250 ")
    assert theirs.keeper.contents == [b"a\n.\nb\r\n"]


async def test_d06_stock_cuts_a_steady_upload_without_a_word() -> None:
    async with stock(timeout=0.1) as theirs:
        client = await theirs.connect()
        await client.begin()
        ended = asyncio.create_task(client.ended())
        while not ended.done():
            if not client.writer.is_closing():
                client.writer.write(b"x\r\n")
            await asyncio.sleep(0)
        assert ended.result()


async def test_d07_stock_tells_what_went_wrong_for_good_and_is_stuck_in_the_transaction() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        theirs.keeper.reply = RuntimeError("SELECT secret\r\n250 forged")
        reply = await send_message(client, b"x\r\n")
        assert reply == "500 Error: (RuntimeError) SELECT secret"
        assert await client.hear() == "250 forged"
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("503 ")


async def test_d08_stock_cancels_the_handler_when_the_client_stops_sending() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Slow(Keeper):
        async def handle_DATA(self, *_arguments: object) -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return "250 OK"

    async with stock(Slow()) as theirs:
        client = await theirs.connect()
        await client.begin()
        await client.send(b"x\r\n.\r\n")
        await asyncio.wait_for(begun.wait(), WAIT_S)
        client.writer.write_eof()
        await asyncio.wait_for(ended.wait(), WAIT_S)


async def test_d09_d14_stock_offers_tls_in_tls_and_logins(tls: ssl.SSLContext) -> None:
    async with stock(tls_context=tls) as theirs:
        client = await theirs.connect()
        await client.start_tls()
        assert "AUTH LOGIN PLAIN" in await client.say("EHLO client.example.net")
        assert (await client.say("STARTTLS")).startswith("220 ")


async def test_d13_stock_lets_one_client_change_the_limits_of_others() -> None:
    async with stock() as theirs:
        first, second = await theirs.connect(), await theirs.connect()
        line = "MAIL FROM:<a@b.example> " + "X" * 800
        assert (await second.say(line)).startswith("500 Command line too long")
        for _ in range(100):
            await first.say("EHLO client.example.net")
        assert (await second.say(line)).startswith("555 ")


async def test_d15_d16_d17_stock_tells_more_than_it_should_and_less_than_it_can() -> None:
    async with stock() as theirs:
        client = await theirs.dial()
        assert await client.hear() == f"220 {HOST} Python SMTP {smtp.__version__}"
        extensions = await client.say("EHLO client.example.net")
        assert "PIPELINING" not in extensions
        assert "HELP" in extensions
        assert "Supported commands" in await client.say("HELP")
        assert (await client.say("VRFY @")).endswith("VRFY @")


async def test_d18_d19_stock_mends_addresses_and_has_a_null_sender_of_text() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        for path in ("<ann@example.org", "<ann@example.org> (comment)", "<a\rnn@example.org>"):
            assert (await client.say(f"MAIL FROM:{path}")).startswith("250 "), path
            await client.say("RSET")
        await client.begin("<>")
        assert (await client.say("x\r\n.")).startswith("250 ")
    assert theirs.keeper.envelopes[0].mail_from == "<>"


async def test_d20_d21_d23_stock_counts_nothing() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        await client.say("MAIL FROM:<bob@example.net>")
        for command, reply in (
            (f"RCPT TO:<{ANN}>", "250 "),
            ("NOOP", "250 "),
            ("", "500 "),
            ("NOOP " + "x" * 2000, "500 "),
        ):
            for _ in range(120):
                assert (await client.say(command)).startswith(reply)


async def test_d22_stock_takes_a_bare_lf_and_a_nul_in_commands() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        await client.send(b"NOOP\nNOOP \0\r\n")
        assert [await client.hear() for _ in range(2)] == ["250 OK", "250 OK"]


async def test_d24_d25_stock_delivers_mail_inside_an_http_request() -> None:
    request = (
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<bob@example.net>\r\n"
        f"RCPT TO:<{ANN}>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
    )
    async with stock() as theirs:
        client = await theirs.dial()
        await client.send(request.encode())
        while not (await client.hear()).startswith("221 "):
            pass
    assert theirs.keeper.contents == [b"x\r\n"]


async def test_d26_stock_has_room_for_everyone() -> None:
    async with stock() as theirs:
        for _ in range(50):
            await theirs.connect(hello=None)


async def test_d27_stock_cannot_say_a_reply_that_is_not_ascii() -> None:
    async with stock() as theirs:
        client = await theirs.connect()
        theirs.keeper.reply = "250 später"
        assert (await send_message(client, b"x\r\n")).startswith("500 Error: (UnicodeEncodeError)")


async def test_d29_stock_logs_commands(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("mail.log")
    before = logger.level
    try:
        with caplog.at_level(logging.INFO, "mail.log"):
            async with stock() as theirs:
                client = await theirs.connect()
                await client.say("NOOP confidential")
    finally:
        logger.setLevel(before)
    assert "confidential" in caplog.text
