"""Users, as an administrator manages them. The command line calls the same in `auth.users`."""

from __future__ import annotations

from typing import Final

from api.call import Call, Reply
from api.lists import Listing
from api.models import Query
from api.models_admin import (
    ListQuery,
    NewPassword,
    NewUser,
    PasswordMade,
    RemoveUserQuery,
    UserChange,
    UserDetail,
    UserMade,
    UserPage,
)
from auth import users
from mail.address import Address
from mail.errors import BadName, NotFound
from mail.ident import parse_row_id, row_id_text
from store.records import AccountState, Profile, ProfileSettings, Role


def detail(user: Profile) -> UserDetail:
    return UserDetail(
        id=row_id_text(user.id),
        login=user.login,
        display_name=user.display_name,
        role="admin" if user.role is Role.ADMIN else "user",
        disabled=user.state is AccountState.DISABLED,
        must_change_password=user.must_change_password,
        totp=user.totp,
        quota=user.quota_octets,
        used=user.used_octets,
        created_at=user.created_at,
        last_seen_at=user.last_seen_at,
    )


LIST: Final[Listing[Profile]] = Listing("/api/users", UserPage, detail, lambda user: (user.login,))


async def index(call: Call[ListQuery, None]) -> Reply:
    """GET /api/users: by login."""
    return LIST.reply(call, await call.parts.store.profiles.page(LIST.span(call)))


async def create(call: Call[Query, NewUser]) -> Reply:
    """POST /api/users: a user with a maildrop, and an address if one is given."""
    body, parts = call.body, call.parts
    made, generated = await users.add(
        parts.store,
        parts.passwords,
        users.NewUser(
            body.login,
            password=body.password.get_secret_value() if body.password else None,
            role=Role[body.role.upper()],
            address=Address.parse(body.address) if body.address else None,
            quota_octets=body.quota,
        ),
    )
    members = detail(made).model_dump()
    answer = UserMade(**members, password=generated) if generated else UserMade(**members)
    return Reply(answer, status=201, headers={"Location": f"/api/users/{row_id_text(made.id)}"})


async def read(call: Call[Query, None]) -> Reply:
    """GET /api/users/{id}: by id or login."""
    return Reply(detail(await call.parts.store.profiles.get(_key(call.path["id"]))), versioned=True)


async def change(call: Call[Query, UserChange]) -> Reply:
    """PUT /api/users/{id}: what is given is changed. Who is disabled still receives mail."""
    given, body = call.body.model_fields_set, call.body
    settings = ProfileSettings()
    if "role" in given:
        settings["role"] = Role[body.role.upper()]
    if "disabled" in given:
        settings["state"] = AccountState.DISABLED if body.disabled else AccountState.OPEN
    if "must_change_password" in given:
        settings["must_change_password"] = body.must_change_password
    if "quota" in given:
        settings["quota_octets"] = body.quota
    changed = await call.parts.store.profiles.change(
        _key(call.path["id"]), guard=call.guard(detail), **settings
    )
    return Reply(detail(changed), versioned=True)


async def remove(call: Call[RemoveUserQuery, None]) -> Reply:
    """DELETE /api/users/{id}: sign-in and addresses end at once."""
    await call.parts.store.accounts.close(
        _key(call.path["id"]), purge=call.query.mail == "purge", guard=call.guard(detail)
    )
    return Reply(None)


async def set_password(call: Call[Query, NewPassword]) -> PasswordMade:
    """POST /api/users/{id}/password: whoever is signed in with the old one is signed out."""
    new, parts = call.body.new, call.parts
    generated = await users.set_password(
        parts.store,
        parts.passwords,
        _key(call.path["id"]),
        new.get_secret_value() if new else None,
    )
    return PasswordMade(password=generated) if generated else PasswordMade()


def _key(text: str) -> str | int:
    """An id, or a login, which never has the form of one."""
    try:
        return parse_row_id(text)
    except ValueError:
        pass
    try:
        return users.read_login(text)
    except BadName as error:
        raise NotFound("there is no such user") from error
