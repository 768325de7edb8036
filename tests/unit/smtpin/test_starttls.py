"""STARTTLS (RFC 3207). A name with a D-number mends that fault of stock aiosmtpd."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from smtpin.limits import Limits
from tests.unit.smtpin.listener import (
    ANN,
    WAIT_S,
    Client,
    listening,
    send_message,
    unverified,
)

KIB = 1024
MIB = 1024 * 1024


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
    assert arrival.tls_version == "TLSv1.3"
    assert arrival.cipher in ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")


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
    async with listening(Limits(errors=3), tls=tls) as listener:
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


async def test_arguments_of_starttls_are_refused(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        assert (await client.say("STARTTLS now")).startswith("501 5.5.4 ")
        await client.start_tls()
        assert (await client.say("MAIL FROM:<>")).startswith("503 ")


async def test_a_large_message_goes_through_tls(tls: ssl.SSLContext) -> None:
    content = b"y" * 78 + b"\r\n" * MIB
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        await client.say("EHLO client.example.net")
        assert (await send_message(client, content)).startswith("250 ")
        assert (await client.say("QUIT")).startswith("221 ")
        assert await client.ended()
    assert listener.shelf.contents == [content]


async def test_what_was_said_before_tls_is_forgotten(tls: ssl.SSLContext) -> None:
    # RFC 3207 section 4.2.
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<bob@example.net>")
        await client.say(f"RCPT TO:<{ANN}>")
        await client.start_tls()
        assert (await client.say("DATA")).startswith("503 ")
        assert (await client.say("RCPT TO:<ann@example.org>")).startswith("503 ")
        assert (await client.say("EHLO client.example.net")).startswith("250")
        assert (await client.say("DATA")).startswith("503 ")


async def test_the_time_of_a_command_does_not_run_in_the_handshake(tls: ssl.SSLContext) -> None:
    async with listening(Limits(command_s=0.2), tls=tls) as listener:
        client = await listener.connect(hello=None)
        assert (await client.say("STARTTLS")).startswith("220 ")
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, passed.set)
        await passed.wait()
        await client.writer.start_tls(unverified())
        assert (await client.say("EHLO client.example.net")).startswith("250")
