"""What is told of each row of the table beyond the row itself: what it answers, with which
statuses and problems, and an example. /api/openapi.json, /api/docs and docs/api.md come from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api import models_admin as admin
from api import models_auth as auth
from api import models_collect as collect
from api import models_dns as dns
from api import models_doctor as doctor
from api import models_mail as mail
from api.cards import APPLE
from api.models import Answer
from api.problems import KINDS
from api.routes import DISCOVERY_ROUTES, PAGE_ROUTES, ROUTES, Route, Rule

HTML: Final = "text/html"
TEXT: Final = "text/plain"
XML: Final = "text/xml"
MESSAGE: Final = "message/rfc822"
ANY_OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"

Example = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """`answer`: a model, a media type, or None for no body. `status`: those that are no problem.

    `versioned`: it has an ETag, which GET may be made conditional on, and PUT and DELETE too.
    `problems`: those of its own, beside the general ones.
    """

    answer: type[Answer] | str | None
    status: Sequence[int] = (200,)
    problems: Sequence[str] = ()
    versioned: bool = False
    body: Example | None = None
    query: Example | None = None
    also: Sequence[str] = ()  # other media types that it may answer with


def _made(model: type[Answer], body: Example, *problems: str) -> Operation:
    return Operation(model, (201,), problems, body=body)


def _done(*problems: str, **more: Any) -> Operation:
    return Operation(None, (204,), problems, **more)


def _changed(model: type[Answer], body: Example, *problems: str) -> Operation:
    return Operation(model, (200,), problems, versioned=True, body=body)


def _found(model: type[Answer]) -> Operation:
    return Operation(model, versioned=True)


def _octets(kind: str) -> Operation:
    """In ranges too."""
    return Operation(kind, (200, 206), ("deleted", "range-not-satisfiable"), versioned=True)


def _sent(*problems: str) -> Operation:
    """A form; what was asked for again, or another page."""
    return Operation(HTML, (200, 303), problems, body={})


_PASSWORD: Final = "amber-ladder-correct-47"  # noqa: S105 - of an example
_CREDENTIALS: Final = {"login": "ada", "password": _PASSWORD}
_REMOTE: Final = {"address": "ada.lovelace@gmail.com", "password": "abcd efgh ijkl mnop"}
_PROVIDER: Final = (
    *("password-needed", "provider-needs-oauth", "provider-has-no-pop3", "target-not-allowed"),
    *("upstream-login", "upstream-tls", "upstream-failed", "upstream-timeout"),
)
_CONFIRM: Final = ("bad-credentials",)
_REGISTER: Final = (
    *("registration-closed", "invite-invalid", "domain-not-open"),
    *("name-taken", "address-taken", "weak-password"),
)

_WHOSE: Final = {"emailaddress": "ada@example.org"}

OPERATIONS: Final[Mapping[str, Operation]] = {
    "GET /login": Operation(HTML),
    "POST /login": Operation(
        HTML, (303,), ("bad-credentials", "totp-required", "account-disabled"), body=_CREDENTIALS
    ),
    "POST /logout": Operation(HTML, (303,), body={}),
    "GET /setup": Operation(HTML),
    "POST /setup": Operation(HTML, problems=_REGISTER, body={}),
    "GET /register": Operation(HTML),
    "POST /register": Operation(HTML, problems=_REGISTER, body={}),
    "GET /recover": Operation(HTML),
    "POST /recover": Operation(HTML, problems=("bad-credentials", "weak-password"), body={}),
    "GET /password": Operation(HTML),
    "POST /password": _sent("bad-credentials", "weak-password"),
    "GET /start/{code}": Operation(HTML),
    "POST /start/{code}": _sent(),
    "GET /static/{version}/{name}": Operation(TEXT),
    "GET /": Operation(HTML, problems=("cursor-mismatch",)),
    "GET /m/{id}": Operation(HTML, problems=("deleted",)),
    "POST /m": _sent("deleted", "over-quota", "scope-missing"),
    "GET /live": Operation(JSON),
    "GET /addresses": Operation(HTML, problems=("cursor-mismatch",)),
    "POST /addresses": _sent("address-taken", "domain-not-open"),
    "GET /collect": Operation(HTML, problems=("cursor-mismatch",)),
    "POST /collect": _sent(
        *("name-taken", "password-needed", "provider-needs-oauth", "provider-has-no-pop3"),
        "target-not-allowed",
    ),
    "GET /connect": Operation(HTML),
    "POST /connect": Operation(HTML, problems=("name-taken",), body={}),
    "GET /security": Operation(HTML),
    "POST /security": _sent("bad-credentials", "name-taken", "already-on"),
    "GET /admin/users": Operation(HTML, problems=("cursor-mismatch",)),
    "POST /admin/users": _sent("name-taken", "address-taken", "last-admin"),
    "GET /admin/domains": Operation(HTML),
    "POST /admin/domains": _sent("domain-taken", "domain-in-use"),
    "GET /admin/domains/{name}": Operation(HTML),
    "POST /admin/domains/{name}": _sent(),
    "GET /admin/invites": Operation(HTML),
    "POST /admin/invites": _sent(),
    "GET /admin/server": Operation(HTML),
    "GET /help": Operation(HTML),
    "GET /menu": Operation(HTML),
    "POST /api/auth/login": Operation(
        auth.SignedIn,
        problems=("bad-credentials", "totp-required", "account-disabled", "scope-missing"),
        body=_CREDENTIALS,
    ),
    "POST /api/auth/register": Operation(
        auth.NewAccount,
        (201,),
        _REGISTER,
        body=_CREDENTIALS | {"invite": "4k7p-9xq2-0c5m-h3wz"},
    ),
    "POST /api/auth/refresh": Operation(
        auth.Renewed,
        problems=("session-ended",),
        body={"refresh_token": "2k9d1mz8qtw.x5Yw3VQ"},
    ),
    "POST /api/auth/recover": Operation(
        auth.CodesLeft,
        problems=("bad-credentials", "weak-password", "account-disabled"),
        body={"login": "ada", "recovery_code": "4k7p9-xq20c-5mh3w", "new": _PASSWORD},
    ),
    "POST /api/auth/logout": _done(body={"everywhere": True}),
    "POST /api/auth/password": _done(
        *("bad-credentials", "weak-password"),
        body={"current": "correct horse battery", "new": _PASSWORD},
    ),
    "POST /api/auth/recovery-codes": _made(auth.RecoveryCodes, {"current": _PASSWORD}, *_CONFIRM),
    "POST /api/auth/totp": Operation(
        auth.TotpSecret, problems=("bad-credentials", "already-on"), body={"current": _PASSWORD}
    ),
    "PUT /api/auth/totp": _done(*_CONFIRM, body={"enabled": True, "code": "123456"}),
    "GET /api/me": _found(auth.Me),
    "PUT /api/me": _changed(auth.Me, {"display_name": "Ada Lovelace", "timezone": "Europe/London"}),
    "GET /api/me/client-config": Operation(
        auth.Card, query={"format": "json"}, also=(TEXT, XML, APPLE)
    ),
    "GET /api/sessions": Operation(auth.Sessions, problems=("cursor-mismatch",)),
    "DELETE /api/sessions/{id}": _done(),
    "GET /api/tokens": Operation(auth.Tokens, problems=("cursor-mismatch",)),
    "POST /api/tokens": _made(
        auth.NewToken, {"name": "ci", "scopes": ["mail:read"]}, "scope-missing", "name-taken"
    ),
    "DELETE /api/tokens/{id}": _done(),
    "GET /api/app-passwords": Operation(auth.Tokens, problems=("cursor-mismatch",)),
    "POST /api/app-passwords": _made(
        auth.NewAppPassword, {"name": "phone"}, "scope-missing", "name-taken"
    ),
    "DELETE /api/app-passwords/{id}": _done(),
    "GET /api/limits": Operation(auth.RateLimits),
    "DELETE /api/limits": _done(query={"ip": "198.51.100.7"}),
    "GET /healthz": Operation(TEXT),
    "GET /api/": Operation(auth.Greeting),
    "GET /api/emails": Operation(
        mail.EmailPage, problems=("cursor-mismatch",), query={"q": "is:unread has:attachment"}
    ),
    "GET /api/emails/{id}": Operation(mail.Email, problems=("deleted",), versioned=True),
    "PUT /api/emails/{id}": _changed(
        mail.Email, {"unread": False, "folder": "archive"}, "deleted", "over-quota"
    ),
    "DELETE /api/emails/{id}": _done(versioned=True, query={"final": "false"}),
    "GET /api/emails/{id}/raw": _octets(MESSAGE),
    "GET /api/emails/{id}/headers": Operation(mail.HeaderPage, problems=("deleted",)),
    "GET /api/emails/{id}/body": Operation(HTML, problems=("deleted",), query={"part": "html"}),
    "GET /api/emails/{id}/attachments": Operation(mail.AttachmentPage, problems=("deleted",)),
    "GET /api/emails/{id}/attachments/{n}": _octets(ANY_OCTETS),
    "POST /api/email-receive/receive": Operation(
        collect.Receiving, (200, 202), ("not-found", "already-running"), body={"wait_s": 30}
    ),
    "POST /api/email-receive/configure": Operation(
        collect.CollectorDetail, (200, 201), _PROVIDER, body=_REMOTE
    ),
    "GET /api/collectors": Operation(collect.CollectorPage, problems=("cursor-mismatch",)),
    "POST /api/collectors": _made(
        collect.CollectorDetail, _REMOTE | {"keep_days": 14}, *_PROVIDER, "name-taken"
    ),
    "POST /api/collectors/discover": Operation(
        collect.Provider, body={"address": "ada.lovelace@gmail.com"}
    ),
    "GET /api/collectors/{id}": _found(collect.CollectorDetail),
    "PUT /api/collectors/{id}": _changed(
        collect.CollectorDetail, {"paused": True}, *_PROVIDER, "name-taken"
    ),
    "DELETE /api/collectors/{id}": _done(versioned=True),
    "POST /api/collectors/{id}/run": Operation(
        collect.Receiving, (200, 202), ("already-running",), body={"wait_s": 30}
    ),
    "POST /api/collectors/{id}/test": Operation(collect.Tested),
    "GET /api/jobs/{id}": Operation(collect.JobDetail),
    "DELETE /api/jobs/{id}": _done(),
    "GET /readyz": Operation(admin.Readiness, (200, 503)),
    "GET /metrics": Operation(TEXT),
    "GET /api/openapi.json": Operation(JSON, versioned=True),
    "GET /api/docs": Operation(HTML, versioned=True),
    "GET /problems/{slug}": Operation(HTML, versioned=True),
    "GET /api/users": Operation(admin.UserPage, problems=("cursor-mismatch",), query={"limit": 10}),
    "POST /api/users": _made(
        admin.UserMade,
        {"login": "ada", "generate": True, "address": "ada@example.org"},
        *("name-taken", "address-taken", "weak-password"),
    ),
    "GET /api/users/{id}": _found(admin.UserDetail),
    "PUT /api/users/{id}": _changed(admin.UserDetail, {"quota": 1073741824}, "last-admin"),
    "DELETE /api/users/{id}": _done("last-admin", versioned=True, query={"mail": "keep"}),
    "POST /api/users/{id}/password": Operation(
        admin.PasswordMade, problems=("weak-password",), body={"generate": True}
    ),
    "GET /api/domains": Operation(admin.DomainPage, problems=("cursor-mismatch",)),
    "POST /api/domains": _made(
        admin.DomainDetail, {"name": "example.org", "catch_all": "ada"}, "domain-taken"
    ),
    "GET /api/domains/{name}": _found(admin.DomainDetail),
    "PUT /api/domains/{name}": _changed(
        admin.DomainDetail, {"plus": "+-", "self_service": True}, "domain-in-use"
    ),
    "DELETE /api/domains/{name}": _done("domain-in-use", versioned=True, query={"force": "true"}),
    "GET /api/domains/{name}/dns": Operation(dns.Records, query={"format": "json"}, also=(TEXT,)),
    "POST /api/domains/{name}/dns/check": Operation(dns.Check, query={"resolver": "configured"}),
    "GET /api/addresses": Operation(admin.AddressPage, problems=("cursor-mismatch",)),
    "POST /api/addresses": _made(
        admin.AddressDetail,
        {"domain": "example.org", "random": True, "note": "shoe shop"},
        *("not-permitted", "domain-not-open", "address-taken"),
    ),
    "GET /api/addresses/{id}": _found(admin.AddressDetail),
    "PUT /api/addresses/{id}": _changed(
        admin.AddressDetail, {"state": "closed", "note": "leaked"}, "not-permitted"
    ),
    "DELETE /api/addresses/{id}": _done("not-permitted", "domain-not-open", versioned=True),
    "GET /api/invites": Operation(admin.InvitePage, problems=("cursor-mismatch",)),
    "POST /api/invites": _made(admin.InviteMade, {"uses": 1, "address": "ada@example.org"}),
    "DELETE /api/invites/{id}": _done(),
    "GET /api/server": Operation(admin.ServerDetail),
    "GET /api/server/doctor": Operation(doctor.Findings, query={"only": "tls,store"}),
    "GET /mail/config-v1.1.xml": Operation(XML, problems=("not-found",), query=_WHOSE),
    "GET /.well-known/autoconfig/mail/config-v1.1.xml": Operation(
        XML, problems=("not-found",), query=_WHOSE
    ),
    "GET /.well-known/mta-sts.txt": Operation(TEXT, problems=("not-found",)),
    "GET /.well-known/security.txt": Operation(TEXT, problems=("not-found",)),
    "GET /robots.txt": Operation(TEXT),
    "GET /.well-known/acme-challenge/{token}": Operation(ANY_OCTETS),
    "GET /api/config": Operation(admin.Settings),
}


# The page's forms, and what other programs look for under other names, are told in docs/api.md
# alone: a client of the API has no use for them.
DESCRIBED: Final = [route for route in ROUTES if route not in (*PAGE_ROUTES, *DISCOVERY_ROUTES)]


def name(route: Route[Any, Any]) -> str:
    return f"{route.method} {route.path}"


def summary(route: Route[Any, Any]) -> str:
    """What the handler says of itself behind its method and path."""
    text = " ".join((route.handler.__doc__ or "").split()).removeprefix(name(route))
    text = text.removeprefix(":").strip()
    return text[:1].upper() + text[1:]


def problems(route: Route[Any, Any]) -> list[str]:
    """All that this row may answer with: in the order of the registry."""
    own = {*OPERATIONS[name(route)].problems, *_general(route)}
    return [slug for slug in KINDS if slug in own]


def _general(route: Route[Any, Any]) -> Iterator[str]:
    operation = OPERATIONS[name(route)]
    yield from ("malformed-request", "bad-query", "unsupported-media-type", "rate-limited")
    yield from ("header-too-large", "internal-error", "busy")
    if not route.any_host:
        yield from ("wrong-host", "proxy-not-trusted")
    if route.access is not Rule.NONE:
        yield "not-signed-in"
    if route.access not in (Rule.NONE, Rule.OPTIONAL):
        yield "not-permitted"
        if route.access not in (Rule.ANY, Rule.SESSION):
            yield "scope-missing"
    if route.method != "GET":
        yield "csrf-failed"
        if operation.versioned:
            yield "version-mismatch"
    if route.body:
        yield from ("too-slow", "body-too-large", "invalid-body")
    if "{" in route.path:
        yield "not-found"


GROUPS: Final[Mapping[str, str]] = {
    "/api/auth": "Signing in",
    "/api/me": "One's own account",
    "/api/sessions": "One's own account",
    "/api/tokens": "One's own account",
    "/api/app-passwords": "One's own account",
    "/api/limits": "One's own account",
    "/api/emails": "Mail",
    "/api/email-receive": "Mail from elsewhere",
    "/api/collectors": "Mail from elsewhere",
    "/api/jobs": "Mail from elsewhere",
    "/api/addresses": "Addresses",
    "/api/domains": "Domains",
    "/api/users": "Users and invitations",
    "/api/invites": "Users and invitations",
}
PAGE: Final = "The page of the browser"


def group(route: Route[Any, Any]) -> str:
    if route in PAGE_ROUTES:
        return PAGE
    place = "/".join(route.path.split("/")[: 3 if route.path.startswith("/api/") else 2])
    return GROUPS.get(place, "The server")


def grouped() -> dict[str, list[Route[Any, Any]]]:
    found: dict[str, list[Route[Any, Any]]] = {title: [] for title in GROUPS.values()}
    found[PAGE] = []
    found["The server"] = []
    for route in ROUTES:
        found[group(route)].append(route)
    return found
