"""The commands for the configuration. None of them changes it."""

from __future__ import annotations

import os

import typer

from server.config import KEYS, default_text
from server.config import show as show_settings
from server.config_forms import as_toml
from server.config_sources import closest
from server.terminal import Terminal, command
from server.trouble import Trouble

CONFIG = typer.Typer(
    help="The configuration.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@command(CONFIG, "check", "restante config check", "restante config check --config other.toml")
def config_check(terminal: Terminal) -> None:
    """Reads the configuration and tells every fault in it."""
    terminal.config()
    path = terminal.config_path()
    terminal.show({"config": str(path) if path else None, "faults": []}, f"{path}: no faults")


@command(CONFIG, "show", "restante config show", "restante config show --json")
def config_show(terminal: Terminal) -> None:
    """Every key with the value in force and where it comes from."""
    terminal.config()
    settings = show_settings(terminal.config_path(), os.environ)
    rows = [{"key": s.key, "value": s.value, "source": s.source} for s in settings]
    columns = {"key": "key", "value": "value", "source": "from"}
    terminal.table({"settings": rows}, rows, columns)


@command(
    CONFIG,
    "explain",
    "restante config explain pop3.on_delete",
    "restante config explain limits.auth --json",
)
def config_explain(terminal: Terminal, key: str) -> None:
    """One key: its value and where that comes from, its default, its meaning."""
    if key not in KEYS:
        raise Trouble(
            f"There is no key {key}.",
            f"The closest one is {closest(key, KEYS)}.",
            "restante config show lists them all.",
            exit_code=1,
        )
    terminal.config()
    settings = show_settings(terminal.config_path(), os.environ)
    [found] = [each for each in settings if each.key == key]
    terminal.show(
        {
            "key": key,
            "value": found.value,
            "source": found.source,
            "default": found.default,
            "meaning": found.meaning,
            "accepted": found.accepted,
            "takes_hold": "restart",
        },
        f"{key} = {as_toml(found.value)}     (from: {found.source})",
        f"default   {as_toml(found.default)}",
        f"meaning   {found.meaning}",
        f"accepted  {found.accepted}",
        "change    takes hold when the server is started again",
    )


@command(CONFIG, "default", "restante config default", "restante config default > config.toml")
def config_default(terminal: Terminal) -> None:
    """The text of a configuration in which every key has its default."""
    terminal.show({"text": default_text()}, default_text().rstrip("\n"))
