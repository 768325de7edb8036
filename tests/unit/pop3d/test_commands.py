"""What the table of commands says, beside what the dialogs show."""

from pop3d.commands import TABLE, capa, list_, markdown, noop, top
from pop3d.engine import Send, Session, State, Table, count, number, optional


def test_the_commands_are_those_of_the_rfcs() -> None:
    # RFC 1939 sections 4 to 7 without APOP, RFC 2449 section 5, RFC 2595 section 4,
    # RFC 5034 section 4, RFC 6856 sections 2 and 3
    verbs = " ".join(sorted(row.verb for row in TABLE.rows()))
    rfc_1939 = "DELE LIST NOOP PASS QUIT RETR RSET STAT TOP UIDL USER"
    assert verbs == " ".join(sorted([*rfc_1939.split(), "AUTH", "CAPA", "LANG", "STLS", "UTF8"]))


def test_every_command_says_which_rfc_it_follows() -> None:
    assert all((row.run.__doc__ or "").startswith("RFC ") for row in TABLE.rows())


def test_capa_is_made_from_the_table_of_the_session() -> None:
    table = Table()
    table.command("CAPA", State.ANY)(capa)
    table.command("XTND", State.TRANSACTION, capa="XTND lines")(noop)
    [answer] = Session(table).receive(b"CAPA\r\n")
    assert isinstance(answer, Send)
    assert answer.data.split(b"\r\n")[1] == b"XTND lines"


def test_the_table_of_the_documentation() -> None:
    table = Table()
    table.command("TOP", State.TRANSACTION, args=(number, count), capa="TOP")(top)
    table.command("LIST", State.ANY, args=(optional(number),))(list_)
    assert markdown(table) == (
        "| Command | State | CAPA | Meaning |\n"
        "|---|---|---|---|\n"
        f"| `TOP msg n` | TRANSACTION | TOP | {top.__doc__} |\n"
        f"| `LIST [msg]` | CLEARTEXT, AUTHORIZATION, TRANSACTION |  | {list_.__doc__} |\n"
    )
