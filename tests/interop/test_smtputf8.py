"""RFC 6531: addresses and header fields in UTF-8, from three programs that can send them."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mail.address import Address
from tests.interop.aside import ASIDE, NODE, as_given, dialog, exim, found
from tests.kit import Live, body_of
from tests.postfix import postfix
from tests.waiting import until
from tests.wire import Wire

Needs = Callable[[str], str]

GRETA = "grüße@example.test"
BJOERN = "bjørn@example.net"
MESSAGE = (
    f"From: Bjørn <{BJOERN}>\r\nTo: Greta <{GRETA}>\r\nSubject: Blåbær\r\n"
    "Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <blåbær@example.net>\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nBlåbær og fløte.\r\n"
).encode()
PARAMETERS = " SMTPUTF8 BODY=8BITMIME"


@pytest.fixture(autouse=True)
def greta(live: Live) -> None:
    live.run(live.store.domains.add_address(Address.parse(GRETA), "ann"))


def received(live: Live) -> bytes:
    """The one message that came, whose trace lines were checked."""
    [stored] = live.fetch("ann").values()
    head = stored[: stored.index(b"\r\nSubject: ")].decode()
    assert head.startswith(f"Return-Path: <{BJOERN}>\r\nDelivered-To: {GRETA}\r\n")
    # RFC 6531 section 4.3: what Received says then.
    assert re.search(r"\r\n\tby mail\.example\.test with UTF8SMTPS id ", head)
    return stored


def test_postfix(live: Live, needs: Needs) -> None:
    with postfix(needs, live.smtp) as sender:
        with Wire(sender.smtp) as wire:
            wire.begin(GRETA, sender=BJOERN, parameters=PARAMETERS)
            wire.send(MESSAGE + b".\r\n")
            assert wire.hear().startswith("250 ")
        until(sender.drained, "Postfix has drained its queue")
        log = sender.log()
    assert log.count("status=sent (250 2.0.0 kept as ") == 1, log[-4000:]
    assert as_given(received(live)) == MESSAGE


def test_exim(live: Live, needs: Needs, folder: Path) -> None:
    given = dialog([MESSAGE], BJOERN, GRETA, PARAMETERS)
    done = exim(folder, live.smtp, needs, tls=True, dialog=given)
    assert done.returncode == 0, done.stderr[-2000:]
    log = (folder / "log/mainlog").read_text()
    assert log.count('C="250 2.0.0 kept as ') == 1, log[-4000:]
    assert as_given(received(live)) == MESSAGE


def test_nodemailer(live: Live, needs: Needs, tmp_path: Path) -> None:
    found("node/node_modules/nodemailer")
    file = tmp_path / "message.eml"
    file.write_bytes(MESSAGE)
    where = (live.smtp.host, str(live.smtp.port), "starttls", BJOERN, GRETA)
    done = subprocess.run(
        [needs("node"), NODE / "send.mjs", ASIDE / "node", *where, file],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert body_of(received(live)) == MESSAGE
