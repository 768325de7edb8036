"""What every command has: three options, answers as text or JSON, errors in three lines.

A command is a plain function whose first parameter is the Terminal; `command` gives it the three
options and puts it into the typer application.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mail.address import Address
from mail.errors import BadAddress, Failure
from server import control
from server.config import Config, ConfigFaults, find, load
from server.trouble import Trouble

if TYPE_CHECKING:
    from server.admin import Answer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The configuration file.", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print nothing unless it fails.")]


@dataclass(frozen=True, slots=True)
class Terminal:
    """One run of one command."""

    config_file: Path | None
    as_json: bool
    quiet: bool

    def config_path(self) -> Path | None:
        return find(self.config_file, os.environ, cwd=Path.cwd(), trial_running=control.running)

    def config(self, instead: Mapping[str, str] | None = None) -> Config:
        """`instead`: goes before the environment. Raises Trouble, with every fault."""
        path = self.config_path()
        try:
            return load(path, {**os.environ, **(instead or {})})
        except ConfigFaults as error:
            count = len(error.faults)
            raise Trouble(
                f"The configuration has {count} fault{'s' if count > 1 else ''}.",
                "\n       ".join(map(str, error.faults)),
                f"Correct {path or 'the environment'}; `restante config default` shows every key.",
                exit_code=2,
            ) from error

    def ask(self, act: str, **arguments: object) -> Answer:
        """Runs an act in the running server, or here on the store while none runs."""
        config = self.config()
        try:
            return control.ask(config.server.data_dir, act, arguments)
        except control.NotRunning:
            return asyncio.run(_act_here(config, act, arguments))
        except control.Broken as error:
            raise Trouble(
                "The server could not do it.",
                f"{error}.",
                "Look into its log, then try again.",
                exit_code=3,
            ) from error

    def ask_server(self, act: str, **arguments: object) -> Answer:
        """Runs an act that only a running server can do. Raises Trouble while none runs."""
        data_dir = self.config().server.data_dir
        try:
            return control.ask(data_dir, act, arguments)
        except control.NotRunning:
            raise Trouble(
                "The server is not running.",
                f"Nothing answers in {data_dir}.",
                "Start it: restante serve",
                exit_code=3,
            ) from None

    def show(self, answer: Answer, *lines: str) -> None:
        """The answer as JSON, or `lines` of text."""
        if self.quiet:
            return
        if self.as_json:
            print(json.dumps(answer, indent=2))
        else:
            for line in lines:
                print(line)

    def table(
        self, answer: Answer, rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]
    ) -> None:
        """The answer as JSON, or `rows` as a table; `columns` maps a key to its heading."""
        if self.quiet or self.as_json or not rows:
            self.show(answer, "none yet")
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in columns.values():
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(str(row[key]) for key in columns))
        Console(highlight=False).print(table)


def confirm(question: str, *, yes: bool) -> None:
    """Raises Trouble unless somebody says yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Trouble(question, "There is no terminal to ask on.", "Add --yes.", exit_code=2)
    if not typer.confirm(question):
        raise Trouble("Nothing was changed.", "The answer was no.", "", exit_code=1)


def read_address(text: str) -> Address:
    """Raises Trouble."""
    try:
        return Address.parse(text)
    except BadAddress as error:
        raise Trouble(
            f"{text!r} is no mail address.", f"{error}.", "Write it as name@domain.", exit_code=2
        ) from error


async def _act_here(config: Config, act: str, arguments: Mapping[str, object]) -> Answer:
    # The parts of a server take most of a second to import; a command that only speaks to one
    # that runs is done by then.
    with importing():
        from auth.passwords import Passwords
        from server import admin, folder
        from server.parts import app_password_key, open_store

    folder.prepare(config.server.data_dir)
    store = open_store(config)
    passwords = Passwords()
    try:
        if act.startswith("collect "):
            from server import collect_acts

            return await collect_acts.act_here(config, store, act, arguments)
        desk = admin.Desk(store, passwords, app_password_key(config))
        return await admin.ACTS[act](desk, **arguments)
    finally:
        passwords.close()
        store.close()


@contextmanager
def importing() -> Iterator[None]:
    """What is imported here is not searched for garbage, now or later: it stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def command(
    application: typer.Typer, name: str, *examples: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function of a Terminal as the command `name`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters

        @wraps(function)
        def run(*, config: Path | None, json: bool, quiet: bool, **rest: Any) -> None:
            terminal = Terminal(config, as_json=json, quiet=quiet)
            try:
                function(terminal, **rest)
            except Trouble as trouble:
                print(trouble, file=sys.stderr)
                raise typer.Exit(trouble.exit_code) from None
            except Failure as failure:
                print(f"Refused: {failure.public}.", file=sys.stderr)
                raise typer.Exit(4) from None

        parameters = [*list(own.values())[1:], *_common_options()]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in keyword}
        epilog = "\n\n".join(["Examples:", *(f"  {example}" for example in examples)])
        application.command(name, epilog=epilog)(run)
        return function

    return register


def octets_of(text: str) -> int:
    """A size as people write it. Raises Trouble."""
    number, unit = text[:-1], text[-1:].upper()
    factor = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(unit)
    if factor is None:
        number, factor = text, 1
    if not number.isascii() or not number.isdigit():
        raise Trouble(f"{text!r} is no size.", "", "Write 800, 20K, 5M or 2G.", exit_code=2)
    return int(number) * factor


@cache
def _common_options() -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(_common, eval_str=True).parameters.values())


def _common(
    *, config: ConfigOption = None, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """The three options, as typer reads them."""
