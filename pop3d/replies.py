"""What a POP3 client is told. Texts are constant; only numbers of ours are put in.

The codes in brackets are those of RFC 2449 section 8 and RFC 3206: `[AUTH]` asks for other
credentials, `[SYS/TEMP]` for another try later.
"""

from __future__ import annotations

from collections.abc import Iterable

from mail.errors import (
    BackupDamaged,
    BadAddress,
    BadContent,
    BadCredentials,
    BadName,
    Failure,
    FileTrouble,
    FullForDays,
    InUse,
    LeaseLost,
    MailLoop,
    MessageDamaged,
    MessageTooLarge,
    NameTaken,
    NoSuchMessage,
    NotEmpty,
    NotFound,
    NotMail,
    NotOurDomain,
    NotPermitted,
    OutcomeUnknown,
    OverQuota,
    StorageBusy,
    StorageFull,
    TooMany,
    UnknownRecipient,
    WeakPassword,
)


def ok(text: str) -> bytes:
    return f"+OK {text}\r\n".encode("ascii")


def error(text: str) -> bytes:
    return f"-ERR {text}\r\n".encode("ascii")


def multiline(text: str, lines: Iterable[str]) -> bytes:
    """RFC 1939 section 3. None of `lines` may begin with a dot."""
    return "\r\n".join((f"+OK {text}", *lines, ".", "")).encode("ascii")


GREETING = ok("POP3 ready")
DONE = ok("done")
USER_TAKEN = ok("password, please")
LOGGED_IN = ok("logged in")
BYE = ok("bye")
TOP_FOLLOWS = ok("top of message follows")

BAD_LINE = error("a line ends in CRLF and has no CR, LF or NUL inside")
LINE_TOO_LONG = error("line too long")
UNKNOWN_COMMAND = error("unknown command")
WRONG_STATE = error("not possible in this state")
WRONG_ARGUMENTS = error("wrong arguments")
USER_FIRST = error("USER comes first")
UNKNOWN_MECHANISM = error("unknown mechanism")
BAD_RESPONSE = error("malformed response")
CANCELLED = error("cancelled")
GONE = error("[SYS/TEMP] the message is not here any more")
NOTHING_REMOVED = error("[SYS/TEMP] nothing was removed, try again")
LOCAL_FAULT = error("[SYS/TEMP] local fault, try again")

# One row for each Failure; None: cannot occur in a POP3 session.
ROWS: dict[type[Failure], str | None] = {
    BadCredentials: "[AUTH] user name or password is wrong",
    NotPermitted: "[AUTH] not permitted",
    NoSuchMessage: "no such message",
    TooMany: "[SYS/TEMP] too many attempts",
    StorageBusy: "[SYS/TEMP] busy, try again",
    StorageFull: "[SYS/TEMP] busy, try again",
    MessageDamaged: "[SYS/TEMP] the message cannot be read now",
    BackupDamaged: None,
    FileTrouble: None,
    LeaseLost: None,
    NotEmpty: None,
    NotMail: None,
    BadAddress: None,
    BadContent: None,
    FullForDays: None,
    OutcomeUnknown: None,  # then nothing is said at all
    BadName: None,
    InUse: None,
    MailLoop: None,
    MessageTooLarge: None,
    NameTaken: None,
    NotFound: None,
    NotOurDomain: None,
    OverQuota: None,
    UnknownRecipient: None,
    WeakPassword: None,
}


def refused(failure: Failure) -> bytes:
    """The failure's own text is not shown, so nothing in it can forge a line of ours."""
    text = ROWS.get(type(failure))
    if text is None:
        return LOCAL_FAULT
    retry_after_s = failure.facts.get("retry_after_s")
    if isinstance(retry_after_s, int):
        text += f"; try again in {retry_after_s} seconds"
    return error(text)


def too_many_connections(retry_after_s: int) -> bytes:
    return error(f"[SYS/TEMP] too many connections; try again in {retry_after_s} seconds")


def message_follows(size: int) -> bytes:
    return ok(f"{size} octets")
