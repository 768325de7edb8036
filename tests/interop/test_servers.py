"""Mail servers that relay to us, with and without STARTTLS: the queue is drained, octets equal.

A relay puts one field Received before what it was given (RFC 5321 section 4.4), and nothing else
may differ. Postfix and Exim pipeline and declare the size where that is offered, Postfix asks for
8BITMIME too; that they did is read off the line.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.aside import as_given, dialog, exim, opensmtpd
from tests.interop.conftest import ANN
from tests.interop.tap import tap
from tests.kit import Live
from tests.postfix import postfix, submit
from tests.shapes import message
from tests.waiting import until

Needs = Callable[[str], str]

MESSAGES = [message(number, big=300_000) for number in range(48)]

MODES = pytest.mark.parametrize("tls", [False, True], ids=["plain", "starttls"])


def check(live: Live, sent: list[bytes], *, tls: bool) -> None:
    stored = list(live.fetch("ann").values())
    assert sorted(map(as_given, stored)) == sorted(sent)
    protocol = b"ESMTPS" if tls else b"ESMTP"
    assert all(b" with %s id " % protocol in octets[:600] for octets in stored)


@MODES
def test_postfix(live: Live, needs: Needs, tls: bool) -> None:  # noqa: FBT001
    with (
        tap(live.smtp) as line,
        postfix(needs, line.endpoint, tls="encrypt" if tls else "none") as sender,
    ):
        sender.submit(MESSAGES, ANN)
        until(sender.drained, "Postfix has drained its queue")
        log = sender.log()
    assert log.count("status=sent (250 2.0.0 kept as ") == len(MESSAGES), log[-4000:]
    check(live, MESSAGES, tls=tls)
    if not tls:
        assert line.in_one_piece(b"MAIL FROM:", b"DATA\r\n")
        assert line.count(rb"(?m)^MAIL FROM:<.*> SIZE=\d+ BODY=8BITMIME\r\n") == len(MESSAGES)


@MODES
def test_exim(live: Live, needs: Needs, folder: Path, tls: bool) -> None:  # noqa: FBT001
    given = dialog(MESSAGES, "bob@example.net", ANN, " BODY=8BITMIME")
    with tap(live.smtp) as line:
        done = exim(folder, line.endpoint, needs, tls=tls, dialog=given)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith(b"\r\n0\n"), done.stdout[-2000:]
    log = (folder / "log/mainlog").read_text()
    assert log.count('C="250 2.0.0 kept as ') == len(MESSAGES), log[-4000:]
    check(live, MESSAGES, tls=tls)
    if not tls:
        assert line.in_one_piece(b"MAIL FROM:", b"DATA\r\n")
        assert line.count(rb"(?m)^MAIL FROM:<.*> SIZE=\d+\r\n") == len(MESSAGES)


@MODES
def test_opensmtpd(live: Live, needs: Needs, folder: Path, tls: bool) -> None:  # noqa: FBT001
    with opensmtpd(folder, live.smtp, needs, tls=tls) as sender:
        submit(sender.smtp, MESSAGES, ANN)
        until(lambda: len(sender.results()) >= len(MESSAGES), "OpenSMTPD has drained its queue")
        assert all(result.startswith("Ok 250 2.0.0 kept as ") for result in sender.results()), (
            sender.results()
        )
    check(live, MESSAGES, tls=tls)
