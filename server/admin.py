"""What an administrator may do: one function per act, called by the control socket and, while
no server runs, by the command line itself. The API calls the same store below.

Each takes plain values and returns a plain dict; an expected refusal is a Failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

from auth import app_passwords, codes, scopes, users
from auth.passwords import Passwords
from mail.address import Address, parse_domain
from mail.errors import BadName, NotFound, NotPermitted
from mail.ident import new_row_id, parse_row_id, row_id_text
from server import mail_acts
from store.lists import Span
from store.records import (
    AccountState,
    AddressState,
    Alias,
    ApiToken,
    AppPassword,
    Domain,
    DomainSettings,
    Invite,
    MtaSts,
    OnSpam,
    Profile,
    Role,
)
from store.store import Store

EVERY = 1_000_000  # rows of a list; the command line shows it whole

Answer = dict[str, Any]
Act = Callable[..., Awaitable[Answer]]
LongAct = Callable[..., Coroutine[Any, Any, Answer]]
"""Has a parameter `progress` besides, to which it tells how far it is."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the acts work on. `key` is that of the app passwords."""

    store: Store
    passwords: Passwords
    key: bytes


async def user_add(
    desk: Desk,
    *,
    login: str,
    password: str | None = None,
    address: str | None = None,
    admin: bool = False,
) -> Answer:
    """Makes a user; without `password` one is made up and told in the answer, once."""
    made, generated = await users.add(
        desk.store,
        desk.passwords,
        users.NewUser(
            login,
            password=password,
            role=Role.ADMIN if admin else Role.USER,
            address=Address.parse(address) if address else None,
        ),
    )
    return _user(made) | {"address": address} | ({"password": generated} if generated else {})


async def user_list(desk: Desk) -> Answer:
    found = await desk.store.profiles.page(Span(EVERY))
    return {"users": [_user(user) for user in found.rows]}


async def user_show(desk: Desk, *, login: str) -> Answer:
    user = await desk.store.profiles.get(login.lower())
    addresses = await desk.store.domains.addresses(user.login)
    return _user(user) | {"addresses": [str(alias.address) for alias in addresses]}


async def user_quota(desk: Desk, *, login: str, octets: int | None) -> Answer:
    """0 is no limit, None that of the configuration."""
    return _user(await desk.store.profiles.change(login.lower(), quota_octets=octets))


async def user_disable(desk: Desk, *, login: str, disabled: bool = True) -> Answer:
    """Nobody signs in to it, and who is signed in is signed out. It still receives mail."""
    state = AccountState.DISABLED if disabled else AccountState.OPEN
    return _user(await desk.store.profiles.change(login.lower(), state=state))


async def user_passwd(desk: Desk, *, login: str, password: str | None = None) -> Answer:
    """A new password; sessions begun with the old one end."""
    generated = await users.set_password(desk.store, desk.passwords, login.lower(), password)
    return {"login": login} | ({"password": generated} if generated else {})


async def user_rm(desk: Desk, *, login: str) -> Answer:
    """Closes an account: sign-in and addresses end at once, its mail stays for the trash time."""
    until = await desk.store.accounts.close(login.lower())
    return {"login": login, "mail_until": until.isoformat()}


async def user_spam(desk: Desk, *, login: str, wish: str) -> Answer:
    """What becomes of this user's suspected spam. Raises BadName, NotFound."""
    try:
        chosen = OnSpam[wish.upper()]
    except KeyError as error:
        raise BadName("suspected spam can be: tag, hold, refuse") from error
    account = await desk.store.accounts.get(login)
    await desk.store.maildrops.set_on_spam(account.maildrop_id, chosen)
    return {"login": login, "spam": chosen.name.lower()}


async def app_password_add(desk: Desk, *, login: str, name: str, days: int | None = None) -> Answer:
    """A secret for one device, for POP3 alone; told in the answer, once."""
    _check_name(name)
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


class DomainWish(TypedDict, total=False):
    """None leaves a setting as it is, an empty text or 0 takes it away."""

    catch_all: str | None
    plus: str | None
    alias_of: str | None
    sends_via: str | None
    self_service: bool | None
    max_message: int | None
    require_tls: bool | None
    mta_sts: str | None
    outgoing: str | None


async def token_add(
    desk: Desk, *, login: str, name: str, scope: list[str], days: int | None = None
) -> Answer:
    """An API token, told in the answer, once; no scope: all that the user's role has."""
    _check_name(name)
    account = await desk.store.accounts.get(login)
    given = scopes.of_role(account.role)
    try:
        wanted = scopes.of_line(" ".join(scope)) or given
    except ValueError as error:
        raise BadName(f"scopes are {', '.join(scopes.Scope)}") from error
    if not wanted <= given:
        raise NotPermitted(f"{login} may have {scopes.line(given)}")
    now = datetime.now(UTC)
    ends = None if days is None else now + timedelta(days=days)
    secret = codes.api_token()
    made = ApiToken(new_row_id(), name, scopes.line(wanted), None, (), now, ends)
    await desk.store.tokens.add(account, made, codes.token_hash(desk.key, secret))
    return {"login": login} | _token(made) | {"token": secret}


async def token_list(desk: Desk, *, login: str) -> Answer:
    account = await desk.store.accounts.get(login)
    return {"tokens": [_token(each) for each in await desk.store.tokens.all(account)]}


