"""The commands for the secrets that are made here for programs."""

from __future__ import annotations

from typing import Annotated

import typer

from server.terminal import Terminal, command

APP_PASSWORD = typer.Typer(
    help="Secrets of single mail apps.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@command(
    APP_PASSWORD,
    "add",
    "restante app-password add ada phone",
    "restante app-password add ada visitor --days 30",
)
def app_password_add(
    terminal: Terminal,
    login: str,
    name: Annotated[str, typer.Argument(help="What tells it from the user's others.")],
    days: Annotated[int | None, typer.Option("--days", min=1, help="It ends after these.")] = None,
) -> None:
    """A secret for one mail app. It is shown once, and opens POP3 alone."""
    made = terminal.ask("app-password add", login=login, name=name, days=days)
    config = terminal.config()
    port = config.pop3.listen[0].port if config.pop3.listen else "-"
    terminal.show(
        made,
        f"user      {made['login']}     password  {made['password']}     (shown once)",
        f"mail app  POP3, server {config.server.hostname}, port {port}, SSL/TLS, normal password",
    )


@command(
    APP_PASSWORD,
    "list",
    "restante app-password list ada",
    "restante app-password list ada --json",
)
def app_password_list(terminal: Terminal, login: str) -> None:
    """A user's app passwords: when each ends, and when and from where it was used last."""
    answer = terminal.ask("app-password list", login=login)
    moments = ("created_at", "expires_at", "last_used_at")
    rows = [
        each | {name: (each[name] or "never")[:16] for name in moments}
        for each in answer["app_passwords"]
    ]
    columns = {
        "name": "name",
        "created_at": "since",
        "expires_at": "ends",
        "last_used_at": "used",
        "last_ip": "from",
    }
    terminal.table(answer, rows, columns)


@command(
    APP_PASSWORD,
    "rm",
    "restante app-password rm ada phone",
    "restante app-password rm ada phone --json",
)
def app_password_rm(terminal: Terminal, login: str, name: str) -> None:
    """The mail app that has it cannot sign in from now on."""
    gone = terminal.ask("app-password rm", login=login, name=name)
    terminal.show(gone, f"{gone['name']} is gone")
