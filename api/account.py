"""One's own account: who one is, its password and second factor, its sessions and credentials."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

from api import cards
from api import models_auth as models
from api.call import Call, Door, Reply
from api.lists import Listing
from api.models import Query
from api.models_admin import ListQuery
from api.problems import Problem
from api.users import detail
from auth import app_passwords, codes
from auth.scopes import Scope, line, of_line
from mail.address import Address
from mail.errors import BadCredentials, NotFound
from mail.ident import new_row_id, parse_row_id, row_id_text
from net.limits import Peer
from store.records import (
    Account,
    ApiToken,
    AppPassword,
    LoginSession,
    OwnSettings,
    SessionKind,
    microseconds,
)

APP_PASSWORD_SCOPES = frozenset({Scope.ACCOUNT, Scope.MAIL_READ, Scope.MAIL_DELETE})


async def me(call: Call[Query, None]) -> Reply:
    """GET /api/me: who one is, and what the credential may be used for."""
    return Reply(await _me(call), versioned=True)


async def change_me(call: Call[Query, models.OwnChange]) -> Reply:
    """PUT /api/me: what is given is changed."""
    given = {name: value or "" for name, value in call.body.model_dump(exclude_unset=True).items()}
    settings = OwnSettings(**given)  # type: ignore[typeddict-item]
    seen = await _me(call)

    def as_it_is(found: Account) -> models.Me:
        own = {name: getattr(found, name) for name in models.OwnChange.model_fields}
        return seen.model_copy(update=own)

    guard = call.guard(as_it_is)
    await call.parts.store.accounts.change(call.account, settings, guard=guard)
    return Reply(await _me(call), versioned=True)


async def _me(call: Call[Any, Any]) -> models.Me:
    store, account = call.parts.store, call.account
    account = await store.accounts.get(account.login)
    user = detail(await store.profiles.get(account.id))
    told: dict[str, Any] = {}
    if call.who.addresses is None:
        told["unread"], told["held"] = await store.messages.waiting(account.maildrop_id)
    return models.Me(
        **user.model_dump(),
        **told,
        language=account.language,
        timezone=account.timezone,
        scopes=line(call.who.scopes).split(),
        addresses=await _addresses(call),
    )


async def _addresses(call: Call[Any, Any]) -> list[str]:
    limit = call.who.addresses
    found = await call.parts.store.domains.addresses(call.account.login)
    return [
        str(each.address) for each in found if limit is None or str(each.address.folded) in limit
    ]


async def client_config(call: Call[models.CardQuery, None]) -> Reply:
    """GET /api/me/client-config: what a mail app is set up with."""
    card = await _card(call)
    match call.query.format:
        case "json":
            return Reply(card)
        case "text":
            return Reply(cards.as_text(card), content_type=cards.TEXT)
        case "thunderbird":
            domain = card.addresses[0].rpartition("@")[2] if card.addresses else card.incoming.host
            provider = cards.Provider(domain, card.incoming, card.outgoing)
            return Reply(cards.as_autoconfig(provider), content_type=cards.XML)
        case "apple":
            named = {"Content-Disposition": 'attachment; filename="mail.mobileconfig"'}
            profile = cards.as_apple_profile(card)
            return Reply(profile, content_type=cards.APPLE, headers=named)


async def _card(call: Call[Any, Any]) -> models.Card:
    addresses, parts = await _addresses(call), call.parts
    domain = None
    if addresses:
        with suppress(NotFound):  # removed meanwhile
            domain = await parts.store.domains.get(Address.parse(addresses[0]).domain)
    return models.Card(
        addresses=addresses,
        incoming=cards.incoming(parts, call.account.login),
        outgoing=cards.outgoing(parts, domain),
    )


async def change_password(call: Call[Query, models.ChangePassword]) -> Reply:
    """POST /api/auth/password: the other sessions end."""
    body, parts, session = call.body, call.parts, call.who.session
    await parts.login.confirm(call.account, body.current.get_secret_value(), call.peer)
    new = body.new.get_secret_value()
    addresses = await _addresses(call)
    domains = {address.rpartition("@")[2] for address in addresses}
    await parts.passwords.refuse_weak(new, call.account.login, *addresses, *domains)
    await parts.store.factors.change_password(
        call.account, await parts.passwords.hash(new), keep=session.id if session else None
    )
    return Reply(None)


async def new_codes(call: Call[Query, models.Current]) -> Reply:
    """POST /api/auth/recovery-codes: ten new ones; the old ones are good for nothing now."""
    parts = call.parts
    await parts.login.confirm(call.account, call.body.current.get_secret_value(), call.peer)
    shown, hashed = codes.recovery_codes(parts.secrets_key)
    await parts.store.factors.replace_codes(call.account, hashed)
    return Reply(models.RecoveryCodes(recovery_codes=shown), status=201)


async def start_totp(call: Call[Query, models.Current]) -> models.TotpSecret:
    """POST /api/auth/totp: a secret for an app; its first code puts it in force."""
    parts = call.parts
    await parts.login.confirm(call.account, call.body.current.get_secret_value(), call.peer)
    secret, uri = await parts.second.start(call.account)
    return models.TotpSecret(secret=secret, uri=uri)


async def change_totp(call: Call[Query, models.TotpChange]) -> Reply:
    """PUT /api/auth/totp: on with a code, off with the password."""
    body, parts, account = call.body, call.parts, call.account
    proof = body.code if body.enabled else body.current
    if proof is None:
        pointer = "/code" if body.enabled else "/current"
        raise Problem("invalid-body", errors=[(pointer, "field required")])
    text = proof.get_secret_value()
    if not body.enabled:
        await parts.login.confirm(account, text, call.peer)
        await parts.store.factors.end_totp(account)
        return Reply(None)

    async def prove() -> bool | None:
        return await parts.second.turn_on(account, text) or None

    try:
        await parts.login.attempt(account.login, text, call.peer, prove)
    except BadCredentials:
        raise Problem("bad-credentials", "The code is wrong, or there is no secret yet.") from None
    return Reply(None)


async def sessions(call: Call[ListQuery, None]) -> Reply:
    """GET /api/sessions: those of pages and of programs, the newest first."""
    here = call.who.session.id if call.who.session else 0
    listing = Listing(
        "/api/sessions",
        models.Sessions,
        partial(_session, here=here),
        lambda session: (-microseconds(session.created_at), session.id),
    )
    return listing.cut(call, await call.parts.store.sessions.of_account(call.account))


def _session(session: LoginSession, *, here: int) -> models.SessionRow:
    return models.SessionRow(
        id=row_id_text(session.id),
        kind="page" if session.kind is SessionKind.PAGE else "login",
        device=session.device,
        ip=session.peer_ip,
        created_at=session.created_at,
        last_seen_at=session.seen_at,
        current=session.id == here,
    )


async def end_session(call: Call[Query, None]) -> Reply:
    """DELETE /api/sessions/{id}: it ends at once."""
    await call.parts.store.sessions.end(call.account, _id(call))
    return Reply(None)


async def tokens(call: Call[ListQuery, None]) -> Reply:
    """GET /api/tokens: by name."""
    return TOKENS.cut(call, await call.parts.store.tokens.all(call.account))


def _token(token: ApiToken) -> models.Token:
    return models.Token(
        id=row_id_text(token.id),
        name=token.name,
        scopes=token.scopes.split(),
        addresses=None if token.addresses is None else list(token.addresses),
        ip_allow=list(token.ip_allow),
        expires_at=token.expires_at,
        created_at=token.created_at,
        last_used_at=token.used_at,
        last_ip=token.used_ip,
    )


TOKENS: Final[Listing[ApiToken]] = Listing(
    "/api/tokens", models.Tokens, _token, lambda token: (token.name,)
)


async def add_token(call: Call[Query, models.TokenWish]) -> Reply:
    """POST /api/tokens: no wider, and for no longer, than what it is made with."""
    body, parts, maker = call.body, call.parts, call.who
    scopes = of_line(" ".join(body.scopes))
    if not scopes <= maker.scopes:
        raise Problem("scope-missing", f"You can give {line(maker.scopes)}.")
    if maker.addresses is not None and not set(body.addresses or ("",)) <= maker.addresses:
        raise Problem("scope-missing", "You can give the addresses of your own token only.")
    ends = min(filter(None, (body.expires_at, maker.until)), default=None)
    if maker.until and body.expires_at and body.expires_at > maker.until:
        raise Problem("scope-missing", "It cannot last longer than your own token.")
    secret = codes.api_token()
    made = ApiToken(
        new_row_id(),
        body.name,
        line(scopes),
        None if body.addresses is None else tuple(body.addresses),
        tuple(body.ip_allow),
        parts.clock(),
        ends,
    )
    await parts.store.tokens.add(call.account, made, codes.token_hash(parts.secrets_key, secret))
    return Reply(models.NewToken(**_token(made).model_dump(), token=secret), status=201)


async def remove_token(call: Call[Query, None]) -> Reply:
    """DELETE /api/tokens/{id}: it is good for nothing from now on."""
    await call.parts.store.tokens.remove(call.account, _id(call))
    return Reply(None)


async def list_app_passwords(call: Call[ListQuery, None]) -> Reply:
    """GET /api/app-passwords: by name."""
    return APP_PASSWORDS.cut(call, await call.parts.store.credentials.app_passwords(call.account))


def _app_password(found: AppPassword) -> models.Token:
    return models.Token(
        id=row_id_text(found.id),
        name=found.name,
        scopes=[Scope.MAIL_READ, Scope.MAIL_DELETE],
        addresses=None,
        ip_allow=list(found.ip_allow),
        expires_at=found.expires_at,
        created_at=found.created_at,
        last_used_at=found.used_at,
        last_ip=found.used_ip,
    )


APP_PASSWORDS: Final[Listing[AppPassword]] = Listing(
    "/api/app-passwords", models.Tokens, _app_password, lambda found: (found.name,)
)


async def add_app_password(call: Call[Query, models.AppPasswordWish]) -> Reply:
    """POST /api/app-passwords: it reads and deletes all mail, so its maker must be able to."""
    body, parts, maker = call.body, call.parts, call.who
    if not maker.scopes >= APP_PASSWORD_SCOPES or maker.addresses is not None:
        raise Problem(
            "scope-missing", f"This needs {line(APP_PASSWORD_SCOPES)}, and all addresses."
        )
    secret = app_passwords.generate()
    keyed = app_passwords.keyed(secret, parts.secrets_key)
    assert keyed
    life = maker.until - parts.clock() if maker.until else None
    made = await parts.store.credentials.add_app_password(
        call.account, body.name, keyed, life=life, ip_allow=body.ip_allow
    )
    told = models.NewAppPassword(
        **_app_password(made).model_dump(), password=secret, client_config=await _card(call)
    )
    return Reply(told, status=201)


async def remove_app_password(call: Call[Query, None]) -> Reply:
    """DELETE /api/app-passwords/{id}: its device cannot sign in from now on."""
    await call.parts.store.credentials.remove_app_password(call.account, _id(call))
    return Reply(None)


def _id(call: Call[Any, Any]) -> int:
    try:
        return parse_row_id(call.path["id"])
    except ValueError:
        raise Problem("not-found") from None


async def limits(call: Call[Query, None]) -> models.RateLimits:
    """GET /api/limits: what is left of each class of requests, counting this one."""
    session = call.who.session
    keys = dict.fromkeys(("auth", "api", "general"), call.peer.key)
    if session and call.who.door is Door.PAGE:
        keys["page"] = str(session.id)
    if call.peer.within(call.parts.site.exempt):
        keys = {kind: key for kind, key in keys.items() if kind == "page"}
    items = []
    for kind, key in keys.items():
        if found := await call.parts.rates.look(kind, key):
            row = {"limit": found.limit, "left": found.left, "reset_s": found.reset_s}
            items.append(models.RateLimit(class_=kind, **row))
    return models.RateLimits(items=items)


async def forget_limits(call: Call[models.LimitsQuery, None]) -> Reply:
    """DELETE /api/limits: forgets what a client has taken, and its wrong passwords."""
    peer = Peer(call.query.ip, 0)
    try:
        key = peer.key
    except ValueError:
        raise Problem("bad-query", "ip: is no IP address") from None
    await call.parts.rates.clear(key)
    call.parts.login.forgive(peer)
    return Reply(None)
