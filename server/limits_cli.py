"""The commands for the counts of requests, which the running server has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from server.terminal import Terminal, command

if TYPE_CHECKING:
    from server.admin import Answer

LIMITS = typer.Typer(
    help="What clients have taken of their limits.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Client = Annotated[str, typer.Option("--ip", help="The client's address.")]


@command(
    LIMITS,
    "show",
    "restante limits show --ip 198.51.100.7",
    "restante limits show --ip 2001:db8::1 --json",
)
def limits_show(terminal: Terminal, ip: Client) -> None:
    """What a client has left of each class of requests."""
    found = terminal.ask_server("limits show", ip=ip)
    lines = [
        f"{row['class']:<8} {row['left']} of {row['limit']} left, more in {row['reset_s']} s"
        for row in found["items"]
    ]
    terminal.show(found, *lines or ["no limit holds for it"])


@command(
    LIMITS,
    "clear",
    "restante limits clear --ip 198.51.100.7",
    "restante limits clear --ip 2001:db8::1 --json",
)
def limits_clear(terminal: Terminal, ip: Client) -> None:
    """Forgets what a client has taken, and its wrong passwords."""
    before = terminal.ask_server("limits clear", ip=ip)
    taken = [_taken(row) for row in before["items"] if row["left"] < row["limit"]]
    terminal.show(before, f"cleared {', '.join(taken) or 'its wrong passwords, if any'}")


def _taken(row: Answer) -> str:
    return f"{row['class']} ({row['limit'] - row['left']}/{row['limit']})"
