"""The session against real sockets. A name with a D-number mends that fault of stock aiosmtpd.

Expectations come from RFC 5321, RFC 3463 (enhanced codes) and the RFCs named at each test.
"""

import asyncio
import logging
import socket
import ssl
import sys
from contextlib import suppress

import pytest
from aiosmtpd import smtp

from mail.errors import OverQuota, StorageBusy, StorageFull, TooMany
from smtpin.limits import Limits
from tests.unit.smtpin.listener import (
    ANN,
    HOST,
    Client,
    Shelf,
    listening,
    send_message,
)

KIB = 1024
MIB = 1024 * 1024
SMALL = Limits(message_octets=256 * KIB, pause_s=0)


async def test_d13_one_client_changes_no_limit_of_another() -> None:
    async with listening(Limits(idle_commands=1000)) as listener:
        first, second = await listener.connect(), await listener.connect()
        for _ in range(200):
            await first.say("EHLO client.example.net")
        for verb in ("ONE", "TWO", "THREE"):
            await first.say(verb)
        assert (await second.say("MAIL FROM:<a@b.example> " + "X" * 1000)).startswith("500 5.5.2 ")


async def test_d14_logins_do_not_exist_here(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        assert "AUTH" not in await client.say("EHLO client.example.net")
        assert (await client.say("AUTH PLAIN AGEAYg==")).startswith("500 5.5.1 ")


async def test_d15_the_greeting_names_no_product() -> None:
    async with listening() as listener:
        client = await listener.dial()
        assert await client.hear() == f"220 {HOST} ESMTP"


async def test_d16_ehlo_tells_what_is_so_and_helo_nothing(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect(hello=None)
        lines = (await client.say("EHLO client.example.net")).split("\n")
        assert lines[0] == f"250-{HOST}"
        assert {line[4:] for line in lines[1:]} == {
            f"SIZE {50 * MIB}",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "LIMITS RCPTMAX=100",
            "STARTTLS",
        }
        assert await client.say("HELO client.example.net") == f"250 {HOST}"


async def test_d17_nothing_is_told_about_commands_or_addresses() -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say("HELP")).startswith("500 5.5.1 ")
        assert (await client.say("EXPN list")).startswith("500 5.5.1 ")
        known, unknown = await client.say(f"VRFY {ANN}"), await client.say("VRFY nobody\x7f")
        assert known.startswith("252 2.0.0 ")
        assert "ann" not in known
        assert unknown.startswith("500 5.5.2 ")
        assert await client.say("VRFY nobody") == known


BAD_PATHS = [
    "ann@example.org",
    "<ann@example.org",
    "<ann@example.org>x",
    "<ann@example.org> (comment)",
    "<ann@example.org>,<bob@example.org>",
    "<(comment)ann@example.org>",
    "<ann @example.org>",
    "<ann@@example.org>",
    "<ann>",
    "<>>",
    f"<{'x' * 65}@example.org>",
    f"<ann@{'x' * 64}.example>",
]


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_d18_an_address_is_never_mended(path: str) -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say(f"MAIL FROM:{path}"))[:1] == "5"
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("250 ")
        assert (await client.say(f"RCPT TO:{path}"))[:1] == "5"
        assert (await client.say("DATA")).startswith("503 5.5.1 ")


async def test_d18_paths_that_must_be_accepted() -> None:
    async with listening() as listener:
        client = await listener.connect()
        # RFC 5321 section 4.1.1.3 and appendix C.
        assert (await client.say("MAIL FROM:<@a.example,@b.example:bob@example.net>"))[:3] == "250"
        assert (await client.say("RCPT TO:<Postmaster>")).startswith("250 2.1.5 ")
        assert (await client.say("RCPT TO:<@a.example:ann@example.org>")).startswith("250 ")
        assert (await client.say("RCPT TO:<>")).startswith("553 5.1.3 ")
        assert (await client.say("RSET")).startswith("250 2.0.0 ")
        assert (await client.say("MAIL FROM:<Postmaster>")).startswith("553 5.1.7 ")
        assert (await client.say("MAIL FROM:<bob>")).startswith("553 5.1.7 ")


async def test_d19_the_null_sender_is_none_and_counts_as_given() -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say("MAIL FROM:<>")).startswith("250 2.1.0 ")
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("503 5.5.1 ")
        assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("250 ")
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say("x\r\n.")).startswith("250 ")
    [arrival] = listener.shelf.arrivals
    assert arrival.sender is None


