"""The commands for collecting mail from accounts at other providers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mail.errors import Failure
from server import control
from server.terminal import Terminal, command
from server.transfer_cli import bar
from server.trouble import Trouble

if TYPE_CHECKING:
    from server.admin import Answer
    from server.config import Config

COLLECT = typer.Typer(
    help="Mail from accounts at other providers.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
UserOption = Annotated[
    str | None, typer.Option("--user", help="Whose; not needed while there is one user.")
]
Which = Annotated[str, typer.Argument(metavar="WHICH", help="Its id, address or name.")]
EXIT_NO, EXIT_REFUSED = 1, 4


@command(
    COLLECT,
    "add",
    "restante collect add ada.l@gmail.com --to ada",
    "restante collect add ada@example.net --host pop.example.net --keep-days 14 --password-stdin",
)
def collect_add(
    terminal: Terminal,
    address: str,
    to: Annotated[str | None, typer.Option("--to", help="Who gets the mail.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Instead of what is known.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535)] = None,
    username: Annotated[str | None, typer.Option("--username", help="If not the address.")] = None,
    keep_days: Annotated[
        int | None,
        typer.Option("--keep-days", min=0, max=3650, help="There; 0: none. Without it: for good."),
    ] = None,
    every_s: Annotated[int | None, typer.Option("--every", min=300, max=604_800)] = None,
    name: Annotated[str | None, typer.Option("--name")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Sign in there first.")] = True,
) -> None:
    """Fetches this account's mail from now on."""
    with _three_lines(address):
        found = terminal.ask("collect discover", address=address)
        if host is None and found["help"] and not (terminal.quiet or terminal.as_json):
            print(found["help"], file=sys.stderr)
        given = {
            "host": host,
            "port": port,
            "username": username,
            "keep_days": keep_days,
            "every_s": every_s,
            "name": name,
        }
        wish = {key: value for key, value in given.items() if value is not None}
        if host is not None or found["needs"] not in ("oauth", "none"):
            wish["password"] = _password(stdin=password_stdin)
        made = terminal.ask("collect add", login=to, address=address, test=test, **wish)
    terminal.show(made, *_lines(made), f"next       restante collect run {made['id']}")


@command(COLLECT, "list", "restante collect list", "restante collect list --user ada --json")
def collect_list(terminal: Terminal, user: UserOption = None) -> None:
    """Every collector, with its last run."""
    answer = terminal.ask("collect list", login=user)
    columns = {
        "id": "id",
        "login": "user",
        "address": "address",
        "host": "host",
        "shown": "state",
        "last": "last run",
    }
    rows = [row | {"shown": _state(row), "last": _last(row)} for row in answer["collectors"]]
    terminal.table(answer, rows, columns)


@command(
    COLLECT, "show", "restante collect show ada.l@gmail.com", "restante collect show Gmail --json"
)
def collect_show(terminal: Terminal, which: Which) -> None:
    """One collector."""
    found = terminal.ask("collect show", which=which)
    terminal.show(found, *_lines(found))


@command(
    COLLECT, "test", "restante collect test ada.l@gmail.com", "restante collect test Gmail --json"
)
def collect_test(terminal: Terminal, which: Which) -> None:
    """Step by step as far as counting the messages; fetches none."""
    tested = terminal.ask("collect test", which=which)
    words = {True: "ok", False: "FAILED"}
    terminal.show(
        tested,
        *(f"{row['step']:<12} {words[row['ok']]:<7} {row['detail']}" for row in tested["steps"]),
    )
    if not tested["ok"]:
        raise typer.Exit(EXIT_NO)


@command(COLLECT, "run", "restante collect run", "restante collect run ada.l@gmail.com")
def collect_run(
    terminal: Terminal,
    which: Annotated[
        str | None, typer.Argument(metavar="[WHICH]", help="Its id, address or name; else all.")
    ] = None,
    user: UserOption = None,
) -> None:
    """Fetches now and says what came."""
    with _three_lines(which or "collectors"), bar(terminal) as told:
        arguments = {"which": which, "login": user}
        config = terminal.config()
        try:
            done = control.ask(config.server.data_dir, "collect run", arguments, told=told)
        except control.NotRunning:
            done = asyncio.run(_run_here(config, arguments, told))
    rows = done["collectors"]
    terminal.show(done, *(_came(row) for row in rows))
    if any(row["error"] for row in rows):
        raise typer.Exit(EXIT_NO)


@command(
    COLLECT,
    "pause",
    "restante collect pause ada.l@gmail.com",
    "restante collect pause ada.l@gmail.com --undo",
)
def collect_pause(
    terminal: Terminal,
    which: Which,
    undo: Annotated[bool, typer.Option("--undo", help="Let it run again.")] = False,
) -> None:
    """It does not run by itself any more."""
    done = terminal.ask("collect pause", which=which, paused=not undo)
    terminal.show(done, f"{done['address']} {'is paused' if done['paused'] else 'runs again'}")


