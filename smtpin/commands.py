"""One line of a client as a command. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from smtpin import replies
from smtpin.replies import Reply

COMMAND_OCTETS = 1_000  # with CRLF

VERBS = frozenset(
    ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "STARTTLS")
)
# RFC 2920 section 3.1: these end a group of pipelined commands; RFC 3207 section 4.
ENDS_A_GROUP = frozenset(("EHLO", "DATA", "STARTTLS"))
WITHIN_A_GROUP = frozenset(("MAIL", "RCPT", "RSET"))
OTHER_PROTOCOLS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI")
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Command:
    verb: str  # one of VERBS
    argument: str | None


def read(line: bytes) -> Command | Reply:
    """What a line, its LF included, asks for; or why it asks for nothing."""
    if not line.endswith(b"\r\n"):
        return replies.BARE_LF
    if len(line) > COMMAND_OCTETS:
        return replies.LINE_TOO_LONG
    try:
        text = line[:-2].decode()
    except UnicodeDecodeError:
        text = "\0"  # as unfit as that
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    if verb in OTHER_PROTOCOLS or (text and not line[:1].isalpha()):
        return replies.NOT_SMTP
    if not verb or _CONTROLS.search(text):
        return replies.BAD_LINE
    if verb not in VERBS:
        return replies.UNKNOWN_COMMAND
    return Command(verb, argument.strip(" \t") or None)
