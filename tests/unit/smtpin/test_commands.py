"""One line as a command: RFC 5321 section 2.4, RFC 6531 section 3.3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpin import replies
from smtpin.commands import VERBS, Command, read
from smtpin.replies import Reply


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"NOOP\r\n", Command("NOOP", None)),
        (b"noop\r\n", Command("NOOP", None)),
        (b"NOOP \t \r\n", Command("NOOP", None)),
        (b"MAIL FROM:<>\r\n", Command("MAIL", "FROM:<>")),
        (b"RCPT  TO:<ann@example.org> \r\n", Command("RCPT", "TO:<ann@example.org>")),
        (
            "MAIL FROM:<jürgen@example.org>\r\n".encode(),
            Command("MAIL", "FROM:<jürgen@example.org>"),
        ),
        (b"NOOP" + b" " * 994 + b"\r\n", Command("NOOP", None)),  # 1,000 octets
    ],
)
def test_commands(line: bytes, command: Command) -> None:
    assert read(line) == command


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NOOP\n", replies.BARE_LF),
        (b"\n", replies.BARE_LF),
        (b"NOOP" + b" " * 995 + b"\r\n", replies.LINE_TOO_LONG),
        (b"\r\n", replies.BAD_LINE),
        (b"NOOP a\0\r\n", replies.BAD_LINE),
        (b"NOOP a\rb\r\n", replies.BAD_LINE),
        (b"NOOP \x7f\r\n", replies.BAD_LINE),
        (b"NOOP \xe9\r\n", replies.BAD_LINE),  # Latin-1
        (b"NOOP \xc0\x80\r\n", replies.BAD_LINE),  # a NUL made too long
        (b"NOOP \xed\xa0\x80\r\n", replies.BAD_LINE),  # half a surrogate pair
        (b"N\xe9OP\r\n", replies.BAD_LINE),
        ("NÖOP\r\n".encode(), replies.UNKNOWN_COMMAND),
        ("ſEND\r\n".encode(), replies.NOT_SMTP),
        ("EHLO\N{NO-BREAK SPACE}x\r\n".encode(), replies.UNKNOWN_COMMAND),
        (b"HELP\r\n", replies.UNKNOWN_COMMAND),
        (b"POST / HTTP/1.1\r\n", replies.NOT_SMTP),
        (b" NOOP\r\n", replies.NOT_SMTP),
        (b"\x16\x03\x01\r\n", replies.NOT_SMTP),
    ],
)
def test_refused_lines(line: bytes, reply: Reply) -> None:
    assert read(line) == reply


LINES = st.binary(max_size=40) | st.tuples(
    st.sampled_from([*VERBS, "get", "x"]), st.text(max_size=20)
).map(lambda parts: " ".join(parts).encode("utf-8", "surrogatepass"))


@given(LINES)
def test_no_control_character_gets_through(line: bytes) -> None:
    command = read(line + b"\r\n")
    if isinstance(command, Command):
        assert command.verb in VERBS
        argument = command.argument or ""
        assert argument.encode() in line
        assert not any(ord(character) < 32 and character != "\t" for character in argument)
