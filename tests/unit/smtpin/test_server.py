"""The listener's life."""

import asyncio

import pytest

from tests.unit.smtpin.listener import WAIT_S, Shelf, listening


async def test_stop_tells_idle_sessions_and_takes_no_new_ones() -> None:
    async with listening() as listener:
        clients = [await listener.connect() for _ in range(3)]
        await clients[0].say("MAIL FROM:<>")
        await listener.server.stop()
        for client in clients:
            assert (await client.hear()).startswith("421 4.3.2 ")
            assert await client.ended()
        with pytest.raises(ConnectionError):
            await listener.dial()
    assert {end["why"] for end in listener.events("smtp.end")} == {"shutdown"}


async def test_stop_finishes_the_message_in_hand() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.begin()
        await client.send(b"x\r\n")
        stopping = asyncio.create_task(listener.server.stop())
        await asyncio.sleep(0)
        await client.send(b"y\r\n.\r\nMAIL FROM:<>\r\n")
        assert (await client.hear()).startswith("250 2.0.0 ")
        assert (await client.hear()).startswith("421 4.3.2 ")
        assert await client.ended()
        await stopping
    assert listener.shelf.contents == [b"x\r\ny\r\n"]


async def test_stop_cuts_a_message_that_does_not_come_to_its_end() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.begin()
        await listener.server.stop(grace_s=0.05)
        assert await client.ended()
    assert listener.shelf.arrivals == []
    assert listener.connections.open == 0


async def test_stop_waits_for_every_delivery_whatever_the_grace() -> None:
    begun, done = asyncio.Event(), asyncio.Event()
    shelf = Shelf()

    async def slow() -> None:
        begun.set()
        await done.wait()

    shelf.on_deliver = slow
    async with listening(shelf=shelf) as listener:
        client, gone = await listener.connect(), await listener.connect()
        for each in (client, gone):
            await each.begin()
            await each.send(b"x\r\n.\r\n")
            await asyncio.wait_for(begun.wait(), WAIT_S)
            begun.clear()
        gone.reset()
        asyncio.get_running_loop().call_later(0.2, done.set)
        await listener.server.stop(grace_s=0.05)
        assert shelf.contents == [b"x\r\n", b"x\r\n"]
        assert (await client.hear()).startswith("250 2.0.0 ")


async def test_a_refused_connection_holds_no_place() -> None:
    async with listening(per_client=1) as listener:
        await listener.connect()
        refused = await listener.dial()
        assert (await refused.hear()).startswith("421 4.7.0 ")
        assert await refused.ended()
        assert listener.connections.open == 1
    assert listener.connections.open == 0
