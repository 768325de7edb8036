"""An arrival on its way into the store: circles, results in our name, and who gets a copy."""

from dataclasses import replace

import pytest

from intake.deliver import SHORT_OCTETS, Arrival, deliver
from intake.recipients import resolve
from mail.address import Address
from mail.errors import MailLoop
from store.records import Message
from tests.sessions import listed
from tests.store.conftest import Filled, now

HOST = "mail.example.test"
BODY = b"Subject: x\r\n\r\nHello\r\n"
OURS = b"Authentication-Results: mail.example.test; spf=pass\r\n"
OTHER = b"authentication-results:  mx.example.net ;\r\n\tnone\r\n"


async def arrival(filled: Filled, content: bytes, *to: str) -> Arrival:
    recipients = [await resolve(Address.parse(text), filled.store) for text in to]
    return Arrival(
        peer_ip="192.0.2.7",
        helo="mx.example.net",
        protocol="ESMTP",
        sender=Address.parse("bob@example.net"),
        recipients=tuple(recipients),
        content=content,
    )


async def keep(filled: Filled, arrived: Arrival) -> None:
    await deliver(arrived, filled.store, hostname=HOST, clock=now)


async def stored(filled: Filled, maildrop: int) -> list[tuple[Message, bytes]]:
    """Each message, with what follows its prefix."""
    found = []
    for entry in await listed(filled.store, maildrop):
        message = await filled.store.messages.read(maildrop, entry.uid)
        octets = await filled.octets(maildrop, entry.uid)
        assert len(octets) == message.size == entry.size
        found.append((message, octets.removeprefix(message.prefix)))
    return found


async def test_a_group_is_one_arrival_with_a_row_in_each_maildrop(filled: Filled) -> None:
    await filled.store.domains.add_address(Address.parse("team@example.test"), "ann", "eve")
    await keep(filled, await arrival(filled, BODY, "Team@example.test"))
    for maildrop in (filled.ann, filled.eve):
        [(message, content)] = await stored(filled, maildrop)
        assert content == BODY
        assert message.recipient == "Team@example.test"
        assert b"\r\nDelivered-To: Team@example.test\r\n" in message.prefix
        assert b"\r\n\tfor <Team@example.test>;\r\n" in message.prefix  # there is one recipient
    assert filled.sql("SELECT refs FROM body") == [(2,)]


async def test_who_is_reached_twice_gets_one_copy_under_the_first_address(filled: Filled) -> None:
    await filled.store.domains.add_address(Address.parse("team@example.test"), "ann", "eve")
    to = ("ann+x@example.test", "team@example.test", "ann@example.test")
    await keep(filled, await arrival(filled, BODY, *to))
    [(ann, _)] = await stored(filled, filled.ann)
    [(eve, _)] = await stored(filled, filled.eve)
    assert ann.uid == eve.uid
    assert (ann.recipient, eve.recipient) == ("ann+x@example.test", "team@example.test")
    for message in (ann, eve):
        assert b"for <" not in message.prefix


@pytest.mark.parametrize(
    "trace",
    [
        b"Received: from a.example by b.example; Fri, 01 May 2026 10:02:03 +0000\r\n" * 101,
        b"Delivered-To: ANN@example.test\r\n",
        b"X: y\r\ndelivered-to :\r\n <ann@example.test>\r\n",
        b"X: " + b"y" * SHORT_OCTETS + b"\r\nDelivered-To: ann@example.test\r\n",
    ],
    ids=["hops", "here", "folded", "late"],
)
async def test_mail_in_a_circle_is_refused_and_nothing_of_it_kept(
    filled: Filled, trace: bytes
) -> None:
    arrived = await arrival(filled, trace + BODY, "eve@example.test", "ann@example.test")
    with pytest.raises(MailLoop):
        await keep(filled, arrived)
    assert await stored(filled, filled.eve) == []
    # What the body says counts for nothing.
    await keep(filled, await arrival(filled, BODY + trace, "ann@example.test"))


async def test_what_was_kept_comes_back_as_a_circle(filled: Filled) -> None:
    await keep(filled, await arrival(filled, BODY, "Ann@example.test"))
    [(message, content)] = await stored(filled, filled.ann)
    with pytest.raises(MailLoop):
        await keep(filled, await arrival(filled, message.prefix + content, "ann@example.test"))


@pytest.mark.parametrize("before", [b"", b"X: " + b"y" * SHORT_OCTETS + b"\r\n"])
async def test_only_results_in_our_name_go_and_all_else_is_kept(
    filled: Filled, before: bytes
) -> None:
    # RFC 8601 section 5. Sizes are those of what is kept.
    content = before + OURS + OTHER + OURS + BODY + OURS
    await keep(filled, await arrival(filled, content, "ann@example.test"))
    [(message, kept)] = await stored(filled, filled.ann)
    assert kept == before + OTHER + BODY + OURS
    assert message.header_size == len(message.prefix) + kept.index(b"\r\n\r\n") + 4


async def test_the_transaction_is_told_in_the_trace(filled: Filled) -> None:
    arrived = await arrival(filled, BODY, "ann@example.test")
    await keep(
        filled,
        replace(
            arrived,
            protocol="ESMTPS",
            tls_version="TLSv1.3",
            cipher="TLS_AES_256_GCM_SHA384",
            smtputf8=True,
            peer_ip="2001:db8::7",
        ),
    )
    [(message, _)] = await stored(filled, filled.ann)
    told = message.prefix.decode()
    assert "Received: from mx.example.net ([IPv6:2001:db8::7])\r\n" in told
    assert f"\tby {HOST} with UTF8SMTPS id {message.uid}\r\n" in told
    assert "\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n" in told
