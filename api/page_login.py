"""The sign-in of the page: one plain form, which works without script."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from api import login
from api.call import Call, Reply
from api.models import Body, Query
from api.models_auth import LoginForm
from api.problems import of_failure
from mail.errors import AccountDisabled, BadCredentials, CodeNeeded, Failure

_HTML: Final = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in - Restante</title>
<main><h1>Sign in</h1>
<p role="status">{told}</p>
<form method="post" action="/login">
<input type="hidden" name="csrf_token" value="{token}">
<p><label>Login or address<br><input name="login" autocomplete="username" required></label></p>
<p><label>Password<br><input name="password" type="password" autocomplete="current-password"
 required></label></p>
<p><label>Code, if the account asks for one<br><input name="totp" inputmode="numeric"
 autocomplete="one-time-code"></label></p>
<p><button>Sign in</button></p>
</form></main></html>
"""
_FIELDS: Final = {
    # With no-referrer a browser sends our own forms with `Origin: null` (Fetch, section 3.2).
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
}


async def show(call: Call[Query, None]) -> Reply:
    """GET /login: the form."""
    return _form(call, "")


async def sign_in(call: Call[Query, LoginForm]) -> Reply:
    """POST /login: a new browser session; the form again when it went wrong."""
    totp = call.body.totp
    try:
        signed_in = await login.check(call, totp.get_secret_value() if totp else None)
    except (BadCredentials, CodeNeeded, AccountDisabled) as failure:
        return _form(call, failure.public, failure)
    await call.page.sign_in(signed_in)
    return _to("/")


async def sign_out(call: Call[Query, Body]) -> Reply:
    """POST /logout: ends the browser session."""
    await call.page.sign_out()
    return _to("/login")


def _form(call: Call[Any, Any], told: str, failure: Failure | None = None) -> Reply:
    token, fields = call.page.form_token()
    status = of_failure(failure).status if failure else 200
    html = _HTML.format(told=escape(told), token=token)
    content_type = "text/html; charset=utf-8"
    return Reply(html.encode(), status, content_type, headers=_FIELDS | fields)


def _to(place: str) -> Reply:
    return Reply(b"", 303, "text/plain; charset=utf-8", headers={"Location": place})
