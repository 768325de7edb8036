"""The commands that set a server up and prove that mail comes in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.terminal import Terminal, command, confirm, read_address
from server.trouble import Trouble

if TYPE_CHECKING:
    from mail.address import Address
    from server.setup import Setup

SETUP = typer.Typer()

PROOF_S = 600
LOOK_S = 3


@command(
    SETUP,
    "setup",
    "sudo restante setup you@example.org --host mail.example.org --dry-run",
    "sudo restante setup you@example.org --undo",
)
def setup(
    terminal: Terminal,
    address: Annotated[str, typer.Argument(help="The first address, in a domain of yours.")],
    host: Annotated[
        str,
        typer.Option("--host", help="This machine's name in DNS; if not said, mail.DOMAIN."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take away what setup made, except mail.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    user: Annotated[str, typer.Option("--user", help="The service's account.")] = "restante",
    root: Annotated[
        Path, typer.Option("--root", help="Set up the system below this folder, for an image.")
    ] = Path("/"),
) -> None:
    """This machine takes the mail of a domain from now on, also after the next boot."""
    from server.setup import Setup

    first = read_address(address)
    plan = Setup(first, host or f"mail.{first.domain}", user=user, root=root.absolute())
    if not dry_run and plan.here and os.geteuid() != 0:
        raise Trouble(
            "Setting up a machine takes root.",
            "It makes a user, folders in /etc and /var/lib, and a service.",
            f"sudo restante setup {address}    (first with --dry-run: that changes nothing)",
            exit_code=4,
        )
    if terminal.quiet or terminal.as_json:
        plan.say = lambda _line: None
    if undo:
        confirm("Take away what setup made, except the mail?", yes=yes)
        plan.undo()
        terminal.show({"made": plan.made})
        return
    rows = [{"step": text, "done": done} for text, done in plan.plan()]
    terminal.show(
        {"plan": rows},
        *(f"  {'there' if row['done'] else 'to do'}  {row['step']}" for row in rows),
    )
    plan.check()
    if dry_run:
        return
    confirm("Do that?", yes=yes)
    plan.run()
    _tell_records(terminal, plan)


def _tell_records(terminal: Terminal, plan: Setup) -> None:
    """What is left to do is elsewhere: at the registrar, and at the sender of a first mail."""
    from api.models_dns import Subject
    from server.config import load
    from server.domain_dns import DomainDns
    from server.zone import as_table

    domain = str(plan.address.domain)
    records = DomainDns(load(plan.config_file, {})).records(Subject(domain, None, "testing"))
    needed = [record for record in records if record.tier == 1]
    if terminal.quiet or terminal.as_json:
        return
    config = f" --config {plan.config_file}" if not plan.here else ""
    for line in (
        "",
        "Enter these records where the domain is registered:",
        "",
        as_table(needed),
        "Then, one after the other:",
        *([] if plan.systemd else _how_to_start(config)),
        f"  restante dns check {domain} --watch{config}",
        f"  restante proof {domain}{config}",
        f"  restante dns show {domain}{config}    which records keep others from posing as you",
    ):
        plan.say(line)


def _how_to_start(config: str) -> list[str]:
    """systemd does not run here, so the service was not started."""
    from server.setup import ENABLE

    return [
        f"  {' '.join(ENABLE)}    where systemd runs; it does not here",
        f"  restante serve{config}    instead, where it never does",
    ]


@command(
    SETUP,
    "proof",
    "restante proof example.org",
    "restante proof example.org --timeout 60",
)
def proof(
    terminal: Terminal,
    domain: str,
    timeout: Annotated[int, typer.Option("--timeout", help="Seconds to wait.")] = PROOF_S,
) -> None:
    """An address to write to from outside; then the way that mail took."""
    from server.proof import new_address, way

    terminal.ask_server("status")
    wanted = new_address(read_address(f"proof@{domain}").domain)
    login = _first_admin(terminal)
    terminal.ask("address add", address=str(wanted), to=[login], note="restante proof")
    try:
        if not terminal.as_json:
            lines = (f"Write to {wanted} from another mail account.", "Waiting for it ...")
            terminal.show({}, *lines)
        raw = _arrived(terminal, login, wanted, timeout)
    finally:
        terminal.ask("address rm", address=str(wanted))
    if raw is None:
        raise Trouble(
            f"Nothing came to {wanted} in {timeout} s.",
            "Either port 25 does not reach this machine, or the MX record leads elsewhere; "
            "some senders try again only after a quarter of an hour.",
            f"restante dns check {domain}",
            exit_code=1,
        )
    told = way(raw)
    terminal.show(told, *(f"  {name:<9}{value}" for name, value in told.items()))


def _first_admin(terminal: Terminal) -> str:
    for user in terminal.ask("user list")["users"]:
        if user["role"] == "admin" and not user["disabled"]:
            return str(user["login"])
    raise Trouble(
        "There is no administrator.",
        "The mail of the proof comes to one.",
        "restante user add NAME --admin",
        exit_code=4,
    )


def _arrived(terminal: Terminal, login: str, wanted: Address, timeout: int) -> bytes | None:
    """The message, which goes to the trash then; None if none came in time."""
    import base64

    ends = time.monotonic() + timeout
    while time.monotonic() < ends:
        for row in terminal.ask("mail list", login=login, folder="inbox", limit=20)["items"]:
            if str(wanted) in row["delivered_to"]:
                octets = terminal.ask("mail raw", login=login, uid=row["id"])["base64"]
                terminal.ask("mail rm", login=login, uids=[row["id"]], final=False)
                return base64.b64decode(octets)
        time.sleep(LOOK_S)
    return None
