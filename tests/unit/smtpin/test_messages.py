"""What comes after DATA. A name with a D-number mends that fault of stock aiosmtpd."""

import asyncio
import tracemalloc

import pytest

from mail.address import Address
from mail.data import LINE_OCTETS
from mail.errors import NotFound
from net.limits import OctetBudget
from smtpin.limits import Limits
from tests.unit.smtpin.listener import (
    ANN,
    WAIT_S,
    Client,
    Listener,
    Shelf,
    listening,
    send_message,
    spent,
)

KIB = 1024
MIB = 1024 * 1024
SMALL = Limits(message_octets=256 * KIB)


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
        assert spent(listener.shared.spool.memory, 100 * KIB) == 0
        assert (await send_message(client, b"small\r\n")).startswith("250 ")
        assert spent(listener.shared.spool.memory, 100 * KIB) == 0
    assert listener.shelf.contents == [b"small\r\n"]


async def test_d02_the_budget_is_held_until_the_message_is_kept_and_given_back_on_a_drop() -> None:
    shelf = Shelf()
    async with listening(shelf=shelf, budget=OctetBudget(100 * KIB)) as listener:
        held: list[int] = []

        async def look() -> None:
            held.append(spent(listener.shared.spool.memory, 100 * KIB))

        shelf.on_deliver = look
        client = await listener.connect()
        assert (await send_message(client, b"x" * 50 * KIB + b"\r\n")).startswith("250 ")
        assert held[0] >= 50 * KIB
        await client.begin()
        await client.send(b"x" * 50 * KIB)
        client.reset()
    assert spent(listener.shared.spool.memory, 100 * KIB) == 0


async def test_d02_what_is_only_discarded_holds_no_budget() -> None:
    limits = Limits(message_octets=256 * KIB, errors=1000)
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
