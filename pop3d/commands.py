"""Every POP3 command: one function and one row of `TABLE` each.

To add one, add both here; its line in CAPA and in the table of the documentation follow.
"""

from __future__ import annotations

from mail.errors import NotPermitted
from mail.ident import texts
from pop3d import replies
from pop3d.engine import (
    Action,
    Close,
    Commit,
    Login,
    Send,
    SendMessage,
    Session,
    State,
    Step,
    Table,
    count,
    number,
    optional,
    rest_of_line,
    text,
)

TABLE = Table()

# Said by CAPA beside the rows of the table (RFC 2449 section 6, RFC 3206 section 6).
CAPABILITIES = ("RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "IMPLEMENTATION Restante")


@TABLE.command("USER", State.AUTHORIZATION, args=(text,), capa="USER")
def user(session: Session, name: str) -> list[Action]:
    """RFC 1939 section 7: any name is taken, so that none can be found out."""
    session.user = name
    return [Send(replies.USER_TAKEN)]


@TABLE.command("PASS", State.AUTHORIZATION, args=(rest_of_line,))
def pass_(session: Session, secret: str) -> list[Action]:
    """RFC 1939 section 7: the one argument may hold spaces; after a USER only."""
    name, session.user = session.user, None
    if name is None:
        return session.refuse(replies.USER_FIRST)
    return [Login(name, secret)]


def plain(session: Session, response: bytes) -> list[Action]:
    """RFC 4616 section 2: authorisation identity, NUL, user, NUL, password."""
    try:
        identity, name, secret = (part.decode() for part in response.split(b"\0"))
    except ValueError:
        return session.refuse(replies.BAD_RESPONSE)
    if not name or not secret:
        return session.refuse(replies.BAD_RESPONSE)
    if identity not in ("", name):
        raise NotPermitted("nobody may act for another")
    return [Login(name, secret)]


# SASL mechanisms: the first challenge, and what takes the response to it.
MECHANISMS: dict[str, tuple[bytes, Step]] = {"PLAIN": (b"", plain)}


@TABLE.command(
    "AUTH",
    State.AUTHORIZATION,
    args=(text, optional(text)),
    capa=" ".join(("SASL", *MECHANISMS)),
)
def auth(session: Session, mechanism: str, response: str | None = None) -> list[Action]:
    """RFC 5034 section 4: with an initial response (`=` is an empty one), or asking for it."""
    if mechanism.upper() not in MECHANISMS:
        return session.refuse(replies.UNKNOWN_MECHANISM)
    challenge, step = MECHANISMS[mechanism.upper()]
    if response is None:
        return session.ask(challenge, step)
    return session.respond(b"" if response == "=" else response.encode(), step)


@TABLE.command("CAPA", State.ANY)
def capa(session: Session) -> list[Action]:
    """RFC 2449 section 5: the same in both states."""
    rows = (row.capa for row in session.table.rows() if row.capa)
    return [Send(replies.multiline("capabilities follow", (*rows, *CAPABILITIES)))]


@TABLE.command("STAT", State.TRANSACTION)
def stat(session: Session) -> list[Action]:
    """RFC 1939 section 5: deleted messages are in neither number."""
    left = len(session.entries) - len(session.deleted)
    return [Send(replies.ok(f"{left} {session.octets}"))]


@TABLE.command("LIST", State.TRANSACTION, args=(optional(number),))
def list_(session: Session, n: int | None = None) -> list[Action]:
    """RFC 1939 section 5: the size of one message, or of all that are not deleted."""
    if n is not None:
        return [Send(replies.ok(f"{n} {session.entry(n).size}"))]
    lines = [f"{listed} {entry.size}" for listed, entry in session.listed()]
    return [Send(replies.multiline(f"{len(lines)} messages", lines))]


@TABLE.command("UIDL", State.TRANSACTION, args=(optional(number),), capa="UIDL")
def uidl(session: Session, n: int | None = None) -> list[Action]:
    """RFC 1939 section 7: the unique-id of one message, or of all that are not deleted."""
    if n is not None:
        return [Send(replies.ok(f"{n} {session.entry(n).uid}"))]
    listed = list(session.listed())
    uids = texts(b"".join(entry.uid.octets for _, entry in listed))
    lines = [f"{at} {uid}" for (at, _), uid in zip(listed, uids, strict=True)]
    return [Send(replies.multiline(f"{len(lines)} messages", lines))]


@TABLE.command("RETR", State.TRANSACTION, args=(number,))
def retr(session: Session, n: int) -> list[Action]:
    """RFC 1939 section 5: the whole message."""
    entry = session.entry(n)
    return [SendMessage(entry.uid, entry.size, None)]


@TABLE.command("TOP", State.TRANSACTION, args=(number, count), capa="TOP")
def top(session: Session, n: int, body_lines: int) -> list[Action]:
    """RFC 1939 section 7: header, blank line, then so many lines of the body."""
    entry = session.entry(n)
    return [SendMessage(entry.uid, entry.size, body_lines)]


@TABLE.command("DELE", State.TRANSACTION, args=(number,))
def dele(session: Session, n: int) -> list[Action]:
    """RFC 1939 section 5: only marked; QUIT removes."""
    session.octets -= session.entry(n).size
    session.deleted.add(n)
    return [Send(replies.DONE)]


@TABLE.command("NOOP", State.TRANSACTION)
def noop(session: Session) -> list[Action]:
    """RFC 1939 section 5: says yes and keeps the session from being idle."""
    return [Send(replies.DONE)]


@TABLE.command("RSET", State.TRANSACTION)
def rset(session: Session) -> list[Action]:
    """RFC 1939 section 5: no message is deleted any more."""
    session.octets += sum(session.entries[n - 1].size for n in session.deleted)
    session.deleted.clear()
    return [Send(replies.DONE)]


@TABLE.command("QUIT", State.ANY)
def quit_(session: Session) -> list[Action]:
    """RFC 1939 sections 4 and 6: the answer waits for the removal of what is deleted."""
    if session.state is State.TRANSACTION:
        return [Commit(tuple(session.entries[n - 1].uid for n in sorted(session.deleted)))]
    return [Send(replies.BYE), Close("quit")]


def markdown(table: Table) -> str:
    """The commands as the documentation lists them."""
    lines = ["| Command | State | CAPA | Meaning |", "|---|---|---|---|"]
    for row in table.rows():
        words = [f"[{arg.name}]" if arg.optional else arg.name for arg in row.args]
        call = " ".join([row.verb, *words])
        states = ", ".join(str(state.name) for state in State if state in row.states)
        lines.append(f"| `{call}` | {states} | {row.capa or ''} | {row.run.__doc__} |")
    return "\n".join([*lines, ""])
