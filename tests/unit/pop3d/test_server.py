"""The driver: real sockets, TLS, store and sign-in; and every dialog over them."""

import asyncio
import sqlite3
from collections.abc import MutableMapping
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest

from pop3d.server import Pop3Limits
from tests.dialog import DIALOGS, GreetedTalk, content, parse, run, wire
from tests.unit.pop3d.listener import SIGN_IN, WAIT_S, Place, running, trusting

Events = list[MutableMapping[str, Any]]


def ends(events: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [event for event in events if event["event"] == "pop3.end"]


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog(path: Path, place: Place) -> None:
    dialog = parse(await asyncio.to_thread(path.read_text, "utf-8"))
    await place.fill(*dialog.sizes)
    async with running(place, stls=dialog.stls) as live:
        address = live.endpoint.host, live.endpoint.port

        def connect() -> GreetedTalk:
            plain = create_connection(address, WAIT_S)
            return GreetedTalk(plain if dialog.stls else trusting().wrap_socket(plain), trusting())

        await asyncio.to_thread(run, dialog, connect)


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


async def test_of_a_client_that_pipelines_only_quit_tells_what_it_has_read(
    own_place: Place,
) -> None:
    await own_place.fill(10, 20, 30)
    async with running(own_place) as live:
        client = await live.signed_in()
        client.send(b"RETR 1\r\nRETR 2\r\n")
        for _ in range(2):
            await client.answer(b"RETR")
        assert (await client.say("NOOP")).startswith(b"+OK")
        client.leave()
        await live.emptied()
        assert own_place.marked() == set()
        client = await live.signed_in()
        client.send(b"RETR 1\r\nRETR 2\r\nQUIT\r\n")
        assert (await client.rest()).endswith(b"+OK bye\r\n")
        await live.emptied()
    assert own_place.marked() == {1, 2}


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


async def test_messages_in_any_order_and_again_are_what_they_are(place: Place) -> None:
    """Who goes on in order gets some of them from memory."""
    sizes = [41 + n for n in range(12)] + [40_000, 60, 61, 300_000, 62]
    await place.fill(*sizes)
    order = [*range(1, 18), 17, 3, 4, 5, 9, 8, 10, 11, 12, 13, 14, 15, 16, 17, 1, 2]
    async with running(place) as live:
        client = await live.signed_in()
        for number in order:
            assert (await client.say(f"RETR {number}")).startswith(b"+OK ")
            assert await client.message() == content(sizes[number - 1])


async def test_tops_of_messages_in_order_are_what_they_are(place: Place) -> None:
    """TOP reads what is in memory as RETR does, and without it."""
    await place.fill(*range(41, 51))
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"".join(b"TOP %d 1\r\nRETR %d\r\n" % (n, n) for n in range(1, 11)))
        client.send(b"QUIT\r\n")
        expected = b"".join(wire(size, 1) + wire(size, None) for size in range(41, 51))
        assert (await client.rest()).startswith(expected)


@pytest.mark.parametrize("damage", ["body_chunk SET frame = x'00'", "body SET sha256 = x'00'"])
async def test_one_damaged_message_among_others_is_refused_alone(damage: str, place: Place) -> None:
    await place.fill(*range(41, 51))
    with sqlite3.connect(place.file) as database:
        database.execute(f"UPDATE {damage} WHERE uid = (SELECT uid FROM message WHERE size = 46)")
    database.close()
    async with running(place) as live:
        client = await live.signed_in()
        for size in range(41, 51):
            reply = await client.say(f"RETR {size - 40}")
            if size == 46:
                assert reply.startswith(b"-ERR [SYS/TEMP] ")
            else:
                assert await client.message() == content(size)


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


@pytest.mark.parametrize("signed_in", [False, True])
async def test_draining_does_not_wait_for_who_says_nothing(
    place: Place, events: Events, *, signed_in: bool
) -> None:
    # As RFC 1939 section 3 has it of an idle client: no response, and nothing is removed.
    await place.fill(10)
    async with running(place) as live:
        client = await live.client()
        if signed_in:
            await client.sign_in()
            assert (await client.say("DELE 1")).startswith(b"+OK")
        draining = asyncio.create_task(live.server.drain(2 * WAIT_S))
        assert await client.rest() == b""
        await asyncio.wait_for(draining, WAIT_S)
    assert [end["why"] for end in ends(events)] == ["shutdown"]
    assert await place.sizes() == [10]


async def test_draining_lets_an_answer_in_hand_be_read_to_its_end(
    place: Place, events: Events
) -> None:
    size = 4_000_000
    await place.fill(size)
    async with running(place, Pop3Limits(quiet_s=0.001)) as live:
        client = await live.signed_in()
        client.send(b"RETR 1\r\n")
        first = await client.line()
        draining = asyncio.create_task(live.server.drain(WAIT_S))
        assert first + await client.rest() == wire(size, None)
        await draining
    assert [end["why"] for end in ends(events)] == ["shutdown"]


async def test_draining_cuts_who_stays(place: Place, events: Events) -> None:
    await place.fill(10)
    async with running(place) as live:
        client = await live.signed_in()
        assert (await client.say("DELE 1")).startswith(b"+OK")
        await live.server.drain(0.1)
    assert [end["why"] for end in ends(events)] == ["shutdown"]
    assert await place.sizes() == [10]
