"""C2: nothing said before TLS is executed or remembered inside it (RFC 3207 sections 4.2 and 6).

Somebody between a sender and us may put octets of their own into the part that is not encrypted.
Whatever they put there, and however a handshake goes wrong, no command of theirs is executed once
TLS has begun, no mail of theirs is kept, and the sender's own session starts from nothing.
"""

import os
import re
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from smtpin.limits import Limits
from tests.front import ANN, Front, front
from tests.kit import trusting
from tests.wire import END, Wire, client_hello

EVIL = (
    f"MAIL FROM:<mallory@example.net>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n"
    "Subject: injected\r\n\r\nNobody sent this."
).encode() + END


HELLO = client_hello()

# Sent in one segment after EHLO; the last command of an honest group is STARTTLS (RFC 3207
# section 4), so all of these have been tampered with.
IN_ONE_SEGMENT = {
    "ehlo": b"STARTTLS\r\nEHLO mallory.example.net\r\n",
    "noop": b"STARTTLS\r\nNOOP\r\n",
    "quit": b"STARTTLS\r\nQUIT\r\n",
    "mail": b"STARTTLS\r\nMAIL FROM:<mallory@example.net>\r\n",
    "a whole message": b"STARTTLS\r\n" + EVIL,
    "half a command": b"STARTTLS\r\nMAIL FROM:<mallory@exam",
    "one octet": b"STARTTLS\r\n\0",
    "another starttls": b"STARTTLS\r\nSTARTTLS\r\n",
    "the handshake itself": b"STARTTLS\r\n" + HELLO,
    "the handshake and a command": b"STARTTLS\r\n" + HELLO + EVIL,
    "a command and the handshake": b"STARTTLS\r\nNOOP\r\n" + HELLO,
    "200,000 octets": b"STARTTLS\r\n" + b"NOOP\r\n" * 33_334,
    "lower case": b"starttls\r\n" + EVIL,
    "spaces behind": b"STARTTLS  \r\n" + EVIL,
    "behind a transaction": EVIL[: EVIL.index(b"DATA")] + b"STARTTLS\r\n" + EVIL,
    "bare LF": b"STARTTLS\nMAIL FROM:<mallory@example.net>\r\n",
    "bare CR": b"STARTTLS\rMAIL FROM:<mallory@example.net>\r\n",
}

