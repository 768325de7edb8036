"""The commands for reading and tidying a user's mail."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.terminal import Terminal, command

if TYPE_CHECKING:
    from server.admin import Answer

MAIL = typer.Typer(
    help="A user's mail.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
UserOption = Annotated[
    str | None, typer.Option("--user", help="Whose mail; not needed while there is one user.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids as `mail list` shows them.")]


class ListFolder(StrEnum):
    INBOX = "inbox"
    ARCHIVE = "archive"
    TRASH = "trash"
    HELD = "held"
    ALL = "all"


class Target(StrEnum):
    INBOX = "inbox"
    ARCHIVE = "archive"
    TRASH = "trash"


@command(MAIL, "list", "restante mail list", "restante mail list --user ada --folder trash")
def mail_list(
    terminal: Terminal,
    user: UserOption = None,
    folder: Annotated[ListFolder, typer.Option("--folder")] = ListFolder.INBOX,
    limit: LimitOption = 50,
) -> None:
    """The newest messages of a folder."""
    _show(terminal, terminal.ask("mail list", login=user, folder=folder, limit=limit))


@command(
    MAIL,
    "search",
    "restante mail search 'is:unread has:attachment' --limit 5",
    "restante mail search 'from:bob after:2026-05-01' --user ada",
)
def mail_search(
    terminal: Terminal,
    q: Annotated[str, typer.Argument(metavar="QUERY", help="from: to: subject: is: has: ...")],
    user: UserOption = None,
    limit: LimitOption = 50,
) -> None:
    """Messages in any folder, newest first, by the words and terms of a search."""
    _show(terminal, terminal.ask("mail search", login=user, q=q, limit=limit))


def _show(terminal: Terminal, answer: Answer) -> None:
    rows = [
        {
            "id": each["id"],
            "time": each["received_at"][:16].replace("T", " "),
            "from": _person(each["from"]),
            "subject": each["subject"],
            "size": each["size"],
        }
        for each in answer["items"]
    ]
    columns = {name: name for name in ("time", "from", "subject", "size", "id")}
    terminal.table(answer, rows, columns)


@command(
    MAIL,
    "show",
    "restante mail show 01m815pwc8r84p57vfqvc2r1yd",
    "restante mail show 01m815pwc8r84p57vfqvc2r1yd --json",
)
def mail_show(
    terminal: Terminal, uid: Annotated[str, typer.Argument(metavar="ID")], user: UserOption = None
) -> None:
    """One message: who, when, its text, its attachments. It stays unread."""
    email = terminal.ask("mail show", login=user, uid=uid)
    lines = [
        f"from      {_person(email['from'])}",
        f"to        {_people(email['to'])}",
        f"subject   {email['subject']}",
        f"received  {email['received_at']}  in {email['folder']}, {email['size']} octets",
        *(f"attached  {a['name']}  {a['size']} octets" for a in email["attachments"]),
    ]
    if email["limit"]:
        lines.append(f"limit     {email['limit']}: not all of it is shown; try mail raw")
    terminal.show(email, *lines, "", _safe(email["body"]["text"] or ""))


@command(
    MAIL,
    "raw",
    "restante mail raw 01m815pwc8r84p57vfqvc2r1yd > mail.eml",
    "restante mail raw 01m815pwc8r84p57vfqvc2r1yd --user ada | less",
)
def mail_raw(
    terminal: Terminal, uid: Annotated[str, typer.Argument(metavar="ID")], user: UserOption = None
) -> None:
    """One message as it is kept, octet for octet, on standard output."""
    answer = terminal.ask("mail raw", login=user, uid=uid)
    if terminal.as_json:
        terminal.show(answer)
    elif not terminal.quiet:
        sys.stdout.buffer.write(base64.b64decode(answer["base64"]))
        sys.stdout.buffer.flush()


@command(
    MAIL,
    "move",
    "restante mail move archive 01m815pwc8r84p57vfqvc2r1yd",
    "restante mail move inbox 01m815pwc8r84p57vfqvc2r1yd --user ada",
)
def mail_move(terminal: Terminal, to: Target, ids: Ids, user: UserOption = None) -> None:
    """Moves messages: to the archive, to the trash, or back."""
    moved = terminal.ask("mail move", login=user, uids=ids, to=to)
    terminal.show(moved, f"{len(moved['ids'])} in {moved['folder']}")


@command(
    MAIL,
    "rm",
    "restante mail rm 01m815pwc8r84p57vfqvc2r1yd",
    "restante mail rm 01m815pwc8r84p57vfqvc2r1yd --final",
)
def mail_rm(
    terminal: Terminal,
    ids: Ids,
    user: UserOption = None,
    final: Annotated[bool, typer.Option("--final", help="For good: it cannot be undone.")] = False,
) -> None:
    """Moves messages to the trash, or deletes them for good."""
    gone = terminal.ask("mail rm", login=user, uids=ids, final=final)
    terminal.show(gone, f"{len(gone['ids'])} {'gone for good' if final else 'in trash'}")


def _person(mailbox: Mapping[str, Any]) -> str:
    name, address = _safe(mailbox["name"]), _safe(mailbox["address"])
    return f"{name} <{address}>" if name else address


def _people(mailboxes: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(map(_person, mailboxes))


def _safe(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c for c in text if c.isprintable() or c == "\n")
