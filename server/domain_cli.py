"""The commands for domains and addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from server.terminal import Terminal, command, octets_of

if TYPE_CHECKING:
    from server.admin import Answer

_SETTINGS = {"help_option_names": ["-h", "--help"]}

DOMAIN = typer.Typer(
    help="Domains that mail is taken for.", no_args_is_help=True, context_settings=_SETTINGS
)
ADDRESS = typer.Typer(
    help="Addresses, and whose mail they are.", no_args_is_help=True, context_settings=_SETTINGS
)

CatchAll = Annotated[
    str | None, typer.Option("--catch-all", help="Who gets what has no address; '' for nobody.")
]
Plus = Annotated[
    str | None, typer.Option("--plus", help="Separators of sub-addresses, as '+-'; '' for none.")
]
AliasOf = Annotated[
    str | None, typer.Option("--alias-of", help="The domain it stands for; '' for none.")
]

SelfService = Annotated[
    bool | None,
    typer.Option("--self-service/--no-self-service", help="Whether users make addresses in it."),
]
MaxMessage = Annotated[
    str | None,
    typer.Option("--max-message", help="The largest message, as 10M; '' for the server's."),
]
RequireTls = Annotated[
    bool | None,
    typer.Option("--require-tls/--no-require-tls", help="Refuse senders without TLS."),
]
MtaSts = Annotated[
    Literal["off", "testing", "enforce"] | None,
    typer.Option("--mta-sts", help="What senders do if TLS fails: nothing, report it, wait."),
]
Outgoing = Annotated[
    str | None,
    typer.Option("--outgoing", help="Who sends for it, as smtp.example.net:465; '' for nobody."),
]


def _octets(size: str | None) -> int | None:
    """None: not given; 0: the server's."""
    return octets_of(size) if size else (None if size is None else 0)


@command(
    DOMAIN,
    "add",
    "restante domain add example.org --catch-all ada",
    "restante domain add bücher.example --alias-of example.org",
)
def domain_add(
    terminal: Terminal,
    name: str,
    catch_all: CatchAll = None,
    plus: Plus = None,
    alias_of: AliasOf = None,
    self_service: SelfService = None,
    max_message: MaxMessage = None,
    require_tls: RequireTls = None,
    mta_sts: MtaSts = None,
    outgoing: Outgoing = None,
) -> None:
    """From now on mail for addresses in this domain is taken."""
    made = terminal.ask(
        "domain add",
        name=name,
        catch_all=catch_all,
        plus=plus,
        alias_of=alias_of,
        self_service=self_service,
        max_message=_octets(max_message),
        require_tls=require_tls,
        mta_sts=mta_sts,
        outgoing=outgoing,
    )
    lines = _domain_lines(made)
    if not made["alias_of"]:
        lines.append(f"next       restante address add NAME@{made['name']} LOGIN")
    terminal.show(made, *lines)


@command(DOMAIN, "list", "restante domain list", "restante domain list --json")
def domain_list(terminal: Terminal) -> None:
    """Every domain."""
    answer = terminal.ask("domain list")
    columns = {
        "name": "domain",
        "catch_all": "catch-all",
        "plus": "separators",
        "alias_of": "alias of",
        "created_at": "since",
    }
    terminal.table(answer, [_shown(row) for row in answer["domains"]], columns)


@command(
    DOMAIN, "show", "restante domain show example.org", "restante domain show example.org --json"
)
def domain_show(terminal: Terminal, name: str) -> None:
    """One domain."""
    found = terminal.ask("domain show", name=name)
    terminal.show(found, *_domain_lines(found))


