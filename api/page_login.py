"""The doors of the page: sign in and out, the first administrator, guests, who forgot, the trial.

Plain forms, which work without script.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from api import account, login
from api.call import Call, Reply, StartLink
from api.models import Body, Query
from api.models_auth import ChangePassword, CodesLeft, LoginForm, Recovery, Registered
from api.models_page import InviteQuery, PasswordForm, RecoverForm, RegisterForm
from api.page_frame import answer, bare, inner, to, wish, words
from api.problems import Problem
from auth.login import SignedIn
from mail.errors import Failure


async def show(call: Call[Query, None]) -> Reply:
    """GET /login: the form."""
    return _sign_in_form(call, fresh=not await call.parts.store.accounts.has_admin())


def _sign_in_form(call: Call[Any, Any], *, status: int = 200, **more: object) -> Reply:
    values = {"failed": "", "login": "", "told": "", "fresh": False} | more
    return bare(call, "login.html", status=status, open_to=call.parts.site.registration, **values)


async def sign_in(call: Call[Query, LoginForm]) -> Reply:
    """POST /login: a new browser session; the form again when it went wrong."""
    totp = call.body.totp

    async def enter() -> Reply:
        signed_in = await login.check(call, totp.get_secret_value() if totp else None)
        await call.page.sign_in(signed_in)
        return to("/")

    async def again(status: int, failed: str) -> Reply:
        return _sign_in_form(call, status=status, failed=failed, login=call.body.login)

    return await tried(enter, again)


async def tried(
    work: Callable[[], Awaitable[Reply]], again: Callable[[int, str], Awaitable[Reply]]
) -> Reply:
    """What `work` answers, or the form once more with what was wrong."""
    try:
        return await work()
    except (Problem, Failure) as error:
        status, failed = words(error)
        if status >= 500 or status == 404:
            raise
        return await again(status, failed)


async def sign_out(call: Call[Query, Body]) -> Reply:
    """POST /logout: ends the browser session."""
    await call.page.sign_out()
    return to("/login")


async def show_setup(call: Call[Query, None]) -> Reply:
    """GET /setup: the first administrator's form, while there is none."""
    if await call.parts.store.accounts.has_admin():
        return to("/login")
    return bare(call, "register.html", first=True, failed="", given={}, code="")


async def setup(call: Call[Query, RegisterForm]) -> Reply:
    """POST /setup: the first administrator, the domain, and the recovery codes."""
    return await _register(call, first=True)


async def show_register(call: Call[InviteQuery, None]) -> Reply:
    """GET /register: a guest's form."""
    site = call.parts.site
    return bare(
        call,
        "register.html",
        first=False,
        failed="" if site.registration != "closed" else "Nobody can make an account here.",
        given={},
        code=call.query.invite,
    )


async def register(call: Call[Query, RegisterForm]) -> Reply:
    """POST /register: an account by invitation, or because anybody may, and its recovery codes."""
    return await _register(call, first=False)


async def _register(call: Call[Query, RegisterForm], *, first: bool) -> Reply:
    form = call.body
    given = {name: text for name, text in form.model_dump().items() if isinstance(text, str)}
    code = form.code.get_secret_value() if form.code else ""

    async def enter() -> Reply:
        body = wish(
            Registered,
            login=form.login,
            password=form.password.get_secret_value(),
            address=form.address,
            display_name=form.display_name,
            **({"setup_code" if first else "invite": code} if code else {}),
        )
        if first and not code:
            raise Problem("invite-invalid", "The set-up code stands on the server's console.")
        signed_in, codes = await login.new_account(inner(call, body=body))
        await call.page.sign_in(signed_in)
        return bare(call, "codes.html", codes=codes, first=first)

    async def again(status: int, failed: str) -> Reply:
        return bare(
            call,
            "register.html",
            status=status,
            first=first,
            failed=failed,
            given=given,
            code=code,
        )

    return await tried(enter, again)


async def show_recover(call: Call[Query, None]) -> Reply:
    """GET /recover: the form for who forgot the password."""
    return bare(call, "recover.html", failed="", login="")


async def recover(call: Call[Query, RecoverForm]) -> Reply:
    """POST /recover: a new password for a recovery code."""
    form = call.body

    async def work() -> Reply:
        body = wish(
            Recovery,
            login=form.login,
            recovery_code=form.recovery_code.get_secret_value(),
            new=form.new.get_secret_value(),
        )
        left = (await answer(login.recover, inner(call, body=body), CodesLeft)).recovery_codes_left
        told = f"The password is new. {left} recovery codes are left."
        return _sign_in_form(call, told=told, login=form.login)

    async def again(status: int, failed: str) -> Reply:
        return bare(call, "recover.html", status=status, failed=failed, login=form.login)

    return await tried(work, again)


async def show_password(call: Call[Query, None]) -> Reply:
    """GET /password: the form for a new password."""
    return bare(call, "password.html", failed="", must=call.account.must_change)


async def change_password(call: Call[Query, PasswordForm]) -> Reply:
    """POST /password: a new password; the other sessions end."""
    form = call.body

    async def work() -> Reply:
        body = wish(
            ChangePassword,
            current=form.current.get_secret_value(),
            new=form.new.get_secret_value(),
        )
        await account.change_password(inner(call, body=body))
        return to("/")

    async def again(status: int, failed: str) -> Reply:
        must = call.account.must_change
        return bare(call, "password.html", status=status, failed=failed, must=must)

    return await tried(work, again)


async def show_start(call: Call[Query, None]) -> Reply:
    """GET /start/{code}: the one button of a trial."""
    _start(call)
    return bare(call, "start.html", code=call.path["code"])


async def start(call: Call[Query, Body]) -> Reply:
    """POST /start/{code}: signs in, once."""
    link = _start(call)
    link.used = True
    found = await call.parts.store.accounts.for_sign_in(link.login)
    if found is None:
        raise Problem("not-found")
    await call.page.sign_in(SignedIn(*found))
    return to("/")


def _start(call: Call[Any, Any]) -> StartLink:
    link = call.parts.start
    here = call.peer.address.is_loopback
    if link is None or not here or not link.opens(call.path["code"], call.parts.clock()):
        raise Problem("not-found")
    return link