# Sent as it is, after 220.
INSTEAD_OF_A_HANDSHAKE = {
    "a command": b"NOOP\r\n",
    "quit": b"QUIT\r\n",
    "a whole message": EVIL,
    "a message and the handshake": EVIL + HELLO,
    "http": b"GET / HTTP/1.1\r\nHost: mail.example.test\r\n\r\n",
    "half a handshake": HELLO[: len(HELLO) // 2],
    "half a handshake and a message": HELLO[: len(HELLO) // 2] + EVIL,
    "the handshake and a message": HELLO + EVIL,
    "the record of an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "nothing": b"",
}

LIMITS = Limits(handshake_s=0.3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("starttls"), LIMITS) as found:
        yield found


@pytest.fixture
def smtp(server: Front) -> Iterator[Front]:
    """In the end nothing has been kept, and no session has met a fault of ours."""
    server.events()
    yield server
    assert server.stored() == {}
    events = server.events()
    assert {event["level"] for event in events} == {"info"}, events
    ends = [event["why"] for event in events if event["event"] == "smtp.end"]
    assert ends
    assert "cancelled" not in ends  # what is said of a session that ended in no known way


def begins_anew(wire: Wire) -> None:
    """Inside TLS: nothing was said to this server yet."""
    # The next reply is the one to this command, and there is neither HELO name nor transaction.
    assert wire.say("MAIL FROM:<bob@example.net>").startswith("503 ")
    assert wire.say("EHLO client.example.net").startswith("250-")
    assert wire.say(f"RCPT TO:<{ANN}>").startswith("503 ")
    assert wire.say("DATA").startswith("503 ")
    assert wire.say("QUIT").startswith("221 ")


@pytest.mark.parametrize("octets", IN_ONE_SEGMENT.values(), ids=IN_ONE_SEGMENT.keys())
def test_what_comes_in_one_segment_with_starttls(smtp: Front, octets: bytes) -> None:
    before = octets[: octets.upper().index(b"STARTTLS")].count(b"\r\n")
    with Wire(smtp.smtp) as wire:
        wire.send(octets)
        for _ in range(before):
            assert wire.hear().startswith("250 ")
        reply = wire.hear()
        if reply.startswith("220 "):
            # RFC 3207 does not say how it is to be refused: it may be thrown away.
            wire.wrap()
            begins_anew(wire)
        else:
            assert reply[0] in "45"
            with suppress(OSError):  # closed already, which is as good
                wire.send(b"QUIT\r\n")
            assert re.fullmatch(rb"(221 .*\r\n)?", wire.rest())


@pytest.mark.parametrize(
    "octets", INSTEAD_OF_A_HANDSHAKE.values(), ids=INSTEAD_OF_A_HANDSHAKE.keys()
)
@pytest.mark.parametrize("stop", [False, True], ids=["waits", "stops"])
def test_what_comes_instead_of_a_handshake(smtp: Front, octets: bytes, stop: bool) -> None:  # noqa: FBT001
    """The session goes no further: what still comes is no reply, and then it ends."""
    with Wire(smtp.smtp) as wire:
        assert wire.say("STARTTLS").startswith("220 ")
        wire.send(octets)
        if stop:
            wire.socket.shutdown(socket.SHUT_WR)
        assert not re.search(rb"\d{3}[ -]\d\.\d\.\d ", wire.rest())


def test_an_argument_is_refused_and_nothing_has_begun(smtp: Front) -> None:
    with Wire(smtp.smtp) as wire:
        assert wire.say("STARTTLS now").startswith("501 ")  # RFC 3207 section 4
        assert wire.say("NOOP").startswith("250 ")
        assert wire.say("QUIT").startswith("221 ")


def test_starttls_inside_tls_is_refused(smtp: Front) -> None:
    with Wire(smtp.smtp) as wire:
        wire.start_tls()
        assert "STARTTLS" not in wire.say("EHLO client.example.net")
        for _ in range(2):
            assert wire.say("STARTTLS").startswith("503 ")
        assert wire.say("NOOP").startswith("250 ")
        assert wire.say("QUIT").startswith("221 ")


@pytest.mark.parametrize(
    "commands",
    [
        ["MAIL FROM:<mallory@example.net>"],
        ["MAIL FROM:<mallory@example.net>", f"RCPT TO:<{ANN}>"],
        ["MAIL FROM:<mallory@example.net>", f"RCPT TO:<{ANN}>", "RSET"],
        ["HELO mallory.example.net"],
        [],
    ],
)
@pytest.mark.parametrize("hello", [False, True], ids=["before EHLO", "after EHLO"])
def test_what_was_said_before_tls_is_forgotten(
    smtp: Front,
    commands: list[str],
    hello: bool,  # noqa: FBT001
) -> None:
    with Wire(smtp.smtp, hello=hello) as wire:
        if not hello:
            assert wire.hear().startswith("220 ")
        for command in commands:
            wire.say(command)
        wire.start_tls()
        begins_anew(wire)


def test_a_group_may_end_in_starttls(smtp: Front) -> None:
    with Wire(smtp.smtp) as wire:
        wire.send(EVIL[: EVIL.index(b"DATA")] + b"STARTTLS\r\n")
        assert [wire.hear()[:3] for _ in range(3)] == ["250", "250", "220"]
        wire.wrap()
        begins_anew(wire)


def test_plaintext_inside_tls_ends_the_session(smtp: Front) -> None:
    with Wire(smtp.smtp) as wire:
        wire.start_tls()
        assert wire.say("EHLO client.example.net").startswith("250-")
        raw = socket.socket(fileno=os.dup(wire.socket.fileno()))
        with raw:
            raw.sendall(EVIL)
            raw.settimeout(60)
            assert not re.search(rb"\d{3}[ -]\d\.\d\.\d ", read_all(raw))


def test_tls_that_ends_inside_a_message_keeps_nothing(smtp: Front) -> None:
    with Wire(smtp.smtp) as wire:
        wire.start_tls()
        assert wire.say("EHLO client.example.net").startswith("250-")
        wire.begin(ANN)
        wire.send(b"Subject: cut\r\n\r\nThe rest is m\r\n.\r")
        assert isinstance(wire.socket, ssl.SSLSocket)
        # What comes behind the end of TLS is nobody's. The server need not end it too.
        with suppress(OSError), wire.socket.unwrap() as raw:
            raw.sendall(b"\n" + EVIL)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_sender_that_does_not_trust_the_certificate_goes_away(
    smtp: Front, version: ssl.TLSVersion
) -> None:
    """In TLS 1.3 its alert comes when for us the handshake is over."""
    with Wire(smtp.smtp) as wire:
        assert wire.say("STARTTLS").startswith("220 ")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.maximum_version = version
        with pytest.raises(ssl.SSLCertVerificationError):
            wire.wrap(context)


@pytest.mark.parametrize("at", ["handshake", "after"])
def test_a_reset_is_no_fault_of_ours(smtp: Front, at: str) -> None:
    with Wire(smtp.smtp) as wire:
        assert wire.say("STARTTLS").startswith("220 ")
        if at == "handshake":
            wire.send(HELLO)
        else:
            wire.wrap()
        wire.reset()


def test_versions_before_1_2_are_refused(smtp: Front) -> None:
    with Wire(smtp.smtp) as wire:
        assert wire.say("STARTTLS").startswith("220 ")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = trusting()
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            wire.wrap(context)


def test_a_sender_may_speak_at_once_inside_tls(tmp_path: Path) -> None:
    """Whole, and with the name it gave there: the injected one is in no trace line."""
    with front(tmp_path) as smtp:
        with Wire(smtp.smtp) as wire:
            assert wire.say("EHLO mallory.example.net").startswith("250-")
            wire.start_tls()
            wire.send(b"EHLO honest.example.net\r\n")
            assert wire.hear().startswith("250-")
            wire.begin(ANN)
            wire.send(b"Subject: honest\r\n\r\nx" + END)
            assert wire.hear().startswith("250 2.0.0 kept as ")
        assert list(smtp.stored().values()) == [b"Subject: honest\r\n\r\nx\r\n"]
        [stored] = smtp.with_trace().values()
        assert re.search(
            rb"\r\nReceived: from honest\.example\.net .*\r\n\tby .* with ESMTPS id ", stored
        )
        assert b"mallory" not in stored


def read_all(raw: socket.socket) -> bytes:
    octets = b""
    try:
        while block := raw.recv(65536):
            octets += block
    except ConnectionError:
        pass
    return octets
