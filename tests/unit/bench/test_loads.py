"""The generators believe nothing: a reply or a listing that is not right ends the run."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.letters import Wrong, wire
from bench.load_pop3 import Fetch, Listing, Poll, check_listings, fetch, listing, poll
from bench.load_smtp import Delivery, deliver
from net.tls import make_self_signed
from tests.unit.bench.scripted import Script, scripted

LETTER = wire(5, 4096)
MAIL = b"MAIL FROM:<bob@example.net> SIZE=%d\r\nRCPT TO:<ann@example.test>\r\nDATA\r\n" % len(
    LETTER
)
GOOD = (
    (b"", b"220 mail.example.test\r\n"),
    (b"EHLO client.example.net\r\n", b"250-mail.example.test\r\n250 PIPELINING\r\n"),
    (MAIL, b"250 sender\r\n250 recipient\r\n354 go on\r\n"),
    (LETTER, b"250 kept\r\n"),
    (b"QUIT\r\n", b"221 bye\r\n"),
)


def delivered(script: Script) -> bytes:
    with scripted(script) as server:
        load = deliver(Delivery(server.port, ["ann@example.test"], first=5))
    assert len(load.times) == 1
    return server.heard


def test_a_letter_is_delivered_as_it_is() -> None:
    assert LETTER in delivered(GOOD)


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        (0, b"421 busy\r\n"),
        (1, b"250 mail.example.test\r\n"),
        (2, b"250 sender\r\n550 nobody\r\n354 go on\r\n"),
        (2, b"250 sender\r\n250 recipient\r\n250 data\r\n"),
        (3, b"451 later\r\n"),
        (3, b"250-kept\r\n251 elsewhere\r\n"),
        (3, b"250 kept\r\n250 kept\r\n"),
        (3, b"250" + b"x" * 10_000),
        (4, b"250 bye\r\n"),
    ],
)
def test_a_reply_that_is_not_yes_is_noticed(step: int, reply: bytes) -> None:
    script = [*GOOD[:step], (GOOD[step][0], reply), *GOOD[step + 1 :]]
    with pytest.raises(Wrong):
        delivered(script)


@pytest.mark.parametrize("step", range(len(GOOD)))
def test_a_missing_reply_is_noticed(step: int) -> None:
    with pytest.raises((Wrong, ConnectionError)):
        delivered(GOOD[:step])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("tls")
    pair = folder / "crt", folder / "key"
    make_self_signed(*pair, hostname="mail.example.test", now=datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


SIGN_IN = (
    (b"", b"+OK\r\n"),
    (b"USER ann\r\n", b"+OK\r\n"),
    (b"PASS secret\r\n", b"+OK\r\n"),
)
STAT = (b"STAT\r\n", b"+OK 3 9000\r\n")
QUIT = (b"QUIT\r\n", b"+OK\r\n")
SERVED = b"+OK\r\nReturn-Path: <bob@example.net>\r\n"


def fetched(tls: ssl.SSLContext, second: bytes, third: bytes) -> None:
    """Two letters behind one that was there before."""
    retrieved = ((b"RETR 2\r\n", second), (b"RETR 3\r\n", third))
    with scripted([*SIGN_IN, STAT, *retrieved, QUIT], tls=tls) as server:
        fetch(Fetch(server.port, "secret", [("ann", 1, [(5, 7)])]))


def test_the_letters_that_were_delivered_come_back(tls: ssl.SSLContext) -> None:
    fetched(tls, SERVED + LETTER, SERVED + wire(6, 4096))


@pytest.mark.parametrize(
    "third",
    [
        SERVED + LETTER,  # the first of them again
        SERVED + wire(8, 4096),
        SERVED + LETTER.replace(b"the", b"teh", 1),
        b"-ERR no such message\r\n",
        b"+OK\r\n" + b"x" * 100_000,
    ],
)
def test_what_comes_in_place_of_a_letter_is_noticed(tls: ssl.SSLContext, third: bytes) -> None:
    with pytest.raises((Wrong, ConnectionError)):
        fetched(tls, SERVED + LETTER, third)


def test_a_poll_that_finds_another_count_is_noticed(tls: ssl.SSLContext) -> None:
    for messages in (3, 2):
        with scripted([*SIGN_IN, STAT, QUIT], tls=tls) as server:
            job = Poll(server.port, "secret", [("ann", messages)])
            if messages == 3:
                poll(job)
            else:
                with pytest.raises(Wrong, match="instead of 2"):
                    poll(job)


def test_a_listing_is_read_to_its_end(tls: ssl.SSLContext) -> None:
    listings = (
        (b"LIST\r\n", b"+OK\r\n1 5\r\n2 5\r\n3 5\r\n.\r\n"),
        (b"UIDL\r\n", b"+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n"),
    )
    with scripted([*SIGN_IN, STAT, *listings, QUIT], tls=tls) as server:
        load = listing(Listing(server.port, "ann", "secret", 3))
    assert len(load.times) == 1


@pytest.mark.parametrize(
    ("sizes", "uids"),
    [
        (b"1 5\r\n.\r\n", b"1 a\r\n2 b\r\n.\r\n"),
        (b"1 5\r\n2 5\r\n3 5\r\n.\r\n", b"1 a\r\n2 b\r\n.\r\n"),
        (b"1 5\r\n3 5\r\n.\r\n", b"1 a\r\n2 b\r\n.\r\n"),
        (b"1 5\r\n2 x\r\n.\r\n", b"1 a\r\n2 b\r\n.\r\n"),
        (b"1 5\r\n2 5\r\n.\r\n", b"1 a\r\n2 a\r\n.\r\n"),
        (b"1 5\r\n2 5\r\n.\r\n", b"1 a\r\n2\r\n.\r\n"),
    ],
)
def test_a_listing_that_lacks_something_is_noticed(sizes: bytes, uids: bytes) -> None:
    with pytest.raises(Wrong):
        check_listings(sizes, uids, 2)
