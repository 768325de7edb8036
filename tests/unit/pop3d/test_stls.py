"""The port that begins in clear: what comes before TLS, the handshake, and how each can end."""

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest

from net.listen import Endpoint
from pop3d.server import Pop3Limits
from tests.dialog import GreetedTalk
from tests.unit.pop3d.listener import (
    PATIENT,
    SIGN_IN,
    WAIT_S,
    Client,
    Place,
    Running,
    running,
    trusting,
)
from tests.unit.pop3d.test_server import Events, ends


async def begun(live: Running) -> Client:
    """A client that was told to begin TLS."""
    client = await live.client(in_tls=False)
    assert (await client.say("STLS")).startswith(b"+OK")
    return client


def talk_in_tls(endpoint: Endpoint, context: ssl.SSLContext) -> GreetedTalk:
    """The same, gone on in TLS; with a socket that blocks."""
    talk = GreetedTalk(socket.create_connection((endpoint.host, endpoint.port), WAIT_S), context)
    talk.send(b"STLS\r\n")
    assert talk.line().startswith(b"+OK")
    talk.start_tls()
    return talk


async def test_a_session_begins_in_clear_and_goes_on_in_tls(place: Place, events: Events) -> None:
    await place.fill(41)
    async with running(place, stls=True) as live:
        context = trusting()
        context.set_alpn_protocols(["pop3"])
        talk = await asyncio.to_thread(talk_in_tls, live.endpoint, context)
        talk.send(SIGN_IN + b"STAT\r\nQUIT\r\n")
        said = [await asyncio.to_thread(talk.line) for _ in range(4)]
        assert [line[:3] for line in said] == [b"+OK"] * 4
        assert said[2] == b"+OK 1 41"
        talk.close()
        await live.emptied()
    assert [end["why"] for end in ends(events)] == ["quit"]


async def test_a_client_over_the_number_is_told_in_clear(place: Place) -> None:
    async with running(place, stls=True, total=1) as live:
        await live.client(in_tls=False)
        told = b"-ERR [SYS/TEMP] too many connections; try again in 10 seconds\r\n"
        second = await live.client(in_tls=False, greeting=told)
        assert await second.rest() == b""


async def test_commands_behind_stls_are_never_looked_at(place: Place, events: Events) -> None:
    # The client's own octets in TLS would stand behind an attacker's in clear
    await place.fill(41)
    async with running(place, stls=True) as live:
        client = await live.client(in_tls=False)
        client.send(b"STLS\r\n" + SIGN_IN)
        assert (await client.rest()).splitlines() == [b"-ERR nothing may follow STLS"]
        await live.emptied()
    assert [end["why"] for end in ends(events)] == ["stls"]


async def test_clear_octets_after_the_reply_are_no_handshake(place: Place, events: Events) -> None:
    async with running(place, stls=True) as live:
        client = await begun(live)
        client.send(SIGN_IN)
        try:
            said = await client.rest()
        except ConnectionError:
            said = b""
        assert b"+OK" not in said
        assert b"-ERR" not in said
        await live.emptied()
    [end] = ends(events)
    assert (end["why"], end["account"]) == ("handshake", None)


async def test_a_handshake_that_is_broken_off_ends_the_connection(
    place: Place, events: Events
) -> None:
    async with running(place, stls=True) as live:
        (await begun(live)).leave()
        await live.emptied()
        assert len(ends(events)) == 1
        (await live.client(in_tls=False)).leave()


async def test_a_handshake_that_is_not_begun_is_cut(place: Place, events: Events) -> None:
    async with running(place, Pop3Limits(handshake_s=0.2), stls=True) as live:
        client = await begun(live)
        assert b"+OK" not in await client.rest()
        await live.emptied()
    assert [end["why"] for end in ends(events)] == ["handshake"]


@pytest.mark.parametrize("limits", [Pop3Limits(login_s=0.3), PATIENT])
async def test_login_time_and_shutdown_reach_into_the_handshake(
    place: Place, events: Events, limits: Pop3Limits
) -> None:
    async with running(place, limits, stls=True) as live:
        client = await begun(live)
        if limits is PATIENT:
            await live.server.drain(0)
        with suppress(ConnectionError):
            assert b"+OK" not in await client.rest()
        await live.emptied()
    why = "shutdown" if limits is PATIENT else "login time"
    assert [end["why"] for end in ends(events)] == [why]


async def test_a_handshake_for_http_is_closed_without_a_word(place: Place, events: Events) -> None:
    async with running(place, stls=True) as live:
        context = trusting()
        context.set_alpn_protocols(["http/1.1"])
        talk = await asyncio.to_thread(talk_in_tls, live.endpoint, context)
        with pytest.raises(EOFError):
            await asyncio.to_thread(talk.line)
        talk.close()
        await live.emptied()
    assert [end["why"] for end in ends(events)] == ["alpn"]


async def test_http_in_clear_gets_errors_and_is_closed(place: Place) -> None:
    async with running(place, stls=True) as live:
        client = await live.client(in_tls=False)
        client.send(b"POST / HTTP/1.1\r\nHost: example.org\r\n\r\n" + SIGN_IN + b"QUIT\r\n")
        assert [line[:4] for line in (await client.rest()).splitlines()] == [b"-ERR"] * 3


async def test_tls_where_clear_text_is_spoken_is_closed(place: Place, events: Events) -> None:
    async with running(place, stls=True) as live:
        with pytest.raises(ssl.SSLError):
            await live.client()
        await live.emptied()
    assert [end["why"] for end in ends(events)] in (["line"], ["lost"], ["refusals"])


async def test_a_client_that_reads_nothing_does_not_keep_a_closed_connection(place: Place) -> None:
    async with running(place, Pop3Limits(close_s=0.2), stls=True, send_buffer=4096) as live:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.to_thread(plain.connect, (live.endpoint.host, live.endpoint.port))
        with plain:
            plain.sendall(b"CAPA\r\n" * 200 + b"XYZZY\r\n" * 3)
            await live.emptied()