async def test_d20_recipients_past_the_limit_are_for_later() -> None:
    async with listening(Limits(recipients=3, errors=2)) as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        for _ in range(3):
            assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("250 ")
        for _ in range(5):  # RFC 5321 section 4.5.3.1.10; not counted as refused commands
            assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("452 4.5.3 ")
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say("x\r\n.")).startswith("250 ")
    [arrival] = listener.shelf.arrivals
    assert len(arrival.recipients) == 3


@pytest.mark.parametrize("line", ["NOOP a\rb", "NOOP a\0b", "NO\0OP", "NOOP \xe9", ""])
async def test_d22_a_command_has_no_control_characters(line: str) -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say(line)).startswith("500 5.5.2 ")
        assert (await client.say("NOOP")).startswith("250 ")


async def test_d22_a_bare_lf_ends_no_command_but_the_session() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        await client.send(b"RCPT TO:<ann@example.org>\nDATA\r\n")
        assert (await client.hear()).startswith("500 5.5.2 ")
        assert await client.ended()


async def test_d23_overlong_commands_are_counted() -> None:
    async with listening(Limits(errors=2)) as listener:
        client = await listener.connect()
        assert (await client.say("NOOP " + "x" * 993)).startswith("250 ")  # 1,000 with CRLF
        for _ in range(2):
            assert (await client.say("NOOP " + "x" * 994)).startswith("500 5.5.2 ")
        assert (await client.hear()).startswith("421 4.7.0 ")
        assert await client.ended()


async def test_d23_a_command_that_never_ends_is_cut() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.send(b"x" * (64 * KIB + 1))
        assert (await client.hear()).startswith("500 5.5.2 ")
        assert await client.ended()


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "post /", "CONNECT x:25", "\x16\x03\x01", " NOOP"]
)
async def test_d24_another_protocol_is_shown_the_door(line: str) -> None:
    async with listening() as listener:
        client = await listener.connect(hello=None)
        assert (await client.say(line)).startswith("421 4.5.0 ")
        assert await client.ended()


async def test_d24_mail_inside_an_http_request_goes_nowhere() -> None:
    request = (
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n"
        f"RCPT TO:<{ANN}>\r\nDATA\r\nx\r\n.\r\n"
    )
    async with listening() as listener:
        client = await listener.connect(hello=None)
        await client.send(request.encode())
        assert (await client.hear()).startswith("421 4.5.0 ")
    assert listener.shelf.arrivals == []


@pytest.mark.parametrize("command", [b"EHLO client.example.net", b"DATA"])
async def test_d25_what_ends_a_group_has_nothing_behind_it(command: bytes) -> None:
    # RFC 2920 section 3.1.
    async with listening() as listener:
        client = await listener.connect()
        await client.say("MAIL FROM:<>")
        await client.say(f"RCPT TO:<{ANN}>")
        await client.send(command + b"\r\nx\r\n.\r\n")
        assert (await client.hear()).startswith("421 4.5.0 ")
    assert listener.shelf.arrivals == []


async def test_d25_the_server_speaks_first() -> None:
    async with listening() as listener:
        # Sent before the server has had a turn to accept.
        with socket.create_connection(("127.0.0.1", listener.port)) as connection:
            connection.sendall(b"EHLO client.example.net\r\n")
            connection.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=connection.dup())
            client = Client(reader, writer)
            listener.clients.append(client)
            assert (await client.hear()).startswith("421 4.5.0 ")


async def test_d26_connections_past_the_limit_are_told_before_the_greeting() -> None:
    async with listening(per_client=2) as listener:
        first, _second = await listener.connect(), await listener.connect()
        third = await listener.dial()
        assert (await third.hear()).startswith("421 4.7.0 ")
        assert await third.ended()
        first.reset()
        assert await first.ended()
        # The place is free as soon as the server has seen the reset.
        while listener.connections.open > 1:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)
        await listener.connect()
    assert listener.connections.open == 0
    assert len(listener.events("smtp.end")) == 4


