"""The session against real sockets. A name with a D-number mends that fault of stock aiosmtpd.

Expectations come from RFC 5321, RFC 3463 (enhanced codes) and the RFCs named at each test.
"""

import asyncio
import logging
import socket
import ssl
import tracemalloc
from contextlib import suppress

import pytest
from aiosmtpd import smtp

from mail.address import Address
from mail.errors import NotFound, OverQuota, StorageBusy, StorageFull, TooMany
from net.limits import OctetBudget
from smtpin.data import LINE_OCTETS
from smtpin.handler import Limits
from tests.unit.smtpin.listener import ANN, HOST, WAIT_S, Client, Listener, Shelf, listening, spent

KIB = 1024
MIB = 1024 * 1024
SMALL = Limits(message_octets=256 * KIB)


async def send_message(client: Client, content: bytes) -> str:
    """The reply to a whole transaction; `content` is dot-stuffed already."""
    await client.begin()
    await client.send(content + b".\r\n")
    return await client.hear()


# D01 to D08.


async def test_d01_memory_does_not_grow_with_the_number_of_lines() -> None:
    content = b"\r\n" * MIB
    async with listening() as listener:
        client = await listener.connect()
        tracemalloc.start()
        try:
            reply = await send_message(client, content)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert reply.startswith("250 2.0.0 ")
        assert listener.shelf.contents == [content]
        # The client's own copies count here too; one object a line would be 60 MiB.
        assert peak < 6 * len(content)


async def test_d02_a_line_without_an_end_is_bounded_by_the_size_limit() -> None:
    async with listening(SMALL) as listener:
        client = await listener.connect()
        await client.begin()
        tracemalloc.start()
        try:
            await client.send(b"x" * (2 * SMALL.message_octets + 10))
            assert (await client.hear()).startswith("552 5.3.4 ")
            assert await client.ended()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * SMALL.message_octets
    assert listener.shelf.arrivals == []
    assert [end["why"] for end in listener.events("smtp.end")] == ["too large"]


async def test_d02_octets_are_taken_from_the_budget_as_they_come() -> None:
    async with listening(budget=OctetBudget(100 * KIB)) as listener:
        client = await listener.connect()
        # RFC 1870 section 6.3: what was declared binds nobody.
        assert (await client.say("MAIL FROM:<> SIZE=10")).startswith("250 ")
        assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("250 ")
        assert (await client.say("DATA")).startswith("354 ")
        await client.send(b"x" * 200 * KIB + b"\r\n.\r\n")
        assert (await client.hear()).startswith("452 4.3.1 ")
        assert spent(listener.budget, 100 * KIB) == 0
        assert (await send_message(client, b"small\r\n")).startswith("250 ")
        assert spent(listener.budget, 100 * KIB) == 0
    assert listener.shelf.contents == [b"small\r\n"]


async def test_d02_the_budget_is_held_until_the_message_is_kept_and_given_back_on_a_drop() -> None:
    shelf = Shelf()
    async with listening(shelf=shelf, budget=OctetBudget(100 * KIB)) as listener:
        held: list[int] = []

        async def look() -> None:
            held.append(spent(listener.budget, 100 * KIB))

        shelf.on_deliver = look
        client = await listener.connect()
        assert (await send_message(client, b"x" * 50 * KIB + b"\r\n")).startswith("250 ")
        assert held[0] >= 50 * KIB
        await client.begin()
        await client.send(b"x" * 50 * KIB)
        client.reset()
    assert spent(listener.budget, 100 * KIB) == 0


async def test_d02_what_is_only_discarded_holds_no_budget() -> None:
    limits = Limits(message_octets=256 * KIB, refusals=1000)
    async with listening(limits, budget=OctetBudget(300 * KIB)) as listener:
        endless, good = await listener.connect(), await listener.connect()
        await endless.begin()
        await endless.send(b"x" * 290 * KIB)
        # Tried again until the server has read all that; the other message is not over yet.
        heard = [await send_message(good, b"yy\r\n" * 50 * KIB) for _ in range(5)]
        endless.reset()
        assert heard[-1].startswith("250 ")


