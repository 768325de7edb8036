"""The commands for the secrets that are made here: for mail apps, for programs, for guests."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from server.terminal import Terminal, command

_SETTINGS = {"help_option_names": ["-h", "--help"]}

APP_PASSWORD = typer.Typer(
    help="Secrets of single mail apps.", no_args_is_help=True, context_settings=_SETTINGS
)
TOKEN = typer.Typer(
    help="Secrets of programs that use the API.", no_args_is_help=True, context_settings=_SETTINGS
)
INVITE = typer.Typer(
    help="Invitations to make an account.", no_args_is_help=True, context_settings=_SETTINGS
)

MOMENTS = ("created_at", "expires_at", "last_used_at")


def _readable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Their moments to the minute."""
    return [
        each | {name: (each[name] or "never")[:16] for name in MOMENTS if name in each}
        for each in rows
    ]


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
    columns = {
        "name": "name",
        "created_at": "since",
        "expires_at": "ends",
        "last_used_at": "used",
        "last_ip": "from",
    }
    terminal.table(answer, _readable(answer["app_passwords"]), columns)


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


@command(
    TOKEN,
    "add",
    "restante token add ada ci --scope mail:read --days 90",
    "restante token add ada backup --scope mail:read --scope account",
)
def token_add(
    terminal: Terminal,
    login: str,
    name: Annotated[str, typer.Argument(help="What tells it from the user's others.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="May be given again. None: all.")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, help="It ends after these.")] = None,
) -> None:
    """A secret for a program that uses the API. It is shown once."""
    made = terminal.ask("token add", login=login, name=name, scope=scope or [], days=days)
    terminal.show(
        made,
        f"token     {made['token']}     (shown once)",
        f"scopes    {' '.join(made['scopes'])}",
        f"next      curl -H 'Authorization: Bearer {made['token']}' .../api/me",
    )


@command(TOKEN, "list", "restante token list ada", "restante token list ada --json")
def token_list(terminal: Terminal, login: str) -> None:
    """A user's API tokens: what for, until when, and when and from where used last."""
    answer = terminal.ask("token list", login=login)
    rows = [each | {"scopes": " ".join(each["scopes"])} for each in _readable(answer["tokens"])]
    columns = {
        "name": "name",
        "scopes": "scopes",
        "expires_at": "ends",
        "last_used_at": "used",
        "last_ip": "from",
    }
    terminal.table(answer, rows, columns)


@command(TOKEN, "rm", "restante token rm ada ci", "restante token rm ada ci --json")
def token_rm(terminal: Terminal, login: str, name: str) -> None:
    """What has it is refused from now on."""
    gone = terminal.ask("token rm", login=login, name=name)
    terminal.show(gone, f"{gone['name']} is gone")


@command(
    INVITE,
    "add",
    "restante invite add --uses 1 --days 7",
    "restante invite add --address kim@example.org",
)
def invite_add(
    terminal: Terminal,
    address: Annotated[
        str | None, typer.Option("--address", help="The address that the guest gets.")
    ] = None,
    uses: Annotated[int, typer.Option("--uses", min=1, max=1000, help="Accounts.")] = 1,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="It ends after these.")] = 7,
) -> None:
    """A code with which somebody can make an account. It is shown once."""
    made = terminal.ask("invite add", address=address, uses=uses, days=days)
    link = f"{terminal.config().public_url}/register?invite={made['code']}"
    terminal.show(
        made | {"link": link},
        f"link      {link}",
        f"code      {made['code']}     (shown once)",
        f"ends      {made['expires_at'][:16]}",
    )


@command(INVITE, "list", "restante invite list", "restante invite list --json")
def invite_list(terminal: Terminal) -> None:
    """Invitations that can still be used."""
    answer = terminal.ask("invite list")
    columns = {"id": "id", "address": "address", "uses": "uses", "expires_at": "ends"}
    terminal.table(answer, _readable(answer["invites"]), columns)


@command(INVITE, "rm", "restante invite rm 0000000000a", "restante invite rm 0000000000a --json")
def invite_rm(terminal: Terminal, invite: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Whoever has its code makes no account with it."""
    gone = terminal.ask("invite rm", invite=invite)
    terminal.show(gone, f"{gone['id']} is gone")
