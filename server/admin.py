"""What an administrator may do: one function per act, called by the control socket and, while
no server runs, by the command line itself. The API calls the same store below.

Each takes plain values and returns a plain dict; an expected refusal is a Failure.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from auth import app_passwords
from auth.passwords import Passwords, generate, refuse_weak
from mail.address import Address, parse_domain
from mail.errors import BadName, NotFound
from mail.ident import parse_row_id, row_id_text
from store.records import (
    Account,
    AddressState,
    Alias,
    AppPassword,
    Domain,
    DomainSettings,
    Role,
)
from store.store import Store

Answer = dict[str, Any]
Act = Callable[..., Awaitable[Answer]]
LongAct = Callable[..., Coroutine[Any, Any, Answer]]
"""Has a parameter `progress` besides, to which it tells how far it is."""

_LOGIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the acts work on. `key` is that of the app passwords."""

    store: Store
    passwords: Passwords
    key: bytes


def read_login(text: str) -> str:
    """Raises BadName."""
    login = text.lower()
    if not _LOGIN.fullmatch(login):
        raise BadName("a login has 1 to 64 of a-z, 0-9, dot, hyphen and underscore")
    try:
        parse_row_id(login)
    except ValueError:
        return login
    raise BadName("a login of this shape could be mistaken for an id; add or drop a letter")


async def user_add(
    desk: Desk,
    *,
    login: str,
    password: str | None = None,
    address: str | None = None,
    admin: bool = False,
) -> Answer:
    """Makes a user; without `password` one is made up and told in the answer, once."""
    login = read_login(login)
    secret = password or generate()
    refuse_weak(secret)
    account = await desk.store.accounts.add(
        login,
        await desk.passwords.hash(secret),
        role=Role.ADMIN if admin else Role.USER,
        address=Address.parse(address) if address else None,
    )
    return _user(account) | {"address": address} | ({} if password else {"password": secret})


async def user_list(desk: Desk) -> Answer:
    users = []
    for account in await desk.store.accounts.all():
        usage = await desk.store.maildrops.usage(account.maildrop_id)
        users.append(_user(account) | {"messages": usage.messages, "used": usage.octets})
    return {"users": users}


async def user_passwd(desk: Desk, *, login: str, password: str | None = None) -> Answer:
    """A new password; sessions begun with the old one end."""
    secret = password or generate()
    refuse_weak(secret)
    await desk.store.accounts.set_password(login, await desk.passwords.hash(secret))
    return {"login": login} | ({} if password else {"password": secret})


async def user_rm(desk: Desk, *, login: str) -> Answer:
    """Closes an account: sign-in and addresses end at once, its mail stays for the trash time."""
    until = await desk.store.accounts.close(login)
    return {"login": login, "mail_until": until.isoformat()}


async def app_password_add(desk: Desk, *, login: str, name: str, days: int | None = None) -> Answer:
    """A secret for one device, for POP3 alone; told in the answer, once."""
    if not name.isprintable() or not 1 <= len(name) <= 100:
        raise BadName("an app password has a name of 1 to 100 characters")
    account = await desk.store.accounts.get(login)
    secret = app_passwords.generate()
    keyed = app_passwords.keyed(secret, desk.key)
    assert keyed
    life = None if days is None else timedelta(days=days)
    made = await desk.store.credentials.add_app_password(account, name, keyed, life=life)
    return {"login": login} | _app_password(made) | {"password": secret}


async def app_password_list(desk: Desk, *, login: str) -> Answer:
    account = await desk.store.accounts.get(login)
    found = await desk.store.credentials.app_passwords(account)
    return {"app_passwords": [_app_password(each) for each in found]}


async def app_password_rm(desk: Desk, *, login: str, name: str) -> Answer:
    """Its device cannot sign in from now on."""
    account = await desk.store.accounts.get(login)
    for each in await desk.store.credentials.app_passwords(account):
        if each.name == name:
            await desk.store.credentials.remove_app_password(account, each.id)
            return {"login": login, "name": name}
    raise NotFound(f"{login} has no app password {name}")