async def test_d27_a_failure_with_any_text_is_one_line_of_ascii() -> None:
    shelf = Shelf()

    async def fault() -> None:
        raise TooMany("später\r\n250 2.0.0 kept", retry_after_s=1)

    shelf.on_deliver = fault
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        assert await send_message(client, b"x\r\n") == "421 4.7.0 sp?ter??250 2.0.0 kept"
        assert await client.ended()


async def test_d29_no_command_and_no_content_is_logged(
    caplog: pytest.LogCaptureFixture, tls: ssl.SSLContext
) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        await client.say("EHLO client.example.net")
        await send_message(client, b"Subject: confidential\r\n\r\nconfidential\r\n")
        await client.say("NOOP confidential")
        await client.say("QUIT")
        assert await client.ended()
    assert [record for record in caplog.records if record.name == "mail.log"] == []
    assert "confidential" not in f"{listener.log}"


# What a session is.


async def test_a_group_of_commands_gets_its_replies_in_order() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.send(
            b"RSET\r\nMAIL FROM:<bob@example.net> SIZE=100 BODY=8BITMIME\r\n"
            b"RCPT TO:<nobody@example.org>\r\nRCPT TO:<ann@example.org>\r\n"
            b"RCPT TO:<ann@elsewhere.example>\r\nNOOP\r\nDATA\r\n"
        )
        heard = [(await client.hear())[:9] for _ in range(7)]
        assert heard == [
            "250 2.0.0",
            "250 2.1.0",
            "550 5.1.1",
            "250 2.1.5",
            "550 5.7.1",
            "250 2.0.0",
            "354 end t",
        ]
        # The next group may come in one piece with the end of the message.
        await client.send(
            b"Subject: x\r\n\r\ny\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n"
        )
        heard = [(await client.hear())[:9] for _ in range(3)]
        assert heard == ["250 2.0.0", "250 2.1.0", "250 2.1.5"]
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say(".")).startswith("250 2.0.0 ")
    first, second = listener.shelf.arrivals
    assert (str(first.sender), first.helo, first.protocol) == (
        "bob@example.net",
        "client.example.net",
        "ESMTP",
    )
    assert (first.peer_ip, first.cipher) == ("127.0.0.1", None)
    assert [str(recipient.address) for recipient in first.recipients] == [ANN]
    assert first.content == b"Subject: x\r\n\r\ny\r\n"
    assert second.content == b""


async def test_a_group_of_commands_is_answered_in_one_piece() -> None:
    """RFC 2920 section 3.2."""
    async with listening() as listener:
        client = await listener.connect()
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        assert (await client.reader.read(10_000)).count(b"\r\n") == 3


async def test_no_reply_waits_for_a_line_that_is_not_whole() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<ann@exam")
        assert (await client.hear()).startswith("250 2.1.0 ")
        assert (await client.say("ple.org>")).startswith("250 2.1.5 ")


async def test_a_message_may_come_octet_by_octet() -> None:
    async with listening() as listener:
        client = await listener.connect("HELO client.example.net")
        await client.begin()
        for octet in b"Subject: x\r\n\r\n..y\r\n.\r\nQUIT\r\n":
            await client.send(bytes([octet]))
            await asyncio.sleep(0)
        assert (await client.hear()).startswith("250 2.0.0 ")
        assert (await client.hear()).startswith("221 2.0.0 ")
    [arrival] = listener.shelf.arrivals
    assert arrival.protocol == "SMTP"
    assert arrival.content == b"Subject: x\r\n\r\n.y\r\n"


async def test_commands_out_of_order_are_503() -> None:
    async with listening(Limits(errors=100, pause_s=0)) as listener:
        client = await listener.connect(hello=None)
        for command in ("MAIL FROM:<>", "RCPT TO:<ann@example.org>", "DATA"):
            assert (await client.say(command)).startswith("503 5.5.1 ")
        for command in ("NOOP", "RSET", "VRFY ann"):  # RFC 5321 section 4.1.4: before EHLO too
            assert (await client.say(command))[:3] in ("250", "252")
        assert (await client.say("EHLO")).startswith("501 ")
        assert (await client.say("EHLO two names")).startswith("501 ")
        assert (await client.say("EHLO client.example.net")).startswith("250-")
        assert (await client.say("RCPT TO:<ann@example.org>")).startswith("503 5.5.1 ")
        assert (await client.say("MAIL FROM:<>")).startswith("250 ")
        assert (await client.say("MAIL FROM:<>")).startswith("503 5.5.1 ")
        assert (await client.say("DATA")).startswith("503 5.5.1 ")
        assert (await client.say("RCPT TO:<ann@example.org>")).startswith("250 ")
        assert (await client.say("DATA now")).startswith("501 5.5.4 ")
        # RFC 5321 section 4.1.4: EHLO in the middle is as RSET.
        assert (await client.say("EHLO client.example.net")).startswith("250-")
        assert (await client.say("DATA")).startswith("503 5.5.1 ")
        assert (await client.say("QUIT now")).startswith("501 5.5.4 ")
        assert (await client.say("QUIT")).startswith("221 2.0.0 ")