async def token_rm(desk: Desk, *, login: str, name: str) -> Answer:
    """What has it is refused from now on."""
    account = await desk.store.accounts.get(login)
    for each in await desk.store.tokens.all(account):
        if each.name == name:
            await desk.store.tokens.remove(account, each.id)
            return {"login": login, "name": name}
    raise NotFound(f"{login} has no token {name}")


async def invite_add(
    desk: Desk, *, address: str | None = None, uses: int = 1, days: int = 7
) -> Answer:
    """An invitation to make an account; its code is told in the answer, once."""
    code = codes.generate(codes.INVITE)
    made = await desk.store.invites.add(
        codes.invite_hash(desk.key, code),
        address=Address.parse(address) if address else None,
        uses=uses,
        life=timedelta(days=days),
    )
    return _invite(made) | {"code": code}


async def invite_list(desk: Desk) -> Answer:
    return {"invites": [_invite(each) for each in await desk.store.invites.all()]}


async def invite_rm(desk: Desk, *, invite: str) -> Answer:
    """Whoever has its code makes no account with it."""
    try:
        invite_id = parse_row_id(invite)
    except ValueError:
        raise NotFound("there is no such invitation") from None
    await desk.store.invites.remove(invite_id)
    return {"id": invite}


def _check_name(name: str) -> None:
    if not name.isprintable() or not 1 <= len(name) <= 100:
        raise BadName("a name has 1 to 100 characters")


async def domain_add(desk: Desk, *, name: str, **wish: Unpack[DomainWish]) -> Answer:
    return _domain(await desk.store.domains.add(parse_domain(name), **_settings(wish)))


async def domain_list(desk: Desk) -> Answer:
    return {"domains": [_domain(domain) for domain in await desk.store.domains.all()]}


async def domain_show(desk: Desk, *, name: str) -> Answer:
    return _domain(await desk.store.domains.get(parse_domain(name)))


async def domain_set(desk: Desk, *, name: str, **wish: Unpack[DomainWish]) -> Answer:
    return _domain(await desk.store.domains.change(parse_domain(name), **_settings(wish)))


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


def _settings(wish: DomainWish) -> DomainSettings:
    settings = DomainSettings()
    if (catch_all := wish.get("catch_all")) is not None:
        settings["catch_all"] = catch_all or None
    if (plus := wish.get("plus")) is not None:
        settings["plus"] = plus
    if (alias_of := wish.get("alias_of")) is not None:
        settings["alias_of"] = parse_domain(alias_of) if alias_of else None
    if (sends_via := wish.get("sends_via")) is not None:
        settings["sends_via"] = {"unsure": None, "nobody": ""}.get(sends_via, sends_via)
    if (self_service := wish.get("self_service")) is not None:
        settings["self_service"] = self_service
    if (max_message := wish.get("max_message")) is not None:
        settings["max_message"] = max_message or None
    if (require_tls := wish.get("require_tls")) is not None:
        settings["require_tls"] = require_tls
    if (mta_sts := wish.get("mta_sts")) is not None:
        settings["mta_sts"] = MtaSts[mta_sts.upper()]
    if (outgoing := wish.get("outgoing")) is not None:
        settings["outgoing"] = outgoing or None
    return settings


ACTS: Mapping[str, Act] = {
    **mail_acts.ACTS,
    "user add": user_add,
    "user list": user_list,
    "user show": user_show,
    "user quota": user_quota,
    "user disable": user_disable,
    "user passwd": user_passwd,
    "user rm": user_rm,
    "user spam": user_spam,
    "app-password add": app_password_add,
    "app-password list": app_password_list,
    "app-password rm": app_password_rm,
    "token add": token_add,
    "token list": token_list,
    "token rm": token_rm,
    "invite add": invite_add,
    "invite list": invite_list,
    "invite rm": invite_rm,
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


def _user(user: Profile) -> Answer:
    seen = user.last_seen_at
    return {
        "id": row_id_text(user.id),
        "login": user.login,
        "role": user.role.name.lower(),
        "disabled": user.state is AccountState.DISABLED,
        "quota": user.quota_octets,
        "messages": user.messages,
        "used": user.used_octets,
        "created_at": user.created_at.isoformat(),
        "last_seen_at": seen.isoformat() if seen else None,
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


def _token(found: ApiToken) -> Answer:
    expires_at, used_at = found.expires_at, found.used_at
    return {
        "id": row_id_text(found.id),
        "name": found.name,
        "scopes": found.scopes.split(),
        "created_at": found.created_at.isoformat(),
        "expires_at": expires_at.isoformat() if expires_at else None,
        "last_used_at": used_at.isoformat() if used_at else None,
        "last_ip": found.used_ip,
    }


def _invite(found: Invite) -> Answer:
    return {
        "id": row_id_text(found.id),
        "address": str(found.address) if found.address else None,
        "uses": found.uses,
        "created_at": found.created_at.isoformat(),
        "expires_at": found.expires_at.isoformat(),
    }


def _domain(domain: Domain) -> Answer:
    return {
        "id": row_id_text(domain.id),
        "name": domain.name,
        "catch_all": domain.catch_all,
        "plus": domain.plus,
        "alias_of": domain.alias_of,
        "sends_via": domain.sends_via,
        "self_service": domain.self_service,
        "max_message": domain.max_message,
        "require_tls": domain.require_tls,
        "mta_sts": domain.mta_sts.name.lower(),
        "outgoing": domain.outgoing,
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