@command(
    COLLECT,
    "password",
    "restante collect password ada.l@gmail.com",
    "restante collect password Gmail --password-stdin",
)
def collect_password(
    terminal: Terminal,
    which: Which,
    stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Another password, of which one that has stopped makes a new beginning."""
    with _three_lines(which):
        secret = _password(stdin=stdin)
        done = terminal.ask("collect password", which=which, password=secret)
    terminal.show(done, f"{done['address']} is collected with this password from now on")


@command(
    COLLECT,
    "remove",
    "restante collect remove ada.l@gmail.com",
    "restante collect remove Gmail --json",
)
def collect_remove(terminal: Terminal, which: Which) -> None:
    """It is forgotten with its password; mail stays, here and there."""
    gone = terminal.ask("collect remove", which=which)
    terminal.show(gone, f"{gone['address']} is not collected any more")


async def _run_here(
    config: Config, arguments: dict[str, Any], told: Callable[[int, int], None]
) -> Answer:
    """While no server runs, this process collects."""
    from collector.service import Collecting
    from collector.worker import Worker
    from server import collect_acts, folder, logs
    from server.collect_acts import collector_tools, spool
    from server.parts import open_store
    from server.progress import Progress, followed

    async def tell(done: int, total: int) -> None:
        told(done, total)

    logs.configure("error")
    folder.prepare(config.server.data_dir)
    store = open_store(config)
    waiting = spool(config)
    tools = collector_tools(config, store, waiting)
    worker = Worker(tools)
    store.leases.start()
    try:
        desk = collect_acts.Desk(store, Collecting(tools, every_s=config.collector.every_s))
        asked = await collect_acts.ask(desk, **arguments)
        worker.start()  # not before: it would run by itself what is due
        progress = Progress()
        work = collect_acts.follow(desk, *asked, progress=progress)
        return await followed(work, progress, tell)
    finally:
        await worker.stop()
        await store.leases.stop()
        waiting.close()
        await asyncio.to_thread(store.close)


@contextmanager
def _three_lines(what: str) -> Iterator[None]:
    """A refusal as three lines: what, why, what to do."""
    try:
        yield
    except Failure as failure:
        raise Trouble(
            f"{what} cannot be collected.",
            f"{failure.public.rstrip('.')}.",
            _TODO.get(type(failure).__name__, "Correct that, and try again."),
            exit_code=EXIT_REFUSED,
        ) from failure


_TODO = {
    "UpstreamLogin": "Check the user name; most providers want an app password made there.",
    "UpstreamTls": "Check --host: the certificate must name it. Nothing is fetched without TLS.",
    "UpstreamFailed": "Check --host and --port, and that POP3 is switched on there.",
    "UpstreamTimeout": "Check --host and --port, or try again later.",
    "TargetNotAllowed": "Check --host; a private network must stand in server.private_targets.",
    "AlreadyRunning": "Wait for it: `restante collect list` shows how it ended.",
    "ProviderNeedsOAuth": "Let the provider forward the mail to an address here.",
    "ProviderHasNoPop3": "Let the provider forward the mail to an address here.",
}


def _password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Trouble(
            "There is no password.",
            "This is not a terminal, so nobody can be asked.",
            "Give it with --password-stdin.",
            exit_code=2,
        )
    secret: str = typer.prompt("password", hide_input=True)
    return secret


def _lines(row: Answer) -> list[str]:
    kept = {None: "for good", 0: "not at all"}
    days = row["keep_days"]
    return [
        f"{'collector':<10} {row['name']} {row['id']}",
        f"{'from':<10} {row['address']} at {row['host']}:{row['port']}",
        f"{'to':<10} {row['login']}",
        f"{'kept there':<10} {kept.get(days, f'{days} days')}",
        f"{'state':<10} {_state(row)}",
        f"{'last run':<10} {_last(row)}",
        f"{'next run':<10} {row['next_run_at'][:19]}Z",
    ]


def _state(row: Answer) -> str:
    return "paused" if row["paused"] else str(row["state"])


def _last(row: Answer) -> str:
    last = row["last_run"]
    if not last:
        return "never"
    return f"{last['at'][:16]}Z {_counts(last)}" + (f"; {last['error']}" if last["error"] else "")


def _came(row: Answer) -> str:
    return f"{row['name']} {_counts(row)}" + (f"; {row['error']}" if row["error"] else "")


def _counts(row: Answer) -> str:
    return f"{row['new']:,} new, {row['seen']:,} seen, {row['octets'] / 1_000_000:.1f} MB"