async def test_parameters_of_mail_and_rcpt() -> None:
    async with listening(SMALL) as listener:
        client = await listener.connect()
        # RFC 1870 section 6.1, RFC 6152 section 2, RFC 5321 section 4.1.1.11.
        refused = {
            "MAIL FROM:<> SIZE=262145": "552 5.3.4",
            "MAIL FROM:<> SIZE=x": "501 5.5.4",
            "MAIL FROM:<> SIZE": "501 5.5.4",
            "MAIL FROM:<> BODY=BINARYMIME": "501 5.5.4",
            "MAIL FROM:<> RET=HDRS": "555 5.5.4",
            "MAIL FROM:<>SIZE=1": "553 5.1.7",
            "MAIL": "501 5.5.4",
            "MAIL TO:<>": "501 5.5.4",
        }
        for command, reply in refused.items():
            assert (await client.say(command)).startswith(f"{reply} "), command
        assert (await client.say("mail from:<> size=262144 body=7bit")).startswith("250 ")
        assert (await client.say("RCPT TO:<ann@example.org> NOTIFY=NEVER"))[:9] == "555 5.5.4"


async def test_failures_of_a_delivery_have_their_replies() -> None:
    rows = {
        OverQuota("full"): "452 4.2.2 ",
        StorageBusy("busy"): "451 4.3.0 ",
        StorageFull("full"): "452 4.3.1 ",
    }
    shelf = Shelf()
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        for failure, reply in rows.items():

            async def fail(failure: Exception = failure) -> None:
                raise failure

            shelf.on_deliver = fail
            assert (await send_message(client, b"x\r\n")).startswith(reply)
    assert [entry["why"] for entry in listener.events("smtp.refused")] == [
        "OverQuota",
        "StorageBusy",
        "StorageFull",
    ]


async def test_every_connection_ends_with_one_line_and_every_message_has_one() -> None:
    async with listening() as listener:
        client = await listener.connect()
        await send_message(client, b"x\r\n")
        await send_message(client, b"yy\r\n")
        await client.say("NONSENSE")
        await client.say("QUIT")
    [end] = listener.events("smtp.end")
    assert {name: end[name] for name in ("peer", "kept", "octets", "refused", "why")} == {
        "peer": "127.0.0.1",
        "kept": 2,
        "octets": 7,
        "refused": 1,
        "why": "quit",
    }
    kept = listener.events("smtp.kept")
    assert [(entry["size"], entry["to"], entry["cid"]) for entry in kept] == [
        (3, 1, end["cid"]),
        (4, 1, end["cid"]),
    ]


async def test_a_client_that_does_not_read_is_cut() -> None:
    limits = Limits(command_s=0.1, linger_s=0.1, idle_commands=10**9)
    async with listening(limits, send_buffer=4 * KIB) as listener:
        client = await listener.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            while not client.writer.is_closing():
                await client.send(b"VRFY x\r\n" * 10_000)
        while listener.connections.open:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)
    assert [end["why"] for end in listener.events("smtp.end")] == ["timeout"]


# SMTPUTF8: RFC 6531. `say` sends octets, so the text is UTF-8 read as Latin-1.


def utf_8(text: str) -> str:
    return text.encode().decode("latin-1")


