"""The table of routes: none is without a rule, and the rule is api.md's."""

import typing

import pytest

from api.routes import ROUTES, Access, Rule
from auth.scopes import Scope

NOBODY_SIGNS_IN = {
    *("/healthz", "/api/", "/login", "/api/docs", "/api/openapi.json", "/problems/{slug}"),
    *("/setup", "/register", "/recover", "/start/{code}", "/static/{version}/{name}"),
    *("/api/auth/login", "/api/auth/register", "/api/auth/refresh", "/api/auth/recover"),
    *("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml", "/robots.txt"),
    *("/.well-known/mta-sts.txt", "/.well-known/security.txt"),
    "/.well-known/acme-challenge/{token}",
}


def test_every_route_says_who_may_ask() -> None:
    assert typing.get_args(Access) == (Scope, Rule)
    for route in ROUTES:
        assert isinstance(route.access, Access), route.path


def test_what_anybody_may_ask_is_listed_here() -> None:
    assert {route.path for route in ROUTES if route.access is Rule.NONE} == NOBODY_SIGNS_IN


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if r.path.startswith("/api/emails")],
    ids=lambda r: f"{r.method} {r.path}",
)
def test_mail_needs_a_scope_of_mail(route: typing.Any) -> None:
    assert str(route.access).startswith("mail:")


# Who may ask for what, as it was designed: a scope, or one of the rules.
RULES = {
    "none": """
        GET /login, POST /login, GET /setup, POST /setup, GET /register, POST /register,
        GET /recover, POST /recover, GET /start/{code}, POST /start/{code},
        GET /static/{version}/{name}, GET /healthz, GET /api/, GET /api/openapi.json, GET /api/docs,
        GET /problems/{slug}, POST /api/auth/login, POST /api/auth/register,
        POST /api/auth/refresh, POST /api/auth/recover, GET /mail/config-v1.1.xml,
        GET /.well-known/autoconfig/mail/config-v1.1.xml, GET /.well-known/mta-sts.txt,
        GET /.well-known/security.txt, GET /robots.txt, GET /.well-known/acme-challenge/{token}""",
    "optional": "GET /readyz",
    "any": """
        GET /api/me, GET /api/me/client-config, GET /api/limits, GET /api/domains, GET /help,
        GET /menu""",
    "session": """
        POST /logout, POST /api/auth/logout, POST /api/auth/recovery-codes, POST /api/auth/totp,
        PUT /api/auth/totp""",
    "account": """
        POST /api/auth/password, PUT /api/me, GET /api/sessions, DELETE /api/sessions/{id},
        GET /api/tokens, POST /api/tokens, DELETE /api/tokens/{id}, GET /api/app-passwords,
        POST /api/app-passwords, DELETE /api/app-passwords/{id}, GET /api/addresses,
        POST /api/addresses, GET /api/addresses/{id}, PUT /api/addresses/{id},
        DELETE /api/addresses/{id}, POST /api/email-receive/receive,
        POST /api/email-receive/configure, GET /api/collectors, POST /api/collectors,
        POST /api/collectors/discover, GET /api/collectors/{id}, PUT /api/collectors/{id},
        DELETE /api/collectors/{id}, POST /api/collectors/{id}/run,
        POST /api/collectors/{id}/test, GET /api/jobs/{id}, DELETE /api/jobs/{id},
        GET /password, POST /password, GET /addresses,
        POST /addresses, GET /collect, POST /collect, GET /connect, POST /connect,
        GET /security, POST /security""",
    "mail:read": """
        GET /api/emails, GET /api/emails/{id}, GET /api/emails/{id}/raw,
        GET /api/emails/{id}/headers, GET /api/emails/{id}/attachments,
        GET /api/emails/{id}/attachments/{n}, GET /api/emails/{id}/body, GET /, GET /m/{id},
        GET /live""",
    "mail:write": "POST /m, PUT /api/emails/{id}, DELETE /api/emails/{id}",
    "metrics": "GET /metrics",
    "admin:read": """
        GET /api/users, GET /api/users/{id}, GET /api/domains/{name}, GET /api/server,
        GET /api/config, GET /admin/users, GET /admin/domains, GET /admin/server,
        GET /api/domains/{name}/dns, POST /api/domains/{name}/dns/check,
        GET /api/server/doctor, GET /admin/domains/{name}""",
    "admin:write": """
        POST /api/users, PUT /api/users/{id}, DELETE /api/users/{id},
        POST /api/users/{id}/password, POST /api/domains, PUT /api/domains/{name},
        DELETE /api/domains/{name}, GET /api/invites, POST /api/invites, DELETE /api/invites/{id},
        DELETE /api/limits, POST /admin/users, POST /admin/domains, GET /admin/invites,
        POST /admin/invites, POST /admin/domains/{name}""",
}


def test_each_row_has_the_rule_that_was_meant() -> None:
    meant = {row.strip(): rule for rule, rows in RULES.items() for row in rows.split(",")}
    assert {f"{route.method} {route.path}": str(route.access) for route in ROUTES} == meant
    assert [route.path for route in ROUTES if route.local] == ["/metrics"]
