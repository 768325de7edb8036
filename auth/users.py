"""New users and new passwords: what the command line and the API both do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auth.passwords import Passwords, generate
from mail.address import Address
from mail.errors import BadName
from mail.ident import parse_row_id
from store.records import Profile, Role
from store.store import Store

_LOGIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class NewUser:
    """`password` None: one is made up. `quota_octets` None: as configured."""

    login: str
    password: str | None = None
    role: Role = Role.USER
    address: Address | None = None
    quota_octets: int | None = None


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


async def add(store: Store, passwords: Passwords, new: NewUser) -> tuple[Profile, str | None]:
    """The user, and the password if it was made up: nobody is told it again.

    Raises BadName, WeakPassword, NameTaken, AddressTaken, NamedNothing, StorageBusy.
    """
    login = read_login(new.login)
    secret = new.password or generate()
    await passwords.refuse_weak(secret, login, str(new.address or ""))
    account = await store.accounts.add(
        login,
        await passwords.hash(secret),
        role=new.role,
        address=new.address,
        quota_octets=new.quota_octets,
    )
    return await store.profiles.get(account.id), None if new.password else secret


async def set_password(
    store: Store, passwords: Passwords, key: str | int, password: str | None
) -> str | None:
    """Sessions begun with the old one end. Returns the password if it was made up.

    Raises NotFound, WeakPassword, StorageBusy.
    """
    user = await store.profiles.get(key)
    secret = password or generate()
    await passwords.refuse_weak(secret, user.login)
    await store.accounts.set_password(key, await passwords.hash(secret))
    return None if password else secret
