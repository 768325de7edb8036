"""Real programs on both sides: Postfix brings the mail, fetchmail, curl and poplib take it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit import PASSWORD, Live, body_of, live_server
from tests.postfix import postfix
from tests.shapes import message
from tests.waiting import until

COUNT = 200
ANN = "ann@example.test"

Needs = Callable[[str], str]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, needs: Needs) -> Iterator[Live]:
    """A server into whose one maildrop Postfix has relayed the messages."""
    with live_server(tmp_path_factory.mktemp("postfix")) as live:
        live.add_user("ann", ANN)
        with postfix(needs, live.smtp) as sender:
            sender.submit([message(number) for number in range(COUNT)], ANN)
            until(sender.drained, "Postfix has drained its queue")
            log = sender.log()
            assert log.count("status=sent (250 2.0.0 kept as ") == COUNT, log[-4000:]
            assert "status=bounced" not in log
            assert "status=deferred" not in log
        yield live


def as_sent(stored: bytes) -> bytes:
    """A message without our trace lines and without Postfix's one line Received."""
    relayed = body_of(stored)
    assert relayed.startswith(b"Received: from "), relayed[:300]
    lines = relayed.split(b"\r\n")
    end = next(n for n, line in enumerate(lines) if n and not line.startswith((b"\t", b" ")))
    return b"\r\n".join(lines[end:])


EXPECTED = sorted(message(number) for number in range(COUNT))


def test_the_listener_offered_tls_and_postfix_took_it(live: Live) -> None:
    client = live.pop3_client(ANN)
    head = b"\r\n".join(client.top(1, 0)[1])
    client.quit()
    assert b" with ESMTPS id " in head
    assert b"\r\n\ttls TLS_" in head


def test_poplib_fetches_every_octet(live: Live) -> None:
    assert sorted(as_sent(stored) for stored in live.fetch(ANN).values()) == EXPECTED


def test_curl_fetches_every_octet(live: Live, needs: Needs, tmp_path: Path) -> None:
    subprocess.run(
        [
            *(needs("curl"), "--silent", "--show-error", "--insecure"),
            *("--user", f"{ANN}:{PASSWORD}"),
            *(f"pop3s://{live.pop3}/[1-{COUNT}]", "--output", str(tmp_path / "#1")),
        ],
        check=True,
        timeout=120,
    )
    found = sorted(as_sent(file.read_bytes()) for file in tmp_path.iterdir())
    assert found == EXPECTED


def test_fetchmail_fetches_every_octet_and_leaves_nothing(
    live: Live, needs: Needs, tmp_path: Path
) -> None:
    """The last of the journey: afterwards STAT is 0."""
    script = tmp_path / "keep"
    script.write_text(f'#!/bin/sh\nexec cat > "$(mktemp {tmp_path}/mail.XXXXXXXX)"\n')
    script.chmod(0o700)
    settings = tmp_path / "fetchmailrc"
    settings.write_text(
        f'poll 127.0.0.1 service {live.pop3.port} protocol POP3 username "{ANN}" '
        f'password "{PASSWORD}" ssl sslproto "auto" no sslcertck\n'
        f'  fetchall no rewrite pass8bits mda "{script}"\n'
    )
    settings.chmod(0o600)
    done = subprocess.run(
        [
            *(needs("fetchmail"), "--fetchmailrc", settings, "--nokeep", "--invisible"),
            *("--pidfile", tmp_path / "pid", "--idfile", tmp_path / "ids", "--nosyslog"),
        ],
        check=False,
        capture_output=True,
        timeout=300,
        env={"HOME": str(tmp_path), "FETCHMAILHOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # To a program on this machine fetchmail hands lines with LF alone.
    found = [file.read_bytes().replace(b"\n", b"\r\n") for file in tmp_path.glob("mail.*")]
    assert sorted(map(as_sent, found)) == EXPECTED
    client = live.pop3_client(ANN)
    assert client.stat() == (0, 0)
    client.quit()
