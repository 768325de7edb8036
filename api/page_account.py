"""One's own account on the page: addresses, mail apps, and what opens the account."""

from __future__ import annotations

from typing import Any, Final

import segno

from api import account, domains, login
from api.call import Call, Reply
from api.models import Body, Query
from api.models_admin import (
    AddressChange,
    AddressDetail,
    AddressesQuery,
    AddressPage,
    DomainPage,
    ListQuery,
    NewAddress,
)
from api.models_auth import (
    AppPasswordWish,
    Card,
    CardQuery,
    Current,
    Logout,
    NewAppPassword,
    NewToken,
    RecoveryCodes,
    Sessions,
    Tokens,
    TokenWish,
    TotpChange,
    TotpSecret,
)
from api.models_page import AddressForm, ConnectForm, SecurityForm, Told
from api.page_frame import answer, asked, framed, inner, to, wish
from api.page_login import tried
from auth.scopes import Scope, line

TOLD: Final = {
    "closed": "Closed. Mail to it is refused from now on.",
    "open": "Open. It takes mail again.",
    "note": "Note kept.",
    "remove": "Removed. Mail that came stays.",
    "session": "That session is over.",
    "token": "The token is good for nothing now.",
    "app-password": "That app cannot sign in any more.",
    "totp-on": "Signing in asks for a code from now on. Mail apps need an app password.",
    "totp-off": "Signing in asks for the password alone.",
}
REACHES: Final = {
    "read": [Scope.MAIL_READ],
    "change": [Scope.MAIL_READ, Scope.MAIL_WRITE],
    "all": [Scope.MAIL_READ, Scope.MAIL_WRITE, Scope.MAIL_DELETE, Scope.ACCOUNT],
}


async def show_addresses(call: Call[Told, None]) -> Reply:
    """GET /addresses: one's own, and a way to make another."""
    return await _addresses(call)


async def _addresses(call: Call[Any, Any], **more: Any) -> Reply:
    cursor = call.query.cursor if isinstance(call.query, Told) else None
    query = asked(AddressesQuery, limit=100, cursor=cursor)
    found = await answer(domains.addresses, inner(call, query=query), AddressPage)
    mine = await answer(domains.index, inner(call, query=asked(ListQuery, limit=100)), DomainPage)
    admin = Scope.ADMIN_WRITE in call.who.scopes
    told = TOLD.get(call.query.told, "") if isinstance(call.query, Told) else ""
    values = {"told": told, "given": {}} | more
    return await framed(
        call,
        "addresses.html",
        here="addresses",
        found=found,
        domains=[each.name for each in mine.items if admin or each.self_service],
        **values,
    )


async def change_addresses(call: Call[Query, AddressForm]) -> Reply:
    """POST /addresses: makes, closes, opens, notes or removes one."""
    form = call.body

    async def work() -> Reply:
        if form.act in ("new", "random"):
            random = form.act == "random"
            whole = form.address if "@" in form.address else f"{form.address}@{form.domain}"
            chosen = {"domain": form.domain, "random": True} if random else {"address": whole}
            made = await answer(
                domains.create_address,
                inner(call, body=wish(NewAddress, note=form.note, **chosen)),
                AddressDetail,
            )
            return await _addresses(call, made=made.address, told=f"{made.address} takes mail now.")
        path = {"id": form.id}
        if form.act == "remove":
            await domains.remove_address(inner(call, path=path))
        else:
            change = {"note": form.note} if form.act == "note" else {"state": form.act}
            await domains.change_address(inner(call, body=wish(AddressChange, **change), path=path))
        return to("/addresses", told=form.act)

    async def again(status: int, failed: str) -> Reply:
        return await _addresses(call, status=status, failed=failed, given=form.model_dump())

    return await tried(work, again)


async def show_connect(call: Call[Query, None]) -> Reply:
    """GET /connect: what a mail app is set up with."""
    return await _connect(call)


async def _connect(call: Call[Any, Any], **more: Any) -> Reply:
    card = await answer(account.client_config, inner(call, query=CardQuery()), Card)
    facts = await call.parts.house.facts()
    values = {"made": None, "given": {}} | more
    return await framed(
        call,
        "connect.html",
        here="connect",
        card=card,
        fingerprint=facts.certificates[0][0] if facts.certificates else "",
        refuser="",
        **values,
    )


async def add_app(call: Call[Query, ConnectForm]) -> Reply:
    """POST /connect: an app password, told this once."""
    form = call.body

    async def work() -> Reply:
        made = await answer(
            account.add_app_password,
            inner(call, body=wish(AppPasswordWish, name=form.name)),
            NewAppPassword,
        )
        return await _connect(call, made=made)

    async def again(status: int, failed: str) -> Reply:
        return await _connect(call, status=status, failed=failed, given=form.model_dump())

    return await tried(work, again)


async def show_security(call: Call[Told, None]) -> Reply:
    """GET /security: what opens the account: sessions, tokens, app passwords, codes."""
    return await _security(call, told=TOLD.get(call.query.told, ""))


async def _security(call: Call[Any, Any], **more: Any) -> Reply:
    lists = inner(call, query=asked(ListQuery, limit=200))
    values = {"token_made": None, "codes": None, "secret": None, "qr": ""} | more
    return await framed(
        call,
        "security.html",
        here="security",
        sessions=(await answer(account.sessions, lists, Sessions)).items,
        tokens=(await answer(account.tokens, lists, Tokens)).items,
        app_passwords=(await answer(account.list_app_passwords, lists, Tokens)).items,
        **values,
    )


async def secure(call: Call[Query, SecurityForm]) -> Reply:
    """POST /security: ends what opens the account, or makes something that does."""
    form = call.body
    current, path = form.current.get_secret_value(), {"id": form.id}

    async def work() -> Reply:
        match form.act:
            case "session":
                await account.end_session(inner(call, path=path))
            case "everywhere":
                await login.sign_out(inner(call, body=Logout(everywhere=True)))
                return to("/login")
            case "token":
                await account.remove_token(inner(call, path=path))
            case "app-password":
                await account.remove_app_password(inner(call, path=path))
            case "new-token":
                scopes = line(REACHES[form.reach]).split()
                body: Body = wish(TokenWish, name=form.name, scopes=scopes)
                made = await answer(account.add_token, inner(call, body=body), NewToken)
                return await _security(call, token_made=made)
            case "codes":
                body = Current(current=form.current)
                codes = await answer(account.new_codes, inner(call, body=body), RecoveryCodes)
                return await _security(call, codes=codes.recovery_codes)
            case "totp":
                body = Current(current=form.current)
                secret = await answer(account.start_totp, inner(call, body=body), TotpSecret)
                return await _totp(call, secret)
            case "totp-on":
                code = form.code.get_secret_value()
                body = wish(TotpChange, enabled=True, code=code)
                await account.change_totp(inner(call, body=body))
            case "totp-off":
                body = wish(TotpChange, enabled=False, current=current)
                await account.change_totp(inner(call, body=body))
        return to("/security", told=form.act)

    async def again(status: int, failed: str) -> Reply:
        return await _security(call, status=status, failed=failed)

    return await tried(work, again)


async def _totp(call: Call[Any, Any], secret: TotpSecret) -> Reply:
    """The secret for an authenticator app, also as a picture that it can read."""
    picture = segno.make(secret.uri, error="m", micro=False)
    svg = picture.svg_inline(border=2, omitsize=True, svgclass="qr-code", lineclass=None)
    return await _security(call, secret=secret, qr=svg)