@command(
    DOMAIN,
    "set",
    "restante domain set example.org --catch-all ada",
    "restante domain set example.org --catch-all '' --plus '+-'",
)
def domain_set(
    terminal: Terminal,
    name: str,
    catch_all: CatchAll = None,
    plus: Plus = None,
    alias_of: AliasOf = None,
    self_service: SelfService = None,
    max_message: MaxMessage = None,
    require_tls: RequireTls = None,
    mta_sts: MtaSts = None,
    outgoing: Outgoing = None,
) -> None:
    """Changes what is given and leaves the rest."""
    done = terminal.ask(
        "domain set",
        name=name,
        catch_all=catch_all,
        plus=plus,
        alias_of=alias_of,
        self_service=self_service,
        max_message=_octets(max_message),
        require_tls=require_tls,
        mta_sts=mta_sts,
        outgoing=outgoing,
    )
    terminal.show(done, *_domain_lines(done))


@command(DOMAIN, "rm", "restante domain rm example.org", "restante domain rm example.org --force")
def domain_rm(
    terminal: Terminal,
    name: str,
    force: Annotated[bool, typer.Option("--force", help="With its addresses and aliases.")] = False,
) -> None:
    """Mail for this domain is refused from now on; mail that came stays."""
    gone = terminal.ask("domain rm", name=name, force=force)
    terminal.show(gone, f"{gone['name']} is gone, with {gone['addresses_removed']} addresses")


@command(
    ADDRESS,
    "add",
    "restante address add shop@example.org ada --note 'shoe shop'",
    "restante address add team@example.org ada bob",
)
def address_add(
    terminal: Terminal,
    address: str,
    logins: Annotated[list[str], typer.Argument(help="Whom its mail reaches.")],
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
) -> None:
    """Mail to this address reaches that user, or each of several."""
    made = terminal.ask("address add", address=address, to=logins, note=note)
    terminal.show(made, f"{made['address']} reaches {', '.join(made['to'])}")


@command(ADDRESS, "list", "restante address list", "restante address list --user ada")
def address_list(
    terminal: Terminal,
    login: Annotated[str | None, typer.Option("--user", help="Only those of one user.")] = None,
) -> None:
    """Every address."""
    answer = terminal.ask("address list", login=login)
    columns = {
        "address": "address",
        "to": "reaches",
        "state": "state",
        "note": "note",
        "created_at": "since",
    }
    terminal.table(answer, [_shown(row) for row in answer["addresses"]], columns)


@command(
    ADDRESS,
    "open",
    "restante address open shop@example.org",
    "restante address open shop@example.org --json",
)
def address_open(terminal: Terminal, address: str) -> None:
    """Mail to a closed address is taken again."""
    done = terminal.ask("address open", address=address)
    terminal.show(done, f"{done['address']} is open")


@command(
    ADDRESS,
    "close",
    "restante address close shop@example.org",
    "restante address close shop@example.org --json",
)
def address_close(terminal: Terminal, address: str) -> None:
    """Mail to this address is refused, also where a catch-all would take it."""
    done = terminal.ask("address close", address=address)
    terminal.show(done, f"{done['address']} is closed; mail that came stays")


@command(
    ADDRESS,
    "rm",
    "restante address rm shop@example.org",
    "restante address rm shop@example.org --json",
)
def address_rm(terminal: Terminal, address: str) -> None:
    """The address is forgotten; mail that came stays. Mail to it may reach a catch-all."""
    gone = terminal.ask("address rm", address=address)
    terminal.show(gone, f"{gone['address']} is gone")


def _domain_lines(domain: Answer) -> list[str]:
    told = {
        "domain": domain["name"],
        "alias of": domain["alias_of"],
        "catch-all": domain["catch_all"],
        "separators": domain["plus"],
        "addresses": "users make them" if domain["self_service"] else None,
        "messages": f"up to {domain['max_message']} octets" if domain["max_message"] else None,
        "senders": "only those with TLS" if domain["require_tls"] else None,
        "MTA-STS": domain["mta_sts"],
        "outgoing": domain["outgoing"],
    }
    return [f"{name:<10} {value}" for name, value in told.items() if value]


def _shown(row: Mapping[str, object]) -> dict[str, object]:
    """A row for eyes: nothing for null, names with commas between them."""
    return {
        key: ", ".join(value) if isinstance(value, list) else "" if value is None else value
        for key, value in row.items()
    }