async def test_d03_past_the_limit_it_reads_to_the_dot_and_goes_on() -> None:
    async with listening(SMALL) as listener:
        client = await listener.connect()
        reply = await send_message(client, b"x" * (2 * SMALL.message_octets - 10) + b"\r\n")
        assert reply.startswith("552 5.3.4 ")
        assert (await send_message(client, b"small\r\n")).startswith("250 ")
    assert listener.shelf.contents == [b"small\r\n"]


async def test_d03_a_message_of_exactly_the_limit_is_kept() -> None:
    # RFC 1870 section 5: the dots that stuffing adds do not count.
    lines = b"." * (SMALL.message_octets // 1024 - 2) + b"\r\n"
    async with listening(SMALL) as listener:
        client = await listener.connect()
        content = lines * (SMALL.message_octets // len(lines) - 1)
        content += b"x" * (SMALL.message_octets - len(content) - 2) + b"\r\n"
        stuffed = content.replace(lines, b"." + lines)
        assert (await send_message(client, stuffed)).startswith("250 ")
        assert (await send_message(client, b"x" + stuffed)).startswith("552 5.3.4 ")
    assert listener.shelf.contents == [content]


async def test_d04_real_mail_with_long_lines_is_taken() -> None:
    content = b"Subject: x\r\n\r\n" + b"y" * (LINE_OCTETS - 2) + b"\r\n"
    async with listening() as listener:
        client = await listener.connect()
        assert (await send_message(client, content)).startswith("250 ")
        assert (await send_message(client, b"y" + content[14:])).startswith("554 5.6.0 ")
        assert (await send_message(client, b"a: \0\r\n\r\n")).startswith("550 5.6.0 ")
        assert (await send_message(client, b"a: b\r\n\r\n\0\r\n")).startswith("250 ")
    assert listener.shelf.contents == [content, b"a: b\r\n\r\n\0\r\n"]


async def test_d05_content_is_canonical_with_dots_undone_first() -> None:
    async with listening() as listener:
        client = await listener.connect()
        wire = b"..one\n..two\r..three\n.\nfour\r.\rfive\r\n..six\r\n"
        assert (await send_message(client, wire)).startswith("250 ")
    [content] = listener.shelf.contents
    assert content == b".one\r\n..two\r\n..three\r\n.\r\nfour\r\n.\r\nfive\r\n.six\r\n"


async def test_d06_a_steady_upload_may_take_longer_than_a_command() -> None:
    async with listening(Limits(command_s=0.1, stretch_s=0.1, stretch_octets=50)) as listener:
        client = await listener.connect()
        await client.begin()
        loop = asyncio.get_running_loop()
        started = loop.time()
        while loop.time() - started < 0.25:
            await client.send(b"x" * 98 + b"\r\n")
            await asyncio.sleep(0)
        await client.send(b".\r\n")
        assert (await client.hear()).startswith("250 ")


@pytest.mark.parametrize(
    "limits",
    [
        Limits(stretch_s=0.1, stretch_octets=10**9),  # too slow
        Limits(message_s=0.1, stretch_octets=1),  # fast enough, but for ever
    ],
)
async def test_d06_too_slow_a_message_is_told_so_and_closed(limits: Limits) -> None:
    async with listening(limits) as listener:
        client = await listener.connect()
        await client.begin()
        heard = asyncio.create_task(client.hear())
        while not heard.done() and not client.writer.is_closing():
            client.writer.write(b"x")
            await asyncio.sleep(0)
        await heard
        assert heard.result().startswith("421 4.4.2 ")
    assert listener.shelf.arrivals == []
    assert [end["why"] for end in listener.events("smtp.end")] == ["timeout"]


async def test_d06_silence_is_told_so_and_closed() -> None:
    async with listening(Limits(command_s=0.1)) as listener:
        client = await listener.connect()
        assert (await client.hear()).startswith("421 4.4.2 ")
        assert await client.ended()
    async with listening(Limits(stretch_s=0.1)) as listener:
        client = await listener.connect()
        await client.begin()
        assert (await client.hear()).startswith("421 4.4.2 ")
        assert await client.ended()


async def test_d06_no_timer_runs_while_the_message_is_kept() -> None:
    done = asyncio.Event()
    shelf = Shelf()

    async def slow() -> None:
        asyncio.get_running_loop().call_later(0.25, done.set)
        await done.wait()

    shelf.on_deliver = slow
    limits = Limits(command_s=0.1, stretch_s=0.1, message_s=0.1)
    async with listening(limits, shelf=shelf) as listener:
        client = await listener.connect()
        assert (await send_message(client, b"x\r\n")).startswith("250 ")
        assert (await client.hear()).startswith("421 4.4.2 ")


async def test_d06_a_commit_that_takes_for_ever_ends_without_a_reply() -> None:
    kept = asyncio.Event()
    shelf = Shelf()

    async def slow() -> None:
        await kept.wait()

    shelf.on_deliver = slow
    async with listening(Limits(keep_s=0.1), shelf=shelf) as listener:
        client = await listener.connect()
        await client.begin()
        await client.send(b"x\r\n.\r\n")
        assert await client.ended()
        kept.set()
    assert shelf.contents == [b"x\r\n"]
    assert len(listener.events("smtp.kept")) == 1


async def test_d07_a_fault_is_temporary_constant_and_forgets_the_transaction() -> None:
    shelf = Shelf()

    async def fault() -> None:
        raise RuntimeError("SELECT secret\r\n250 2.0.0 forged")

    shelf.on_deliver = fault
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        assert await send_message(client, b"x\r\n") == "451 4.3.0 local fault, try again"
        shelf.on_deliver = None
        # RFC 5321 section 4.1.1.4: the buffers are clear, so a new transaction may begin.
        assert (await send_message(client, b"y\r\n")).startswith("250 ")
        assert await client.say("QUIT") == "221 2.0.0 bye"
    [logged] = listener.events("smtp.fault")
    assert logged["log_level"] == "error"
    assert isinstance(logged["exc_info"], RuntimeError)


async def test_d07_a_fault_at_one_recipient_refuses_no_other_for_good() -> None:
    shelf = Shelf()

    async def fault(address: Address) -> None:
        if address.local == "broken":
            raise KeyError("row")

    shelf.on_resolve = fault
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        await client.send(
            b"MAIL FROM:<>\r\nRCPT TO:<broken@example.org>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
        )
        heard = [(await client.hear())[:9] for _ in range(4)]
        assert heard == ["250 2.1.0", "451 4.3.0", "250 2.1.5", "354 end t"]
        assert (await client.say("x\r\n.")).startswith("250 ")


async def test_d07_a_failure_without_a_row_is_ours_too() -> None:
    shelf = Shelf()

    async def fault() -> None:
        raise NotFound("cannot happen\r\n250 ok")

    shelf.on_deliver = fault
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        assert await send_message(client, b"x\r\n") == "451 4.3.0 local fault, try again"


async def test_d07_a_fault_inside_a_message_makes_no_commands_of_the_rest() -> None:
    class Faulty(OctetBudget):
        def take(self, octets: int) -> bool:
            raise RuntimeError("out of order")

    async with listening(budget=Faulty(0)) as listener:
        client = await listener.connect()
        await client.begin()
        await client.send(b"x\r\nNOOP\r\n")
        assert await client.hear() == "451 4.3.0 local fault, try again"
        assert await client.ended()
    assert [end["why"] for end in listener.events("smtp.end")] == ["fault"]


async def kept_while(listener: Listener, leave: str) -> Client:
    """A client that leaves at the moment its message is being kept."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def deliver() -> None:
        begun.set()
        await go_on.wait()

    listener.shelf.on_deliver = deliver
    client = await listener.connect()
    await client.begin()
    await client.send(b"x\r\n.\r\n" + (b"QUIT\r\n" if leave == "quit" else b""))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    if leave == "half-close":
        client.writer.write_eof()
    if leave == "reset":
        client.reset()
    # The server sees it before the delivery ends: a second client's whole session fits between.
    other = await listener.connect()
    assert (await other.say("QUIT")).startswith("221 ")
    assert await other.ended()
    go_on.set()
    return client


async def test_d08_who_only_stops_sending_still_gets_the_250() -> None:
    async with listening() as listener:
        client = await kept_while(listener, "half-close")
        assert (await client.hear()).startswith("250 2.0.0 kept as ")
        assert await client.ended()
    assert listener.shelf.contents == [b"x\r\n"]


async def test_d08_a_lost_connection_cancels_no_commit() -> None:
    async with listening() as listener:
        await kept_while(listener, "reset")
    assert listener.shelf.contents == [b"x\r\n"]
    assert len(listener.events("smtp.kept")) == 1
    assert [end["why"] for end in listener.events("smtp.end")] == ["quit", "lost"]


async def test_d08_quit_behind_the_dot_cancels_no_commit() -> None:
    async with listening() as listener:
        client = await kept_while(listener, "quit")
        assert (await client.hear()).startswith("250 2.0.0 kept as ")
        assert (await client.hear()).startswith("221 2.0.0 ")
        assert await client.ended()
    assert listener.shelf.contents == [b"x\r\n"]


@pytest.mark.parametrize("octets", [b"", b"x", b"x\r\n", b"x\r\n.", b"x\r\n.\r", b"x\r\n.\n"])
async def test_d08_input_that_ends_inside_a_message_stores_nothing(octets: bytes) -> None:
    async with listening() as listener:
        for leave in (Client.reset, lambda client: client.writer.write_eof()):
            client = await listener.connect()
            await client.begin()
            await client.send(octets)
            leave(client)
            assert await client.ended()
    assert listener.shelf.arrivals == []
    assert [end["why"] for end in listener.events("smtp.end")] == ["lost", "lost"]


# STARTTLS.


async def test_d09_starttls_inside_tls_is_out_of_order(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        # RFC 3207 section 4.2: the server forgets, EHLO comes again and offers it no more.
        assert (await client.say("MAIL FROM:<>")).startswith("503 5.5.1 ")
        assert "STARTTLS" not in await client.say("EHLO client.example.net")
        assert (await client.say("STARTTLS")).startswith("503 5.5.1 ")
        assert (await send_message(client, b"x\r\n")).startswith("250 ")
    [arrival] = listener.shelf.arrivals
    assert arrival.protocol == "ESMTPS"
    assert arrival.cipher is not None


async def test_d10_plain_text_behind_starttls_ends_the_session(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        for behind in (b"NOOP\r\n", b"x" * 4000):
            client = await listener.connect()
            await client.send(b"STARTTLS\r\n" + behind)
            assert (await client.hear()).startswith("421 4.5.0 ")
            assert await client.ended()


@pytest.mark.parametrize("octets", [b"", b"GET / HTTP/1.1\r\n\r\n"])
async def test_d11_a_handshake_that_does_not_come_is_cut(
    tls: ssl.SSLContext, octets: bytes
) -> None:
    async with listening(Limits(handshake_s=0.2), tls=tls) as listener:
        client = await listener.connect()
        assert (await client.say("STARTTLS")).startswith("220 ")
        await client.send(octets)
        with suppress(ConnectionError):
            await asyncio.wait_for(client.reader.read(), WAIT_S)  # at most an alert
    assert len(listener.events("smtp.end")) == 1
    assert listener.connections.open == 0


async def test_d11_who_leaves_in_the_handshake_is_let_go(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        for leave in (Client.reset, lambda client: client.writer.write_eof()):
            client = await listener.connect()
            assert (await client.say("STARTTLS")).startswith("220 ")
            leave(client)
            assert await client.ended()
    assert [end["why"] for end in listener.events("smtp.end")] == ["no handshake"] * 2
    assert listener.connections.open == 0


async def test_d12_what_was_counted_before_tls_still_counts(tls: ssl.SSLContext) -> None:
    async with listening(Limits(refusals=3), tls=tls) as listener:
        client = await listener.connect()
        for _ in range(2):
            assert (await client.say("NONSENSE")).startswith("500 ")
        await client.start_tls()
        assert (await client.say("NONSENSE")).startswith("500 ")
        assert (await client.hear()).startswith("421 4.7.0 ")
    assert [end["refused"] for end in listener.events("smtp.end")] == [4]


async def test_starttls_without_a_certificate_is_neither_offered_nor_done() -> None:
    async with listening() as listener:
        client = await listener.connect(hello=None)
        assert "STARTTLS" not in await client.say("EHLO client.example.net")
        assert (await client.say("STARTTLS")).startswith("454 4.7.0 ")
        assert (await client.say("NOOP")).startswith("250 ")


# Commands.


async def test_d13_one_client_changes_no_limit_of_another() -> None:
    async with listening() as listener:
        first, second = await listener.connect(), await listener.connect()
        for _ in range(200):
            await first.say("EHLO client.example.net")
        for verb in ("ONE", "TWO", "THREE"):
            await first.say(verb)
        assert (await second.say("MAIL FROM:<a@b.example> " + "X" * 1000)).startswith("500 5.5.2 ")


async def test_d14_logins_do_not_exist_here(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        assert "AUTH" not in await client.say("EHLO client.example.net")
        assert (await client.say("AUTH PLAIN AGEAYg==")).startswith("500 5.5.1 ")


async def test_d15_d16_greeting_and_extensions_say_what_is_so(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect(hello=None)
        lines = (await client.say("EHLO client.example.net")).split("\n")
        assert lines[0] == f"250-{HOST}"
        assert {line[4:] for line in lines[1:]} == {
            f"SIZE {50 * MIB}",
            "8BITMIME",
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "STARTTLS",
        }
        assert await client.say("HELO client.example.net") == f"250 {HOST}"


async def test_d17_nothing_is_told_about_commands_or_addresses() -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say("HELP")).startswith("500 5.5.1 ")
        assert (await client.say("EXPN list")).startswith("500 5.5.1 ")
        known, unknown = await client.say(f"VRFY {ANN}"), await client.say("VRFY nobody\x7f")
        assert known.startswith("252 2.0.0 ")
        assert "ann" not in known
        assert unknown.startswith("500 5.5.2 ")
        assert await client.say("VRFY nobody") == known


BAD_PATHS = [
    "ann@example.org",
    "<ann@example.org",
    "<ann@example.org>x",
    "<ann@example.org> (comment)",
    "<ann@example.org>,<bob@example.org>",
    "<(comment)ann@example.org>",
    "<ann @example.org>",
    "<ann@@example.org>",
    "<ann>",
    "<>>",
    f"<{'x' * 65}@example.org>",
    f"<ann@{'x' * 64}.example>",
]


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_d18_an_address_is_never_mended(path: str) -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say(f"MAIL FROM:{path}"))[:1] == "5"
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("250 ")
        assert (await client.say(f"RCPT TO:{path}"))[:1] == "5"
        assert (await client.say("DATA")).startswith("503 5.5.1 ")


async def test_d18_paths_that_must_be_accepted() -> None:
    async with listening() as listener:
        client = await listener.connect()
        # RFC 5321 section 4.1.1.3 and appendix C.
        assert (await client.say("MAIL FROM:<@a.example,@b.example:bob@example.net>"))[:3] == "250"
        assert (await client.say("RCPT TO:<Postmaster>")).startswith("250 2.1.5 ")
        assert (await client.say("RCPT TO:<@a.example:ann@example.org>")).startswith("250 ")
        assert (await client.say("RCPT TO:<>")).startswith("553 5.1.3 ")
        assert (await client.say("RSET")).startswith("250 2.0.0 ")
        assert (await client.say("MAIL FROM:<Postmaster>")).startswith("553 5.1.7 ")
        assert (await client.say("MAIL FROM:<bob>")).startswith("553 5.1.7 ")


async def test_d19_the_null_sender_is_none_and_counts_as_given() -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say("MAIL FROM:<>")).startswith("250 2.1.0 ")
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("503 5.5.1 ")
        assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("250 ")
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say("x\r\n.")).startswith("250 ")
    [arrival] = listener.shelf.arrivals
    assert arrival.sender is None


async def test_d20_recipients_past_the_limit_are_for_later() -> None:
    async with listening(Limits(recipients=3, refusals=2)) as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        for _ in range(3):
            assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("250 ")
        for _ in range(5):  # RFC 5321 section 4.5.3.1.10; not counted as refused commands
            assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("452 4.5.3 ")
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say("x\r\n.")).startswith("250 ")
    [arrival] = listener.shelf.arrivals
    assert len(arrival.recipients) == 3


@pytest.mark.parametrize("line", ["NOOP a\rb", "NOOP a\0b", "NO\0OP", "NOOP \xe9", ""])
async def test_d22_a_command_is_printable_ascii(line: str) -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say(line)).startswith("500 5.5.2 ")
        assert (await client.say("NOOP")).startswith("250 ")


async def test_d22_a_bare_lf_ends_no_command_but_the_session() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        await client.send(b"RCPT TO:<ann@example.org>\nDATA\r\n")
        assert (await client.hear()).startswith("500 5.5.2 ")
        assert await client.ended()


async def test_d23_overlong_commands_are_counted() -> None:
    async with listening(Limits(refusals=2)) as listener:
        client = await listener.connect()
        assert (await client.say("NOOP " + "x" * 993)).startswith("250 ")  # 1,000 with CRLF
        for _ in range(2):
            assert (await client.say("NOOP " + "x" * 994)).startswith("500 5.5.2 ")
        assert (await client.hear()).startswith("421 4.7.0 ")
        assert await client.ended()


async def test_d23_a_command_that_never_ends_is_cut() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.send(b"x" * (64 * KIB + 1))
        assert (await client.hear()).startswith("500 5.5.2 ")
        assert await client.ended()


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "post /", "CONNECT x:25", "\x16\x03\x01", " NOOP"]
)
async def test_d24_another_protocol_is_shown_the_door(line: str) -> None:
    async with listening() as listener:
        client = await listener.connect(hello=None)
        assert (await client.say(line)).startswith("421 4.5.0 ")
        assert await client.ended()


async def test_d24_mail_inside_an_http_request_goes_nowhere() -> None:
    request = (
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n"
        f"RCPT TO:<{ANN}>\r\nDATA\r\nx\r\n.\r\n"
    )
    async with listening() as listener:
        client = await listener.connect(hello=None)
        await client.send(request.encode())
        assert (await client.hear()).startswith("421 4.5.0 ")
    assert listener.shelf.arrivals == []


@pytest.mark.parametrize("command", [b"EHLO client.example.net", b"DATA"])
async def test_d25_what_ends_a_group_has_nothing_behind_it(command: bytes) -> None:
    # RFC 2920 section 3.1.
    async with listening() as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        await client.say(f"RCPT TO:<{ANN}>")
        await client.send(command + b"\r\nx\r\n.\r\n")
        assert (await client.hear()).startswith("421 4.5.0 ")
    assert listener.shelf.arrivals == []


async def test_d25_the_server_speaks_first() -> None:
    async with listening() as listener:
        # Sent before the server has had a turn to accept.
        with socket.create_connection(("127.0.0.1", listener.port)) as connection:
            connection.sendall(b"EHLO client.example.net\r\n")
            connection.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=connection.dup())
            client = Client(reader, writer)
            listener.clients.append(client)
            assert (await client.hear()).startswith("421 4.5.0 ")


async def test_d26_connections_past_the_limit_are_told_before_the_greeting() -> None:
    async with listening(per_client=2) as listener:
        first, _second = await listener.connect(), await listener.connect()
        third = await listener.dial()
        assert (await third.hear()).startswith("421 4.7.0 ")
        assert await third.ended()
        first.reset()
        assert await first.ended()
        # The place is free as soon as the server has seen the reset.
        while listener.connections.open > 1:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)
        await listener.connect()
    assert listener.connections.open == 0
    assert len(listener.events("smtp.end")) == 4


async def test_d27_a_failure_with_any_text_is_one_line_of_ascii() -> None:
    shelf = Shelf()

    async def fault() -> None:
        raise TooMany("später\r\n250 2.0.0 kept", retry_after_s=1)

    shelf.on_deliver = fault
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        assert await send_message(client, b"x\r\n") == "421 4.7.0 sp?ter??250 2.0.0 kept"
        assert await client.ended()


async def test_d29_no_command_and_no_content_is_logged(
    caplog: pytest.LogCaptureFixture, tls: ssl.SSLContext
) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        await client.say("EHLO client.example.net")
        await send_message(client, b"Subject: confidential\r\n\r\nconfidential\r\n")
        await client.say("NOOP confidential")
        await client.say("QUIT")
        assert await client.ended()
    assert [record for record in caplog.records if record.name == "mail.log"] == []
    assert "confidential" not in f"{listener.log}"


# What a session is.


async def test_a_group_of_commands_gets_its_replies_in_order() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.send(
            b"RSET\r\nMAIL FROM:<bob@example.net> SIZE=100 BODY=8BITMIME\r\n"
            b"RCPT TO:<nobody@example.org>\r\nRCPT TO:<ann@example.org>\r\n"
            b"RCPT TO:<ann@elsewhere.example>\r\nNOOP\r\nDATA\r\n"
        )
        heard = [(await client.hear())[:9] for _ in range(7)]
        assert heard == [
            "250 2.0.0",
            "250 2.1.0",
            "550 5.1.1",
            "250 2.1.5",
            "550 5.7.1",
            "250 2.0.0",
            "354 end t",
        ]
        # The next group may come in one piece with the end of the message.
        await client.send(
            b"Subject: x\r\n\r\ny\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n"
        )
        heard = [(await client.hear())[:9] for _ in range(3)]
        assert heard == ["250 2.0.0", "250 2.1.0", "250 2.1.5"]
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say(".")).startswith("250 2.0.0 ")
    first, second = listener.shelf.arrivals
    assert (str(first.sender), first.helo, first.protocol) == (
        "bob@example.net",
        "client.example.net",
        "ESMTP",
    )
    assert (first.peer_ip, first.cipher) == ("127.0.0.1", None)
    assert [str(recipient.address) for recipient in first.recipients] == [ANN]
    assert first.content == b"Subject: x\r\n\r\ny\r\n"
    assert second.content == b""


async def test_a_message_may_come_octet_by_octet() -> None:
    async with listening() as listener:
        client = await listener.connect("HELO client.example.net")
        await client.begin()
        for octet in b"Subject: x\r\n\r\n..y\r\n.\r\nQUIT\r\n":
            await client.send(bytes([octet]))
            await asyncio.sleep(0)
        assert (await client.hear()).startswith("250 2.0.0 ")
        assert (await client.hear()).startswith("221 2.0.0 ")
    [arrival] = listener.shelf.arrivals
    assert arrival.protocol == "SMTP"
    assert arrival.content == b"Subject: x\r\n\r\n.y\r\n"


async def test_commands_out_of_order_are_503() -> None:
    async with listening(Limits(refusals=100)) as listener:
        client = await listener.connect(hello=None)
        for command in ("MAIL FROM:<>", "RCPT TO:<ann@example.org>", "DATA"):
            assert (await client.say(command)).startswith("503 5.5.1 ")
        for command in ("NOOP", "RSET", "VRFY ann"):  # RFC 5321 section 4.1.4: before EHLO too
            assert (await client.say(command))[:3] in ("250", "252")
        assert (await client.say("EHLO")).startswith("501 ")
        assert (await client.say("EHLO two names")).startswith("501 ")
        assert (await client.say("EHLO client.example.net")).startswith("250-")
        assert (await client.say("RCPT TO:<ann@example.org>")).startswith("503 5.5.1 ")
        assert (await client.say("MAIL FROM:<>")).startswith("250 ")
        assert (await client.say("MAIL FROM:<>")).startswith("503 5.5.1 ")
        assert (await client.say("DATA")).startswith("503 5.5.1 ")
        assert (await client.say("RCPT TO:<ann@example.org>")).startswith("250 ")
        assert (await client.say("DATA now")).startswith("501 5.5.4 ")
        # RFC 5321 section 4.1.4: EHLO in the middle is as RSET.
        assert (await client.say("EHLO client.example.net")).startswith("250-")
        assert (await client.say("DATA")).startswith("503 5.5.1 ")
        assert (await client.say("QUIT now")).startswith("501 5.5.4 ")
        assert (await client.say("QUIT")).startswith("221 2.0.0 ")


async def test_parameters_of_mail_and_rcpt() -> None:
    async with listening(SMALL) as listener:
        client = await listener.connect()
        # RFC 1870 section 6.1, RFC 6152 section 2, RFC 5321 section 4.1.1.11.
        refused = {
            "MAIL FROM:<> SIZE=262145": "552 5.3.4",
            "MAIL FROM:<> SIZE=x": "501 5.5.4",
            "MAIL FROM:<> SIZE": "501 5.5.4",
            "MAIL FROM:<> BODY=BINARYMIME": "501 5.5.4",
            "MAIL FROM:<> RET=HDRS": "555 5.5.4",
            "MAIL FROM:<>SIZE=1": "553 5.1.7",
            "MAIL": "501 5.5.4",
            "MAIL TO:<>": "501 5.5.4",
        }
        for command, reply in refused.items():
            assert (await client.say(command)).startswith(f"{reply} "), command
        assert (await client.say("mail from:<> size=262144 body=7bit")).startswith("250 ")
        assert (await client.say("RCPT TO:<ann@example.org> NOTIFY=NEVER"))[:9] == "555 5.5.4"


async def test_failures_of_a_delivery_have_their_replies() -> None:
    rows = {
        OverQuota("full"): "452 4.2.2 ",
        StorageBusy("busy"): "451 4.3.0 ",
        StorageFull("full"): "452 4.3.1 ",
    }
    shelf = Shelf()
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        for failure, reply in rows.items():

            async def fail(failure: Exception = failure) -> None:
                raise failure

            shelf.on_deliver = fail
            assert (await send_message(client, b"x\r\n")).startswith(reply)
    assert [entry["why"] for entry in listener.events("smtp.refused")] == [
        "OverQuota",
        "StorageBusy",
        "StorageFull",
    ]


async def test_too_many_refused_commands_end_the_session() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        for _ in range(10):
            assert (await client.say("RCPT TO:<nobody@example.org>")).startswith("550 5.1.1 ")
        assert (await client.hear()).startswith("421 4.7.0 ")
        assert await client.ended()
    [end] = listener.events("smtp.end")
    assert (end["why"], end["refused"]) == ("too many refusals", 11)
    refusals = listener.events("smtp.refused")
    assert {(entry["code"], entry["why"]) for entry in refusals} == {(550, "UnknownRecipient")}


async def test_every_connection_ends_with_one_line_and_every_message_has_one() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await send_message(client, b"x\r\n")
        await send_message(client, b"yy\r\n")
        await client.say("NONSENSE")
        await client.say("QUIT")
    [end] = listener.events("smtp.end")
    assert {name: end[name] for name in ("peer", "kept", "octets", "refused", "why")} == {
        "peer": "127.0.0.1",
        "kept": 2,
        "octets": 7,
        "refused": 1,
        "why": "quit",
    }
    kept = listener.events("smtp.kept")
    assert [(entry["size"], entry["to"], entry["cid"]) for entry in kept] == [
        (3, 1, end["cid"]),
        (4, 1, end["cid"]),
    ]


async def test_a_client_that_does_not_read_is_cut() -> None:
    limits = Limits(command_s=0.1, linger_s=0.1)
    async with listening(limits, send_buffer=4 * KIB) as listener:
        client = await listener.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            while not client.writer.is_closing():
                await client.send(b"VRFY x\r\n" * 10_000)
        while listener.connections.open:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)
    assert [end["why"] for end in listener.events("smtp.end")] == ["timeout"]


# Stock aiosmtpd, where it is right, is the oracle.

CONTENTS = [
    b"",
    b"\r\n",
    b"..\r\n",
    b"Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n",
    b"Subject: x\r\n\r\n" + b"y" * 900 + b"\r\n.. \r\n",
]


@pytest.mark.parametrize("content", CONTENTS)
async def test_c1_agrees_with_aiosmtpd_about_plain_mail(content: bytes) -> None:
    class Oracle:
        content: bytes | None = None

        async def handle_DATA(
            self, _server: smtp.SMTP, _session: smtp.Session, envelope: smtp.Envelope
        ) -> str:
            assert isinstance(envelope.content, bytes)
            self.content = envelope.content
            return "250 OK"

    oracle = Oracle()
    loop = asyncio.get_running_loop()
    stock = await loop.create_server(
        lambda: smtp.SMTP(oracle, hostname=HOST, loop=loop), "127.0.0.1"
    )
    port = stock.sockets[0].getsockname()[1]
    async with listening() as listener:
        ours = await listener.connect()
        theirs = await listener.dial(port)
        await theirs.hear()
        await theirs.say("EHLO client.example.net")
        for client in (ours, theirs):
            assert (await send_message(client, content)).startswith("250 ")
        await theirs.say("QUIT")
    stock.close()
    assert listener.shelf.contents == [oracle.content]
