"""What a stranger may take: of one session, and of one client in an hour."""

import asyncio
from ipaddress import ip_network

import pytest

from mail.address import Address
from mail.errors import OverQuota
from net.limits import ALLOWANCE_S, OctetBudget, Peer
from smtpin.limits import MISSES_AN_HOUR, OCTETS_AN_HOUR, Limits
from tests.unit.smtpin.listener import ANN, Client, Shelf, listening, send_message, spent

KIB = 1024
MIB = 1024 * 1024
HERE = Peer("127.0.0.1", 0)
LOCALHOST = [ip_network("127.0.0.0/8")]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def told_and_closed(client: Client, reply: str) -> None:
    assert (await client.hear()).startswith(reply)
    assert await client.ended()


async def miss(client: Client) -> str:
    return await client.say("RCPT TO:<nobody@example.org>")


async def test_ten_errors_end_the_session() -> None:
    async with listening() as listener:
        client = await listener.connect()
        for _ in range(10):
            assert (await client.say("NONSENSE")).startswith("500 5.5.1 ")
        await told_and_closed(client, "421 4.7.0 too many refused commands")
    [end] = listener.events("smtp.end")
    assert (end["why"], end["refused"]) == ("too many refused commands", 11)


@pytest.mark.parametrize("trusted", [False, True])
async def test_replies_to_errors_wait_from_the_fifth_on(*, trusted: bool) -> None:
    exempt = LOCALHOST if trusted else []
    async with listening(Limits(pause_s=60), exempt=exempt) as listener:
        client, other = await listener.connect(), await listener.connect()
        for _ in range(4):
            assert (await client.say("NONSENSE")).startswith("500 5.5.1 ")
        fifth = asyncio.create_task(client.say("NONSENSE"))
        # Nobody else waits.
        assert (await send_message(other, b"x\r\n")).startswith("250 ")
        assert (await other.say("QUIT")).startswith("221 ")
        if trusted:
            assert (await fifth).startswith("500 5.5.1 ")
        else:
            assert not fifth.done()
            fifth.cancel()
            client.reset()
        await listener.server.stop(grace_s=0.05)


async def test_five_unknown_recipients_end_the_session() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        for _ in range(5):
            assert (await miss(client)).startswith("550 5.1.1 ")
        await told_and_closed(client, "421 4.7.0 too many unknown recipients")
    assert {(entry["code"], entry["why"]) for entry in listener.events("smtp.refused")} == {
        (550, "UnknownRecipient")
    }


