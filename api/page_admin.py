"""The server on the page: its users, domains and invitations, and how it is doing."""

from __future__ import annotations

from typing import Any, Final

from api import domains, invites, plots, server, users
from api.call import Call, Reply
from api.models import Query
from api.models_admin import (
    DomainChange,
    DomainPage,
    InviteMade,
    InvitePage,
    ListQuery,
    NewDomain,
    NewInvite,
    NewPassword,
    NewUser,
    PasswordMade,
    RemoveDomainQuery,
    RemoveUserQuery,
    ServerDetail,
    UserChange,
    UserMade,
    UserPage,
)
from api.models_page import DomainForm, InviteForm, Told, UserForm
from api.page_frame import answer, asked, framed, inner, to, wish
from api.page_login import tried
from api.problems import Problem

MIB: Final = 1024 * 1024
TOLD: Final = {
    "disable": "Disabled. Mail still comes in; nobody can sign in.",
    "open": "Open again.",
    "admin": "An administrator now.",
    "user": "No administrator any more.",
    "quota": "Quota kept.",
    "remove": "Removed.",
    "change": "Kept.",
    "new": "It takes mail now.",
}


async def show_users(call: Call[Told, None]) -> Reply:
    """GET /admin/users: everybody, and a way to add somebody."""
    return await _users(call, told=TOLD.get(call.query.told, ""))


async def _users(call: Call[Any, Any], **more: Any) -> Reply:
    cursor = call.query.cursor if isinstance(call.query, Told) else None
    query = asked(ListQuery, limit=100, cursor=cursor)
    found = await answer(users.index, inner(call, query=query), UserPage)
    values = {"made": None, "given": {}} | more
    return await framed(call, "users.html", here="users", found=found, **values)


async def change_users(call: Call[Query, UserForm]) -> Reply:
    """POST /admin/users: adds somebody, or changes or removes one."""
    form, path = call.body, {"id": call.body.id}

    async def work() -> Reply:
        match form.act:
            case "new":
                body = wish(
                    NewUser,
                    login=form.login,
                    generate=True,
                    address=form.address,
                    role=form.role,
                )
                made = await answer(users.create, inner(call, body=body), UserMade)
                return await _users(call, made=(made.login, made.password))
            case "password":
                fresh = NewPassword(generate=True)
                given = await answer(
                    users.set_password, inner(call, body=fresh, path=path), PasswordMade
                )
                changed = UserChange(must_change_password=True)
                await users.change(inner(call, body=changed, path=path))
                return await _users(call, made=(form.login, given.password))
            case "remove":
                await users.remove(inner(call, query=RemoveUserQuery(), path=path))
            case _:
                await users.change(inner(call, body=_user_change(form), path=path))
        return to("/admin/users", told=form.act)

    async def again(status: int, failed: str) -> Reply:
        return await _users(call, status=status, failed=failed, given=form.model_dump())

    return await tried(work, again)


def _user_change(form: UserForm) -> UserChange:
    if form.act in ("admin", "user"):
        return wish(UserChange, role=form.act)
    if form.act == "quota":
        text = form.quota_mib.strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise Problem("invalid-body", errors=[("/quota", "must be a whole number of MB")])
        return UserChange(quota=int(text) * MIB if text else None)
    return wish(UserChange, disabled=form.act == "disable")


async def show_domains(call: Call[Told, None]) -> Reply:
    """GET /admin/domains: those whose mail is taken."""
    return await _domains(call, told=TOLD.get(call.query.told, ""))


async def _domains(call: Call[Any, Any], **more: Any) -> Reply:
    found = await answer(domains.index, inner(call, query=asked(ListQuery, limit=200)), DomainPage)
    values = {"given": {}} | more
    return await framed(call, "domains.html", here="domains", found=found, **values)


async def change_domains(call: Call[Query, DomainForm]) -> Reply:
    """POST /admin/domains: adds, changes or removes one."""
    form, path = call.body, {"name": call.body.name}

    async def work() -> Reply:
        if form.act == "new":
            await domains.create(inner(call, body=wish(NewDomain, name=form.name)))
        elif form.act == "remove":
            await domains.remove(inner(call, query=RemoveDomainQuery(), path=path))
        else:
            change = DomainChange.model_validate(
                {
                    "catch_all": form.catch_all,
                    "plus": form.plus,
                    "self_service": form.self_service == "on",
                }
            )
            await domains.change(inner(call, body=change, path=path))
        return to("/admin/domains", told=form.act)

    async def again(status: int, failed: str) -> Reply:
        return await _domains(call, status=status, failed=failed, given=form.model_dump())

    return await tried(work, again)


async def show_invites(call: Call[Told, None]) -> Reply:
    """GET /admin/invites: those that can still be used."""
    return await _invites(call, told=TOLD.get(call.query.told, ""))


async def _invites(call: Call[Any, Any], **more: Any) -> Reply:
    found = await answer(invites.index, inner(call, query=asked(ListQuery, limit=200)), InvitePage)
    values = {"made": None, "given": {}} | more
    return await framed(call, "invites.html", here="invites", found=found, **values)


async def change_invites(call: Call[Query, InviteForm]) -> Reply:
    """POST /admin/invites: makes one, whose link is told this once, or takes one back."""
    form = call.body

    async def work() -> Reply:
        if form.act == "remove":
            await invites.remove(inner(call, path={"id": form.id}))
            return to("/admin/invites", told="remove")
        body = wish(NewInvite, address=form.address)
        return await _invites(
            call, made=await answer(invites.create, inner(call, body=body), InviteMade)
        )

    async def again(status: int, failed: str) -> Reply:
        return await _invites(call, status=status, failed=failed, given=form.model_dump())

    return await tried(work, again)


async def show_server(call: Call[Query, None]) -> Reply:
    """GET /admin/server: how it is doing, in figures and plots of the last day."""
    house = call.parts.house
    history = house.history()
    return await framed(
        call,
        "server.html",
        here="server",
        server=await answer(server.show, inner(call), ServerDetail),
        parts=await house.readiness(),
        plots=plots.day(history),
        samples=len(history),
    )
