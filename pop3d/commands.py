"""Every POP3 command: one function and one row of `TABLE` each.

To add one, add both here; its line in CAPA and in the table of the documentation follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mail.errors import NotPermitted
from mail.ident import texts
from pop3d import replies
from pop3d.engine import (
    LISTED_AT_ONCE,
    Action,
    Close,
    Column,
    Commit,
    Entries,
    Login,
    Send,
    SendListing,
    SendMessage,
    Session,
    StartTls,
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

# Said by CAPA beside the rows of the table (RFC 2449 section 6, RFC 3206 section 6). EXPIRE: what
# nobody deletes stays. IMPLEMENTATION: without a version, which is of use to an attacker first.
CAPABILITIES = (
    "EXPIRE NEVER",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "IMPLEMENTATION Restante",
)


@TABLE.command("STLS", State.CLEARTEXT, capa="STLS")
def stls(session: Session) -> list[Action]:
    """RFC 2595 section 4: TLS begins, and nothing that was said before it counts."""
    if session.unread:
        # Whoever put it there would have it taken for a part of what TLS protects.
        return [session.say(replies.STLS_LAST), Close("stls")]
    return [session.say(replies.BEGIN_TLS), StartTls()]


@TABLE.command("USER", State.AUTHORIZATION, args=(text,), capa="USER")
def user(session: Session, name: str) -> list[Action]:
    """RFC 1939 section 7: any name is taken, so that none can be found out."""
    session.user = name
    return [session.say(replies.USER_TAKEN)]


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


def login_name(session: Session, response: bytes) -> list[Action]:
    """The mechanism LOGIN, which no RFC describes: the user, then the password, each asked for."""
    try:
        name = response.decode()
    except ValueError:
        return session.refuse(replies.BAD_RESPONSE)
    if not name or "\0" in name:
        return session.refuse(replies.BAD_RESPONSE)
    return session.ask(b"Password:", partial(login_secret, name=name))


def login_secret(session: Session, response: bytes, *, name: str) -> list[Action]:
    try:
        secret = response.decode()
    except ValueError:
        return session.refuse(replies.BAD_RESPONSE)
    if not secret:
        return session.refuse(replies.BAD_RESPONSE)
    return [Login(name, secret)]


# SASL mechanisms: the first challenge, and what takes the response to it. Old Outlook has LOGIN.
MECHANISMS: dict[str, tuple[bytes, Step]] = {
    "PLAIN": (b"", plain),
    "LOGIN": (b"Username:", login_name),
}


@TABLE.command(
    "AUTH",
    State.AUTHORIZATION,
    args=(optional(text), optional(text)),
    capa=" ".join(("SASL", *MECHANISMS)),
)
def auth(
    session: Session, mechanism: str | None = None, response: str | None = None
) -> list[Action]:
    """RFC 5034 section 4: with an initial response (`=` is an empty one), or asking for it."""
    if mechanism is None:  # from before RFC 2449: Thunderbird asks so for what there is
        first = session.say(replies.MECHANISMS_FOLLOW).data
        return [Send(replies.multiline(first, MECHANISMS))]
    if mechanism.upper() not in MECHANISMS:
        return session.refuse(replies.UNKNOWN_MECHANISM)
    challenge, step = MECHANISMS[mechanism.upper()]
    if response is None:
        return session.ask(challenge, step)
    return session.respond(b"" if response == "=" else response.encode(), step)


@TABLE.command("CAPA", State.ANY)
def capa(session: Session) -> list[Action]:
    """RFC 2449 section 5: the same in every state, but for what needs TLS and what begins it."""
    cleartext = session.state is State.CLEARTEXT
    hidden = State.AUTHORIZATION if cleartext else State.CLEARTEXT
    rows = (row.capa for row in session.table.rows() if row.capa and row.states != hidden)
    first = session.say(replies.CAPABILITIES_FOLLOW).data
    return [Send(replies.multiline(first, (*rows, *CAPABILITIES)))]


@TABLE.command("UTF8", State.AUTHORIZATION, capa="UTF8")
def utf8(session: Session) -> list[Action]:
    """RFC 6856 section 2: changes nothing; messages are sent as they are stored."""
    return [session.say(replies.DONE)]


@TABLE.command("LANG", State.ANY, args=(optional(text),), capa="LANG")
def lang(session: Session, tag: str | None = None) -> list[Action]:
    """RFC 6856 section 3: the languages of replies, or the choice of one; `*` is the default."""
    if tag is None:
        first = session.say(replies.LANGUAGES_FOLLOW).data
        lines = (f"{known} {name}" for known, name in replies.LANGUAGES.items())
        return [Send(replies.multiline(first, lines))]
    # RFC 4647 section 3.4: who asks for de-AT is given de.
    chosen = replies.DEFAULT_LANGUAGE if tag == "*" else tag.lower().partition("-")[0]
    if chosen not in replies.LANGUAGES:
        return session.refuse(replies.UNKNOWN_LANGUAGE)
    session.language = chosen
    return [session.say(replies.language_chosen(chosen))]


@TABLE.command("STAT", State.TRANSACTION)
def stat(session: Session) -> list[Action]:
    """RFC 1939 section 5: deleted messages are in neither number."""
    left = len(session.entries) - len(session.deleted)
    return [Send(b"+OK %d %d\r\n" % (left, session.octets))]


def sizes(entries: Entries, part: slice) -> Sequence[int]:
    return entries.sizes[part]


def uids(entries: Entries, part: slice) -> list[str]:
    return texts(entries.uids[16 * part.start : 16 * part.stop])


def listing(session: Session, column: Column) -> list[Action]:
    blocks = session.listing(column)
    if len(session.entries) <= LISTED_AT_ONCE:
        return [Send(b"".join(blocks))]
    return [SendListing(blocks)]


@TABLE.command("LIST", State.TRANSACTION, args=(optional(number),))
def list_(session: Session, n: int | None = None) -> list[Action]:
    """RFC 1939 section 5: the size of one message, or of all that are not deleted."""
    if n is not None:
        return [Send(b"+OK %d %d\r\n" % (n, session.entry(n).size))]
    return listing(session, sizes)


@TABLE.command("UIDL", State.TRANSACTION, args=(optional(number),), capa="UIDL")
def uidl(session: Session, n: int | None = None) -> list[Action]:
    """RFC 1939 section 7: the unique-id of one message, or of all that are not deleted."""
    if n is not None:
        return [Send(f"+OK {n} {session.entry(n).uid}\r\n".encode("ascii"))]
    return listing(session, uids)


@TABLE.command("RETR", State.TRANSACTION, args=(number,))
def retr(session: Session, n: int) -> list[Action]:
    """RFC 1939 section 5: the whole message."""
    entry = session.entry(n)
    reply = session.say(replies.message_follows(entry.size)).data
    return [SendMessage(reply, entry.uid, entry.size, None)]


@TABLE.command("TOP", State.TRANSACTION, args=(number, count), capa="TOP")
def top(session: Session, n: int, body_lines: int) -> list[Action]:
    """RFC 1939 section 7: header, blank line, then so many lines of the body."""
    entry = session.entry(n)
    reply = session.say(replies.TOP_FOLLOWS).data
    return [SendMessage(reply, entry.uid, entry.size, body_lines)]


@TABLE.command("DELE", State.TRANSACTION, args=(number,))
def dele(session: Session, n: int) -> list[Action]:
    """RFC 1939 section 5: only marked; QUIT removes."""
    session.octets -= session.entry(n).size
    session.deleted[n] = None
    return [session.say(replies.DONE)]


@TABLE.command("NOOP", State.TRANSACTION)
def noop(session: Session) -> list[Action]:
    """RFC 1939 section 5: says yes and keeps the session from being idle."""
    return [session.say(replies.DONE)]


@TABLE.command("RSET", State.TRANSACTION)
def rset(session: Session) -> list[Action]:
    """RFC 1939 section 5: no message is deleted any more."""
    session.octets += sum(session.entries[n - 1].size for n in session.deleted)
    session.deleted.clear()
    return [session.say(replies.DONE)]


@TABLE.command("QUIT", State.ANY)
def quit_(session: Session) -> list[Action]:
    """RFC 1939 sections 4 and 6: the answer waits for the removal of what is deleted."""
    if session.state is State.TRANSACTION:
        return [Commit(tuple(session.entries[n - 1].uid for n in sorted(session.deleted)))]
    return [session.say(replies.BYE), Close("quit")]


def markdown(table: Table) -> str:
    """The commands as the documentation lists them."""
    lines = ["| Command | State | CAPA | Meaning |", "|---|---|---|---|"]
    for row in table.rows():
        words = [f"[{arg.name}]" if arg.optional else arg.name for arg in row.args]
        call = " ".join([row.verb, *words])
        states = ", ".join(str(state.name) for state in State if state in row.states)
        lines.append(f"| `{call}` | {states} | {row.capa or ''} | {row.run.__doc__} |")
    return "\n".join([*lines, ""])