async def test_a_client_that_guesses_for_an_hour_is_kept_out_for_one() -> None:
    clock = Clock()
    async with listening(clock=clock) as listener:
        clients = [await listener.connect() for _ in range(MISSES_AN_HOUR // 4)]
        for client in clients:
            await client.say("MAIL FROM:<>")
            for _ in range(4):
                assert (await miss(client)).startswith("550 5.1.1 ")
        # The one that made the twentieth is ended too.
        await told_and_closed(clients[-1], "421 4.7.0 too many unknown recipients")
        refused = await listener.dial()
        await told_and_closed(refused, "421 4.7.0 too many unknown recipients in the last hour")
        clock.now += ALLOWANCE_S - 1
        await told_and_closed(await listener.dial(), "421 4.7.0 ")
        clock.now += 1
        client = await listener.connect()
        assert (await send_message(client, b"x\r\n")).startswith("250 ")


async def test_a_trusted_client_may_have_any_number_of_unknown_recipients() -> None:
    async with listening(Limits(pause_s=60), exempt=LOCALHOST) as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        for _ in range(MISSES_AN_HOUR + 1):
            assert (await miss(client)).startswith("550 5.1.1 ")
        await listener.connect()


async def test_full_mailboxes_are_no_errors() -> None:
    shelf = Shelf()

    async def full(_address: Address) -> None:
        raise OverQuota("full")

    shelf.on_resolve = full
    async with listening(Limits(deferred=30), shelf=shelf) as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        for _ in range(30):
            assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("452 4.2.2 ")
        await told_and_closed(client, "421 4.7.0 too many refused commands")


@pytest.mark.parametrize("command", ["NOOP", "RSET", "VRFY ann", "EHLO client.example.net"])
async def test_d21_commands_that_bring_no_mail_end_the_session(command: str) -> None:
    async with listening() as listener:
        client = await listener.connect(hello=None)
        for _ in range(50):
            assert (await client.say(command))[:1] == "2"
        await told_and_closed(client, "421 4.7.0 too many commands that bring no mail")


async def test_d21_senders_that_say_rset_before_each_message_are_not_cut() -> None:
    async with listening(Limits(idle_commands=3)) as listener:
        client = await listener.connect()
        for _ in range(5):
            assert (await client.say("RSET")).startswith("250 ")
            assert (await send_message(client, b"x\r\n")).startswith("250 ")


async def test_d21_bad_and_empty_lines_are_counted() -> None:
    async with listening() as listener:
        client = await listener.connect()
        for line in ("", "NOOP \0", "NONSENSE", "MAIL", "DATA") * 2:
            assert (await client.say(line))[:2] == "50"
        await told_and_closed(client, "421 4.7.0 too many refused commands")


async def test_after_so_many_transactions_the_sender_connects_again() -> None:
    async with listening(Limits(transactions=3)) as listener:
        client = await listener.connect()
        for _ in range(3):
            assert (await send_message(client, b"x\r\n")).startswith("250 ")
        await told_and_closed(client, "421 4.7.0 this session has lasted long enough")
    assert len(listener.shelf.arrivals) == 3


async def test_an_old_session_is_ended_between_two_messages() -> None:
    kept = asyncio.Event()
    shelf = Shelf()

    async def slow() -> None:
        asyncio.get_running_loop().call_later(0.3, kept.set)
        await kept.wait()

    shelf.on_deliver = slow
    async with listening(Limits(session_s=0.25), shelf=shelf) as listener:
        client = await listener.connect()
        assert (await send_message(client, b"x\r\n")).startswith("250 ")
        await told_and_closed(client, "421 4.7.0 this session has lasted long enough")


async def test_waiting_for_a_command_ends_with_the_session() -> None:
    async with listening(Limits(session_s=0.1, transaction_s=0.1)) as listener:
        client, busy = await listener.connect(), await listener.connect()
        await busy.say("MAIL FROM:<>")
        await told_and_closed(client, "421 4.4.2 ")
        await told_and_closed(busy, "421 4.4.2 ")


async def test_when_places_run_out_those_who_only_wait_get_less_time() -> None:
    async with listening(Limits(crowded_s=0.1), total=5) as listener:
        clients = [await listener.connect() for _ in range(3)]
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(0.25, passed.set)
        await passed.wait()
        assert listener.connections.open == 3
        # The fourth of five places is one too many.
        clients.append(await listener.connect())
        while listener.connections.open > 3:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)
    assert "timeout" in {end["why"] for end in listener.events("smtp.end")}


async def test_a_client_has_two_gib_an_hour() -> None:
    clock = Clock()
    async with listening(clock=clock) as listener:
        client = await listener.connect()
        # As if it had sent them: all but one octet.
        listener.shared.octets.take(HERE, OCTETS_AN_HOUR - 1)
        assert (await send_message(client, b"x\r\n")).startswith("250 ")
        assert (await client.say("MAIL FROM:<>")).startswith("452 4.7.0 ")
        assert (await client.say("MAIL FROM:<>")).startswith("452 4.7.0 ")
        clock.now += ALLOWANCE_S
        assert (await send_message(client, b"x\r\n")).startswith("250 ")


async def test_a_trusted_client_has_as_much_as_it_likes() -> None:
    async with listening(exempt=LOCALHOST) as listener:
        client = await listener.connect()
        for _ in range(2):
            assert (await send_message(client, b"x\r\n" * MIB)).startswith("250 ")
        # Nothing of it was counted.
        listener.shared.octets.take(HERE, OCTETS_AN_HOUR - 1)
        assert listener.shared.octets.wait_s(HERE) == 0


async def test_large_messages_that_nobody_ends_leave_room_for_all_others() -> None:
    memory = OctetBudget(4 * MIB)
    async with listening(budget=memory) as listener:
        for _ in range(3):
            client = await listener.connect()
            await client.begin()
            await client.send(b"x" * 78 + b"\r\n" * MIB)
        good = await listener.connect()
        assert (await send_message(good, b"y\r\n" * 20 * KIB)).startswith("250 ")
        assert (await send_message(good, b"y\r\n" * 400 * KIB)).startswith("250 ")
        assert spent(memory, 4 * MIB) <= 3 * 320 * KIB
        await listener.server.stop(grace_s=0.05)
    assert spent(memory, 4 * MIB) == 0
