"""A Restante collects from another one: each is the other's check."""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.client import Patience
from mail.errors import TargetNotAllowed
from store.records import Folder
from tests.collector.conftest import Desk
from tests.kit import PASSWORD, Live, body_of, live_server

HOST = "mail.example.test"  # of the other


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Live]:
    folder = tmp_path / "other"
    folder.mkdir()
    with live_server(folder) as live:
        live.add_user("ann", "ann@example.test")
        yield live


@pytest.fixture
async def ready(desk: Desk, other: Live, tmp_path: Path) -> Desk:
    found = tmp_path / "other" / "data" / "tls" / "self-signed.crt"
    tls = ssl.create_default_context(cafile=found)
    dialer = replace(desk.tools.dialer, tls=tls, hostname="here.example", connect_s=60.0)
    await desk.restart(dialer=dialer, patience=Patience())
    return desk


async def test_what_the_other_one_kept_is_here_octet_by_octet(ready: Desk, other: Live) -> None:
    contents = [
        b"From: b@x\r\nMessage-ID: <%d@x>\r\n\r\n%b" % (number, body)
        for number, body in enumerate(
            (b"plain\r\n", b".dots\r\n..\r\n.\r\n", b"\xff" * 60_000 + b"\r\n", b"x\r\n" * 100_000)
        )
    ]
    for content in contents:
        await asyncio.to_thread(other.send, content, "ann@example.test")
    sent = await asyncio.to_thread(other.fetch, "ann")
    source = await ready.add(
        other.pop3.port, host=HOST, username="ann", password=PASSWORD, keep_days=0
    )
    harvest = await ready.run(source)
    assert (harvest.new, harvest.error) == (4, None)
    assert sorted(await ready.kept()) == sorted(sent.values())
    assert sorted(body_of(octets) for octets in sent.values()) == sorted(contents)
    assert not await asyncio.to_thread(other.fetch, "ann")


async def test_a_message_that_came_by_smtp_and_is_collected_is_kept_once(
    ready: Desk, other: Live
) -> None:
    content = b"From: b@x\r\nMessage-ID: <1@x>\r\nSubject: s\r\n\r\nhello\r\n"
    await asyncio.to_thread(other.send, content, "ann@example.test")
    await ready.filled.keep(content)
    source = await ready.add(other.pop3.port, host=HOST, username="ann", password=PASSWORD)
    harvest = await ready.run(source)
    assert (harvest.new, harvest.seen) == (0, 1)
    [message] = await ready.filled.page(ready.filled.ann)
    assert set(message.origin) == {"smtp", "collector"}
    # And the other way round: what SMTP brings is kept, and marked.
    await ready.filled.keep(content)
    assert [each.repeat for each in await ready.filled.page(ready.filled.ann)] == [True, False]


async def test_results_of_the_providers_checks_stay_and_ours_go(ready: Desk, other: Live) -> None:
    theirs = b"Authentication-Results: mx.example.net; spf=pass\r\n"
    forged = b"Authentication-Results: mail.example.test; spf=pass\r\n"
    await ready.restart(hostname="mail.example.org")
    claimed = b"Authentication-Results: mail.example.org; dmarc=pass\r\n"
    content = theirs + claimed + b"From: b@x\r\n\r\nhello\r\n"
    await asyncio.to_thread(other.send, forged + content, "ann@example.test")
    await ready.run(await ready.add(other.pop3.port, host=HOST, username="ann", password=PASSWORD))
    [kept] = await ready.kept()
    assert theirs in kept
    assert claimed not in kept
    assert forged not in kept


async def test_the_trace_line_says_where_it_was_collected_and_no_user_name(
    ready: Desk, other: Live
) -> None:
    await asyncio.to_thread(other.send, b"Subject: s\r\n\r\nx\r\n", "ann@example.test")
    await ready.run(await ready.add(other.pop3.port, host=HOST, username="ann", password=PASSWORD))
    [message] = await ready.filled.page(ready.filled.ann)
    lines = message.prefix.decode().replace("\r\n\t", " ").split("\r\n")
    assert lines[0] == "Delivered-To: ann@example.net"
    assert lines[1].startswith(
        f"Received: from {HOST} ([127.0.0.1]) by mail.example.test with POP3 id {message.uid}"
        " for <ann@example.net> tls TLS_"
    )
    assert (message.recipient, message.mail_from) == ("ann@example.net", "bob@example.net")
    assert message.folder is Folder.INBOX


async def test_nobody_collects_from_himself(ready: Desk, other: Live) -> None:
    """By name, and by any address at a port of ours."""
    dialer = ready.tools.dialer
    for changed, host in (
        (replace(dialer, hostname=HOST), HOST),
        (replace(dialer, own_ports=frozenset({other.pop3.port})), HOST),
        (replace(dialer, own_ports=frozenset({other.pop3.port})), "127.0.0.9"),
    ):
        with pytest.raises(TargetNotAllowed):
            await changed.look_up(host, other.pop3.port)
