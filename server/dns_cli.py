"""The commands for the DNS records of a domain."""

from __future__ import annotations

import asyncio
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server import control
from server.terminal import Terminal, command
from server.trouble import Trouble

if TYPE_CHECKING:
    from api.models_dns import Check, Subject
    from server.domain_dns import DomainDns

DNS = typer.Typer(
    help="The DNS records of a domain.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NOBODY, UNSURE = "nobody", "unsure"
LOOK_S = 15


class Form(StrEnum):
    TABLE = "table"
    ZONE = "zone"
    JSON = "json"
    CSV = "csv"


Only = Annotated[
    str | None, typer.Option("--only", help="One kind: mx, spf, dmarc ...", metavar="KIND")
]


@command(
    DNS,
    "show",
    "restante dns show example.org",
    "restante dns show example.org --format zone --sends-via nobody",
)
def dns_show(
    terminal: Terminal,
    domain: str,
    form: Annotated[Form, typer.Option("--format")] = Form.TABLE,
    only: Only = None,
    sends_via: Annotated[
        str | None,
        typer.Option(
            "--sends-via", help="Who sends mail as it: nobody, unsure, or SPF terms.", metavar="WHO"
        ),
    ] = None,
) -> None:
    """The records to enter where the domain is registered, each with its reason."""
    found = terminal.ask("domain show", name=domain)
    if sends_via is None and found["sends_via"] is None and sys.stdin.isatty():
        sends_via = _question(found["name"])
    if sends_via is not None:
        found = terminal.ask("domain set", name=domain, sends_via=sends_via)
    dns = _dns(terminal)
    named = (_subject(found), _key(only))
    as_json = terminal.as_json or form is Form.JSON
    answer = dns.told(*named).model_dump(mode="json")
    if as_json:
        Terminal(terminal.config_file, as_json=True, quiet=terminal.quiet).show(answer)
        return
    text = dns.text(*named, form=form.value)  # type: ignore[arg-type]  # json went above
    terminal.show(answer, text.removesuffix("\n"))
    if form is Form.TABLE:
        _tell_the_rest(terminal, found)


def _tell_the_rest(terminal: Terminal, found: dict[str, Any]) -> None:
    from api.models_dns import NOT_NEEDED

    lines = ["", NOT_NEEDED]
    if found["sends_via"] is None:
        lines += [
            f"Nobody has said yet whether another service sends mail as @{found['name']}: records",
            "that would break its mail are left out. If nobody does:",
            f"restante dns show {found['name']} --sends-via nobody",
        ]
    terminal.show({}, *lines, "", f"Then: restante dns check {found['name']} --watch")


def _question(domain: str) -> str:
    """Who sends for it: the first question, because the wrong records would break that mail."""
    answer = typer.prompt(
        f"Does anybody send mail as @{domain} through another service? [y/N/unsure]",
        default="n",
        show_default=False,
    )
    match answer.strip().lower()[:1]:
        case "y":
            return str(typer.prompt("What SPF says of it, as include:_spf.example.net"))
        case "n":
            return NOBODY
        case _:
            return UNSURE


@command(
    DNS,
    "check",
    "restante dns check example.org",
    "restante dns check example.org --watch",
)
def dns_check(
    terminal: Terminal,
    domain: str,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on looking until everything is there.")
    ] = False,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Seconds between two looks.")
    ] = LOOK_S,
) -> None:
    """Compares what name servers say with what they should; exit status 1 unless all agree."""
    from api.models_dns import fine, settled, spread
    from server.domain_dns import check_table

    found = terminal.ask("domain show", name=domain)
    dns = _dns(terminal)

    def look() -> Check:
        return asyncio.run(dns.check(_subject(found)))

    check = look()
    terminal.show(check.model_dump(mode="json"), check_table(check).removesuffix("\n"))
    if all(item.state == "skipped" for item in check.items):
        raise Trouble(
            f"Nothing is known of {found['name']}.",
            check.items[0].reason,
            "Look at server.resolvers, or wait until the domain is registered.",
            exit_code=3,
        )
    while watch and not spread(check):
        time.sleep(every)
        before, check = check, look()
        for old, new in zip(before.items, check.items, strict=True):
            if (old.state, settled(old)) != (new.state, settled(new)):
                rest = "" if settled(new) or not fine(new) else ", not yet at the resolver"
                line = f"{new.state:<8} {new.name} {new.type}{rest}"
                terminal.show(new.model_dump(mode="json"), line)
    if not spread(check):
        raise typer.Exit(1)


def _subject(found: dict[str, Any]) -> Subject:
    from api.models_dns import Subject

    return Subject(found["name"], found["sends_via"], found["mta_sts"])


def _key(only: str | None) -> str | None:
    from typing import get_args

    from server.zone import Key

    if only is not None and only not in get_args(Key):
        raise Trouble(
            f"There is no kind of record {only!r}.",
            "",
            f"Name one of {', '.join(get_args(Key))}.",
            exit_code=2,
        )
    return only


def _dns(terminal: Terminal) -> DomainDns:
    """With the key of the running server's certificate; without one no TLSA record is told."""
    from server.domain_dns import DomainDns

    config = terminal.config()
    try:
        key = control.ask(config.server.data_dir, "status", {})["key_sha256"]
    except (control.NotRunning, control.Broken):
        key = ""
    return DomainDns(config, key)
