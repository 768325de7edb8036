"""The commands for a whole store and for files of mail: import, export, backup, restore, db."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from mail.errors import Failure
from server import control
from server.terminal import Terminal, command
from server.trouble import Trouble

if TYPE_CHECKING:
    from server.admin import Answer
    from server.config import Config

T = TypeVar("T")
Told = Callable[[int, int], None]

MIB = 1024 * 1024

FILES = typer.Typer()
DB = typer.Typer(
    help="The database.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Login = Annotated[str, typer.Option("--user", help="Whose mail.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="A new file or an empty folder.")]


@command(
    FILES,
    "import",
    "restante import --user ada old.mbox",
    "restante import --user ada --format maildir ~/Maildir --folder archive",
)
def import_(
    terminal: Terminal,
    path: Annotated[Path, typer.Argument(help="A file, or a folder of files.")],
    user: Login,
    format_: Annotated[
        Literal["mbox", "mboxo", "maildir", "eml"], typer.Option("--format", help="What it is.")
    ] = "mbox",
    folder: Annotated[
        Literal["inbox", "archive"], typer.Option("--folder", help="Where it goes.")
    ] = "inbox",
    name: Annotated[
        str, typer.Option("--name", help="Under another name the same mail is taken once more.")
    ] = "mail",
) -> None:
    """Takes in mail from files. What was taken before is left alone, so it can be repeated."""
    limit = terminal.config().smtp.max_message_mib * MIB
    options = {"format": format_, "folder": folder, "name": name, "max_octets": limit}
    answer = _work(
        terminal,
        "import",
        "What was taken until then stays; mend that and run it again.",
        login=user,
        path=str(path.absolute()),
        options=options,
    )
    lines = [f"taken          {answer['taken']}", f"already there  {answer['there']}"]
    if answer["unfit"]:
        lines.append(f"not taken      {answer['unfit']}")
        lines += [f"  {each['place']}: {each['why']}" for each in answer["listed"]]
    if answer["rejected"]:
        lines.append(f"they are in    {answer['rejected']}")
    terminal.show(answer, *lines)
    if answer["unfit"]:
        raise typer.Exit(1)


@command(
    FILES,
    "export",
    "restante export --user ada -o ada.mbox",
    "restante export --format maildir -o everybody",
)
def export(
    terminal: Terminal,
    output: Out,
    user: Annotated[
        str | None, typer.Option("--user", help="Whose mail; without it everybody's.")
    ] = None,
    format_: Annotated[
        Literal["mbox", "maildir", "eml"], typer.Option("--format", help="What to write.")
    ] = "mbox",
    folder: Annotated[
        Literal["inbox", "archive", "held", "trash"] | None,
        typer.Option("--folder", help="Only this folder; without it all but the trash."),
    ] = None,
) -> None:
    """Writes mail to files, octet for octet."""
    answer = _work(
        terminal,
        "export",
        "Mend that and run it again, to another place or after removing what it made.",
        login=user,
        path=str(output.absolute()),
        options={"format": format_, "folder": folder},
    )
    rows = answer["exported"]
    damaged = [uid for row in rows for uid in row["damaged"]]
    lines = [f"{row['login']:<20} {row['messages']:>9}  {row['path']}" for row in rows]
    terminal.show(answer, *lines, *(f"damaged: {uid}" for uid in damaged))
    if damaged:
        raise typer.Exit(1)


@command(
    FILES, "backup", "restante backup -o /srv/backup", "restante backup -o /srv/backup --quiet"
)
def backup(
    terminal: Terminal,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the restores.")],
) -> None:
    """Adds a backup to a folder, while the server runs. Only what is new is copied."""
    path = str(output.absolute())
    answer = _work(terminal, "backup", "The backups of before are as they were.", path=path)
    lines = [
        f"backup    {output / answer['meta']}",
        f"messages  {answer['messages']}",
        f"new       {answer['bodies']} bodies, {_size(answer['octets'])}",
    ]
    terminal.show(answer, *lines, *(f"damaged   {uid}" for uid in answer["damaged"]))
    if answer["damaged"]:
        raise typer.Exit(1)


@command(FILES, "restore", "restante restore /srv/backup --check", "restante restore /srv/backup")
def restore(
    terminal: Terminal,
    directory: Annotated[Path, typer.Argument(help="The folder of the restores.")],
    check: Annotated[bool, typer.Option("--check", help="Only read the backup through.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the mail that is there.")
    ] = False,
) -> None:
    """Fills an empty store with the newest backup. The server must not run."""
    from store import restore as restores

    if check:
        with _expected("The backup cannot be used.", "Try an older copy of that folder."):
            checked = _shown(terminal, partial(restores.check, directory))
        answer: Answer = {
            "backup": checked.meta,
            "messages": checked.messages,
            "bodies": checked.bodies,
            "missing": checked.missing,
        }
        kept, found = None, 0
    else:
        url = _stopped(terminal)
        now = datetime.now(UTC)
        todo = "An empty store can be filled; --replace takes the place of one that is not."
        with _expected("Nothing was restored.", todo):
            restored = _shown(
                terminal, partial(restores.restore, directory, url, replace=replace, now=now)
            )
        checked, kept, found = restored.checked, restored.kept, restored.report.found
        answer = {
            "backup": checked.meta,
            "messages": checked.messages,
            "bodies": checked.bodies,
            "missing": checked.missing,
            "problems": found,
            "before": str(kept) if kept else None,
        }
    lines = [
        f"backup    {checked.meta}",
        f"messages  {checked.messages}",
        f"bodies    {checked.bodies}",
        *(f"missing   {uid}" for uid in checked.missing),
    ]
    if found:
        lines.append(f"problems  {found}; restante db verify lists them")
    if kept:
        lines.append(f"before    {kept}")
    terminal.show(answer, *lines)
    if checked.missing or found:
        raise typer.Exit(1)


@command(DB, "check", "restante db check", "restante db check --json")
def db_check(terminal: Terminal) -> None:
    """What an upgrade of the database would do."""
    from store import condition

    with _expected("The database cannot be used.", "Use the version of Restante that made it."):
        standing = condition.standing(_url(terminal.config()))
    missing = [{"revision": step.revision, "meaning": step.meaning} for step in standing.missing]
    terminal.show(
        {"found": standing.found, "newest": standing.newest, "missing": missing},
        f"schema   {standing.found or 'none yet'}",
        *(f"missing  {step['revision']}  {step['meaning']}" for step in missing),
    )


@command(DB, "upgrade", "restante db upgrade", "restante db upgrade --json")
def db_upgrade(terminal: Terminal) -> None:
    """Brings the database up to date; of an SQLite store a copy is made first."""
    from store import condition

    url = _stopped(terminal)
    with _expected("The database was not upgraded.", "Mend that and run it again."):
        before, copy = condition.upgrade(url)
    terminal.show(
        {
            "found": before.found,
            "newest": before.newest,
            "steps": [step.revision for step in before.missing],
            "copy": str(copy) if copy else None,
        },
        f"schema   {before.newest}",
        *(f"done     {step.revision}  {step.meaning}" for step in before.missing),
        *([f"before   {copy}"] if copy else []),
    )


@command(DB, "size", "restante db size", "restante db size --json")
def db_size(terminal: Terminal) -> None:
    """What the store holds, and the room that takes."""
    answer = _work(terminal, "db size", "Try again.")
    lines = [
        f"users     {answer['accounts']}",
        f"messages  {answer['messages']}, {_size(answer['octets'])}",
        f"bodies    {answer['bodies']}, {_size(answer['plain'])}, {_size(answer['stored'])} packed",
    ]
    if answer["file_octets"] is not None:
        lines.append(f"file      {_size(answer['file_octets'])}")
    terminal.show(answer, *lines)


@command(DB, "verify", "restante db verify", "restante db verify --bodies 10 --fix")
def db_verify(
    terminal: Terminal,
    bodies: Annotated[
        float, typer.Option("--bodies", min=0, max=100, help="Per cent of the bodies to read.")
    ] = 100,
    fix: Annotated[bool, typer.Option("--fix", help="Set wrong counters right.")] = False,
) -> None:
    """Whether the store holds what it says: counters, references, bodies."""
    answer = _work(terminal, "db verify", "Try again.", bodies=bodies, fix=fix)
    lines = [
        f"maildrops  {answer['maildrops']}",
        f"messages   {answer['messages']}",
        f"bodies     {answer['bodies']}, {answer['unpacked']} of them read",
        f"problems   {answer['found']}, {answer['mended']} mended",
    ]
    for each in answer["problems"]:
        place = f"{each['maildrop']} {each['id'] or ''}".rstrip()
        lines.append(f"  {place}: {each['wrong']} {each['detail']}".rstrip())
    terminal.show(answer, *lines)
    if answer["found"] > answer["mended"]:
        raise typer.Exit(1)


@command(
    DB,
    "move",
    "restante db move --to postgresql+psycopg://restante@db.example.org/restante",
    "restante db move --to sqlite:////srv/mail/restante.db",
)
def db_move(
    terminal: Terminal,
    to: Annotated[str, typer.Option("--to", help="The URL of an empty database.")],
) -> None:
    """Copies the store to another database and compares both. The server must not run."""
    from store import relocate

    url = _stopped(terminal)
    with _expected("The store was not moved.", "The old one is as it was; mend that, then again."):
        moved = _shown(terminal, partial(relocate.move, url, to))
    if moved.different:
        named = ", ".join(f"{table} of {place}" for table, place in moved.different[:10])
        raise Trouble(
            "The copy differs from the store.",
            named,
            "Keep the old one in use; check both databases for damage, then move again.",
            exit_code=1,
        )
    terminal.show(
        {"rows": moved.rows, "messages": moved.messages, "octets": moved.octets},
        f"moved     {moved.rows} rows, {moved.messages} messages, {_size(moved.octets)}",
        "next      set store.url to the new place, then restante serve",
    )


# How long work runs and is shown.


def _work(terminal: Terminal, act: str, todo: str, **arguments: object) -> Answer:
    """Runs a long act in the running server, or here on the store while none runs."""
    config = terminal.config()
    with _expected(f"The {act} did not come to its end.", todo), bar(terminal) as told:
        try:
            return control.ask(config.server.data_dir, act, arguments, told=told)
        except control.NotRunning:
            return asyncio.run(_work_here(config, act, arguments, told))


async def _work_here(config: Config, act: str, arguments: dict[str, Any], told: Told) -> Answer:
    from server import folder, transfer
    from server.parts import open_store
    from server.progress import Progress, followed

    async def tell(done: int, total: int) -> None:
        told(done, total)

    folder.prepare(config.server.data_dir)
    store = open_store(config)
    try:
        progress = Progress()
        work = transfer.LONG_ACTS[act](store, progress=progress, **arguments)
        return await followed(work, progress, tell)
    finally:
        await asyncio.to_thread(store.close)


def _shown(terminal: Terminal, work: Callable[..., T]) -> T:
    with bar(terminal) as told:
        return work(step=told)


@contextmanager
def bar(terminal: Terminal) -> Iterator[Told]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if terminal.quiet or not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.completed}"), BarColumn(), TaskProgressColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def _expected(what: str, todo: str) -> Iterator[None]:
    """An expected failure as three lines."""
    from store.engines import StoreUnfit

    try:
        yield
    except Failure as failure:
        raise Trouble(what, f"{failure.public}.", todo, exit_code=4) from failure
    except control.Broken as error:
        raise Trouble(
            what, f"{error}.", "Look into its log, then try again.", exit_code=3
        ) from error
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise Trouble(what, f"{why}.", todo, exit_code=3) from error
    except StoreUnfit as error:
        raise Trouble(what, f"{error}.", todo, exit_code=3) from error


def _stopped(terminal: Terminal) -> str:
    """The URL of the store. Raises Trouble while a server runs."""
    from server import folder

    config = terminal.config()
    folder.prepare(config.server.data_dir)
    if control.running(config.server.data_dir):
        raise Trouble(
            "The server is running.",
            "This needs the store for itself.",
            "Stop the server first.",
            exit_code=4,
        )
    with folder.claimed(config.server.data_dir):  # nor is one on its way, or stopping
        return _url(config)


def _url(config: Config) -> str:
    from server.parts import store_url

    return store_url(config)


def _size(octets: int) -> str:
    amount = float(octets)
    for unit in ("octets", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "octets" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