async def test_an_address_in_unicode_needs_the_parameter() -> None:
    jurgen, ann = utf_8("<jürgen@example.net>"), utf_8("<ann@bücher.example>")
    shelf = Shelf(domains=("example.org", "xn--bcher-kva.example"))
    async with listening(shelf=shelf) as listener:
        client = await listener.connect()
        # RFC 6531 section 3.5.
        assert (await client.say(f"MAIL FROM:{jurgen}")).startswith("553 5.6.7 ")
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("250 ")
        assert (await client.say(f"RCPT TO:{ann}")).startswith("553 5.6.7 ")
        assert (await client.say("RSET")).startswith("250 ")
        assert (await client.say(f"MAIL FROM:{jurgen} SMTPUTF8")).startswith("250 2.1.0 ")
        assert (await client.say(f"RCPT TO:{ann}")).startswith("250 2.1.5 ")
        assert (await client.say("DATA")).startswith("354 ")
        assert (await client.say(utf_8("Subject: schön\r\n\r\n."))).startswith("250 ")
        # It belongs to one transaction.
        assert (await client.say(f"MAIL FROM:{jurgen}")).startswith("553 5.6.7 ")
    [arrival] = listener.shelf.arrivals
    assert str(arrival.sender) == "jürgen@example.net"
    assert (arrival.protocol, arrival.smtputf8) == ("ESMTP", True)
    assert arrival.content == "Subject: schön\r\n\r\n".encode()


async def test_the_parameter_alone_makes_a_transaction_of_smtputf8(tls: ssl.SSLContext) -> None:
    async with listening(tls=tls) as listener:
        client = await listener.connect()
        await client.start_tls()
        await client.say("EHLO client.example.net")
        for parameter in (" SMTPUTF8", ""):
            assert (await client.say(f"MAIL FROM:<bob@example.net>{parameter}"))[:3] == "250"
            assert (await client.say(f"RCPT TO:<{ANN}>")).startswith("250 ")
            assert (await client.say("DATA")).startswith("354 ")
            assert (await client.say("x\r\n.")).startswith("250 ")
    first, second = listener.shelf.arrivals
    assert (first.protocol, first.smtputf8) == ("ESMTPS", True)
    assert (second.protocol, second.smtputf8) == ("ESMTPS", False)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("EHLO bücher.example", "501 "),  # RFC 6531 section 3.4: A-labels
        ("HELO bücher.example", "501 "),
        ("NOOP bücher", "250 "),
        ("VRFY jürgen SMTPUTF8", "252 "),
        ("MAIL FROM:<bob@example.net> SMTPUTF8=yes", "501 5.5.4 "),
        ("MAIL FROM:<jürgen @example.net> SMTPUTF8", "553 5.1.7 "),
        ("MAIL FROM:<jürgen\u0085@example.net> SMTPUTF8", "553 5.1.7 "),
        # Digits and spaces that are none in SMTP.
        ("MAIL FROM:<bob@example.net> SIZE=²", "501 5.5.4 "),
        ("MAIL FROM:<bob@example.net> SIZE=٣", "501 5.5.4 "),
        ("MAIL FROM:<bob@example.net>\u2003SMTPUTF8", "553 5.1.7 "),
        ("MAIL FROM:<bob@example.net> BODY=8BITMIME\u2003SMTPUTF8", "501 5.5.4 "),
        ("MAIL FROM:<bob@example.net> ſmtputf8", "501 5.5.4 "),
    ],
)
async def test_unicode_elsewhere_in_commands(command: str, reply: str) -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say(utf_8(command))).startswith(reply)


async def test_octets_that_are_not_utf_8_are_no_command() -> None:
    async with listening() as listener:
        client = await listener.connect()
        assert (await client.say("MAIL FROM:<j\xfcrgen@example.net> SMTPUTF8"))[:9] == "500 5.5.2"
        assert (await client.say("MAIL FROM:<bob@example.net>")).startswith("250 ")


async def test_helo_knows_no_smtputf8() -> None:
    async with listening() as listener:
        client = await listener.connect("HELO client.example.net")
        assert (await client.say("MAIL FROM:<bob@example.net> SMTPUTF8")).startswith("501 5.5.4 ")
        assert (await client.say(utf_8("MAIL FROM:<jürgen@example.net>")))[:9] == "553 5.6.7"


async def test_d28_no_name_is_looked_up_for_a_connection() -> None:
    looked_up: list[str] = []
    listen = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if listen and event in ("socket.gethostname", "socket.gethostbyaddr"):
            looked_up.append(event)

    sys.addaudithook(hook)
    async with listening() as listener:
        await listener.connect()
        assert looked_up == []
        # What stock aiosmtpd does without a name of its own.
        smtp.SMTP(object(), loop=asyncio.get_running_loop())
        assert looked_up != []
    listen = False
