"""New accounts, as functions of a connection: their rows, and what those who ask must show."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from mail.errors import DomainNotOpen, InviteInvalid, NameTaken
from mail.ident import new_row_id
from store import schema
from store.addresses import domain_for_new, insert_address
from store.directory import home_domain
from store.factors import insert_codes
from store.invites import spend
from store.records import (
    Account,
    AccountState,
    Alias,
    Credential,
    CredentialKind,
    Registration,
    Role,
    microseconds,
)


def register(
    account: Account, password: Credential, wish: Registration, connection: Connection
) -> None:
    columns = schema.account.c
    found = connection.execute(
        select(columns.id).where(columns.login == account.login)
    ).scalar_one_or_none()
    if found == account.id:
        return  # an earlier try whose answer was lost
    if found:
        raise NameTaken(f"the user {account.login} exists already")
    if wish.first and has_admin(connection):
        raise InviteInvalid("there is an administrator already")
    domain_id = _domain(wish, connection)
    if wish.invite_id is not None and not spend(wish.invite_id, connection):
        raise InviteInvalid("the invitation was used before")
    insert_account(account, password, connection)
    insert_codes(account, wish.codes, connection, now=account.created_at)
    if wish.address is None:
        return
    if domain_id is None:
        domain_id = _insert_domain(account, wish.address.domain, connection)
    alias = Alias(new_row_id(), wish.address, (account.login,), account.created_at)
    insert_address(alias, domain_id, [account.maildrop_id], connection)


def _domain(wish: Registration, connection: Connection) -> int | None:
    """That of the address; None when there is no address, or the domain is to be made."""
    if wish.address is None:
        return None
    domain = home_domain(wish.address.domain, connection)
    if domain is None and wish.first:
        return None
    invited = wish.invite_id is not None and _invited_to(wish.invite_id, connection)
    if not wish.first and invited != str(wish.address) and not (domain and domain.self_service):
        raise DomainNotOpen(f"addresses in {wish.address.domain} are the administrator's to make")
    return domain_for_new(wish.address, connection)


def _invited_to(invite_id: int, connection: Connection) -> str | None:
    columns = schema.invite.c
    return connection.execute(
        select(columns.address).where(columns.id == invite_id)
    ).scalar_one_or_none()


def _insert_domain(account: Account, name: str, connection: Connection) -> int:
    domain_id = new_row_id()
    connection.execute(
        insert(schema.domain).values(
            id=domain_id, name=name, created_at=microseconds(account.created_at)
        )
    )
    return domain_id


def insert_account(
    account: Account,
    password: Credential,
    connection: Connection,
    *,
    quota_octets: int | None = None,
) -> None:
    """The rows of an account whose login was found free."""
    now = microseconds(account.created_at)
    connection.execute(
        insert(schema.account).values(
            id=account.id,
            login=account.login,
            role=account.role,
            state=account.state,
            display_name=account.display_name,
            created_at=now,
        )
    )
    connection.execute(
        insert(schema.maildrop).values(
            id=account.maildrop_id, account_id=account.id, quota_octets=quota_octets
        )
    )
    connection.execute(
        insert(schema.credential).values(
            id=password.id,
            account_id=account.id,
            kind=CredentialKind.PASSWORD,
            secret=password.secret,
            version=password.version,
            created_at=now,
        )
    )


def has_admin(connection: Connection) -> bool:
    """Whether there is an administrator whose account is not closed."""
    columns = schema.account.c
    found = select(columns.id).where(
        columns.role == Role.ADMIN, columns.state != AccountState.CLOSED
    )
    return connection.execute(found.limit(1)).first() is not None