async def domain_add(
    desk: Desk,
    *,
    name: str,
    catch_all: str | None = None,
    plus: str | None = None,
    alias_of: str | None = None,
) -> Answer:
    settings = _settings(catch_all, plus, alias_of)
    return _domain(await desk.store.domains.add(parse_domain(name), **settings))


async def domain_list(desk: Desk) -> Answer:
    return {"domains": [_domain(domain) for domain in await desk.store.domains.all()]}


async def domain_show(desk: Desk, *, name: str) -> Answer:
    return _domain(await desk.store.domains.get(parse_domain(name)))


async def domain_set(
    desk: Desk,
    *,
    name: str,
    catch_all: str | None = None,
    plus: str | None = None,
    alias_of: str | None = None,
) -> Answer:
    """None leaves a setting as it is, an empty text takes it away."""
    settings = _settings(catch_all, plus, alias_of)
    return _domain(await desk.store.domains.change(parse_domain(name), **settings))


async def domain_rm(desk: Desk, *, name: str, force: bool = False) -> Answer:
    domain = parse_domain(name)
    count = await desk.store.domains.remove(domain, force=force)
    return {"name": domain, "addresses_removed": count}


async def address_add(desk: Desk, *, address: str, to: list[str], note: str = "") -> Answer:
    return _alias(await desk.store.domains.add_address(Address.parse(address), *to, note=note))


async def address_list(desk: Desk, *, login: str | None = None) -> Answer:
    return {"addresses": [_alias(alias) for alias in await desk.store.domains.addresses(login)]}


async def address_open(desk: Desk, *, address: str) -> Answer:
    return await _put(desk, address, AddressState.OPEN)


async def address_close(desk: Desk, *, address: str) -> Answer:
    """Mail to it is refused, also where a catch-all would take it."""
    return await _put(desk, address, AddressState.CLOSED)


async def address_rm(desk: Desk, *, address: str) -> Answer:
    await desk.store.domains.remove_address(Address.parse(address))
    return {"address": address}


async def _put(desk: Desk, address: str, state: AddressState) -> Answer:
    changed = await desk.store.domains.change_address(Address.parse(address), state=state)
    return _alias(changed)


def _settings(catch_all: str | None, plus: str | None, alias_of: str | None) -> DomainSettings:
    settings = DomainSettings()
    if catch_all is not None:
        settings["catch_all"] = catch_all or None
    if plus is not None:
        settings["plus"] = plus
    if alias_of is not None:
        settings["alias_of"] = parse_domain(alias_of) if alias_of else None
    return settings


ACTS: Mapping[str, Act] = {
    "user add": user_add,
    "user list": user_list,
    "user passwd": user_passwd,
    "user rm": user_rm,
    "app-password add": app_password_add,
    "app-password list": app_password_list,
    "app-password rm": app_password_rm,
    "domain add": domain_add,
    "domain list": domain_list,
    "domain show": domain_show,
    "domain set": domain_set,
    "domain rm": domain_rm,
    "address add": address_add,
    "address list": address_list,
    "address open": address_open,
    "address close": address_close,
    "address rm": address_rm,
}


def _user(account: Account) -> Answer:
    return {
        "id": row_id_text(account.id),
        "login": account.login,
        "role": account.role.name.lower(),
        "created_at": account.created_at.isoformat(),
    }


def _app_password(found: AppPassword) -> Answer:
    expires_at, used_at = found.expires_at, found.used_at
    return {
        "id": row_id_text(found.id),
        "name": found.name,
        "created_at": found.created_at.isoformat(),
        "expires_at": expires_at.isoformat() if expires_at else None,
        "last_used_at": used_at.isoformat() if used_at else None,
        "last_ip": found.used_ip,
    }


def _domain(domain: Domain) -> Answer:
    return {
        "id": row_id_text(domain.id),
        "name": domain.name,
        "catch_all": domain.catch_all,
        "plus": domain.plus,
        "alias_of": domain.alias_of,
        "created_at": domain.created_at.isoformat(),
    }


def _alias(alias: Alias) -> Answer:
    return {
        "id": row_id_text(alias.id),
        "address": str(alias.address),
        "to": list(alias.to),
        "state": alias.state.name.lower(),
        "note": alias.note,
        "created_at": alias.created_at.isoformat(),
    }
