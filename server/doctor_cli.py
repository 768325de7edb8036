"""`restante doctor`: here while no server runs, else in the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from server import control
from server.terminal import Terminal, command
from server.trouble import Trouble

if TYPE_CHECKING:
    from api.models_doctor import GroupName
    from server.config import Config

DOCTOR = typer.Typer()


@command(DOCTOR, "doctor", "restante doctor", "restante doctor --only dns,tls")
def doctor(
    terminal: Terminal,
    only: Annotated[str | None, typer.Option("--only", help="Groups, with commas.")] = None,
) -> None:
    """Looks everything over; exit status 1 if something is to be mended."""
    from api.models_dns import NOT_NEEDED

    groups = _groups(only)
    config = terminal.config()
    try:
        answer = control.ask(config.server.data_dir, "doctor", {"only": groups})
    except control.NotRunning:
        answer = asyncio.run(_here(config, groups))
    lines = [
        f"  {item['mark']:<5} {item['text']}" + (f"  -> {item['next']}" if item["next"] else "")
        for item in answer["items"]
    ]
    if groups is None or "dns" in groups:
        lines.append(NOT_NEEDED)
    count = answer["to_fix"]
    last = f"{count} thing{'s' if count > 1 else ''} to fix." if count else "Nothing to fix."
    terminal.show(answer, *lines, last)
    if count:
        raise typer.Exit(1)


def _groups(only: str | None) -> list[GroupName] | None:
    from api.models_doctor import GroupName

    if only is None:
        return None
    groups: list[Any] = only.split(",")
    if unknown := [group for group in groups if group not in get_args(GroupName)]:
        raise Trouble(
            f"There is no group {unknown[0]!r}.",
            "",
            f"Name some of {','.join(get_args(GroupName))}.",
            exit_code=2,
        )
    return groups


async def _here(config: Config, groups: list[GroupName] | None) -> dict[str, Any]:
    from net.tls import Certificate
    from server import folder
    from server.doctor import Patient, examine
    from server.parts import load_certificate, open_store

    folder.prepare(config.server.data_dir)
    certificate: Certificate | Trouble
    try:
        certificate = load_certificate(config)
    except Trouble as trouble:
        certificate = trouble
    store = open_store(config)
    try:
        return (await examine(Patient(config, store, certificate), groups)).model_dump(mode="json")
    finally:
        store.close()
