"""The table of all that can be asked for: the only list of paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from api import (
    account,
    attachments,
    collectors,
    discovery,
    domain_dns,
    domains,
    emails,
    frame,
    health,
    invites,
    login,
    page_account,
    page_admin,
    page_collect,
    page_dns,
    page_files,
    page_login,
    page_mail,
    reading,
    server,
    users,
)
from api import models_auth as auth
from api import models_page as page
from api.call import Call, Reply
from api.models import Answer, Body, Query
from api.models_admin import (
    AddressChange,
    AddressesQuery,
    DomainChange,
    ListQuery,
    NewAddress,
    NewDomain,
    NewInvite,
    NewPassword,
    NewUser,
    RemoveDomainQuery,
    RemoveUserQuery,
    UserChange,
)
from api.models_collect import (
    CollectorChange,
    DiscoverWish,
    NewCollector,
    ReceiveWish,
    RunWish,
)
from api.models_dns import CheckQuery, RecordsQuery
from api.models_doctor import DoctorQuery
from api.models_mail import (
    AttachmentQuery,
    DeleteQuery,
    EmailChange,
    EmailQuery,
    EmailsQuery,
)
from api.security import KIB
from auth.scopes import Scope

Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body | None)

BODY_OCTETS: Final = 1024 * KIB
AUTH_BODY_OCTETS: Final = 16 * KIB


class Rule(StrEnum):
    """Who may ask, where no scope says it."""

    NONE = "none"  # anybody
    OPTIONAL = "optional"  # anybody; who signs in is told more
    ANY = "any"  # whoever is signed in, by any door
    SESSION = "session"  # signed in with a password, not with an API token


Access = Scope | Rule


@dataclass(frozen=True, slots=True)
class Route(Generic[Q, B]):
    """`query` None: it takes none. A GET answers HEAD too; OPTIONS is answered on every path."""

    method: str
    path: str
    handler: Callable[[Call[Q, B]], Awaitable[Answer | Reply]]
    access: Access
    query: type[Q] | None = None
    body: type[B] | None = None
    any_host: bool = False  # probes know us by our address
    form: bool = False  # what a page sends, with its token in the field csrf_token
    local: bool = False  # this machine needs no credential
    waits_s: int = 0  # how much longer its handler may take, because it was asked to wait
    discovery: bool = False  # under the names that `api.discovery` answers to as well

    @property
    def body_octets(self) -> int:
        """The largest body."""
        small = self.form or self.path.startswith("/api/auth/")
        return AUTH_BODY_OCTETS if small else BODY_OCTETS


def _form(
    path: str,
    handler: Callable[[Call[Query, B]], Awaitable[Answer | Reply]],
    access: Access,
    body: type[B],
) -> Route[Query, B]:
    """What a page sends."""
    return Route("POST", path, handler, access, body=body, form=True)


PAGE_ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route("GET", "/login", page_login.show, Rule.NONE),
    Route("POST", "/login", page_login.sign_in, Rule.NONE, body=auth.LoginForm, form=True),
    Route("POST", "/logout", page_login.sign_out, Rule.SESSION, body=Body, form=True),
    Route("GET", "/setup", page_login.show_setup, Rule.NONE),
    _form("/setup", page_login.setup, Rule.NONE, page.RegisterForm),
    Route("GET", "/register", page_login.show_register, Rule.NONE, query=page.InviteQuery),
    _form("/register", page_login.register, Rule.NONE, page.RegisterForm),
    Route("GET", "/recover", page_login.show_recover, Rule.NONE),
    _form("/recover", page_login.recover, Rule.NONE, page.RecoverForm),
    Route("GET", "/password", page_login.show_password, Scope.ACCOUNT),
    _form("/password", page_login.change_password, Scope.ACCOUNT, page.PasswordForm),
    Route("GET", "/start/{code}", page_login.show_start, Rule.NONE),
    _form("/start/{code}", page_login.start, Rule.NONE, Body),
    Route("GET", "/static/{version}/{name}", page_files.static, Rule.NONE),
    Route("GET", "/", page_mail.index, Scope.MAIL_READ, query=page.ListPlace),
    Route("GET", "/m/{id}", page_mail.show, Scope.MAIL_READ, query=page.MessagePlace),
    _form("/m", page_mail.change, Scope.MAIL_WRITE, page.MailForm),
    Route("GET", "/live", page_mail.live, Scope.MAIL_READ, query=page.LiveQuery),
    Route("GET", "/addresses", page_account.show_addresses, Scope.ACCOUNT, query=page.Told),
    _form("/addresses", page_account.change_addresses, Scope.ACCOUNT, page.AddressForm),
    Route("GET", "/collect", page_collect.show, Scope.ACCOUNT, query=page.CollectPlace),
    _form("/collect", page_collect.change, Scope.ACCOUNT, page.CollectForm),
    Route("GET", "/connect", page_account.show_connect, Scope.ACCOUNT),
    _form("/connect", page_account.add_app, Scope.ACCOUNT, page.ConnectForm),
    Route("GET", "/security", page_account.show_security, Scope.ACCOUNT, query=page.Told),
    _form("/security", page_account.secure, Scope.ACCOUNT, page.SecurityForm),
    Route("GET", "/admin/users", page_admin.show_users, Scope.ADMIN_READ, query=page.Told),
    _form("/admin/users", page_admin.change_users, Scope.ADMIN_WRITE, page.UserForm),
    Route("GET", "/admin/domains", page_admin.show_domains, Scope.ADMIN_READ, query=page.Told),
    _form("/admin/domains", page_admin.change_domains, Scope.ADMIN_WRITE, page.DomainForm),
    Route("GET", "/admin/domains/{name}", page_dns.show, Scope.ADMIN_READ, query=page.Told),
    _form("/admin/domains/{name}", page_dns.change, Scope.ADMIN_WRITE, page.DnsForm),
    Route("GET", "/admin/invites", page_admin.show_invites, Scope.ADMIN_WRITE, query=page.Told),
    _form("/admin/invites", page_admin.change_invites, Scope.ADMIN_WRITE, page.InviteForm),
    Route("GET", "/admin/server", page_admin.show_server, Scope.ADMIN_READ),
    Route("GET", "/help", page_files.show_help, Rule.ANY),
    Route("GET", "/menu", page_files.menu, Rule.ANY),
)

AUTH_ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route("POST", "/api/auth/login", login.sign_in, Rule.NONE, body=auth.Credentials),
    Route("POST", "/api/auth/register", login.register, Rule.NONE, body=auth.Registered),
    Route("POST", "/api/auth/refresh", login.refresh, Rule.NONE, body=auth.Refresh),
    Route("POST", "/api/auth/recover", login.recover, Rule.NONE, body=auth.Recovery),
    Route("POST", "/api/auth/logout", login.sign_out, Rule.SESSION, body=auth.Logout),
    Route(
        "POST",
        "/api/auth/password",
        account.change_password,
        Scope.ACCOUNT,
        body=auth.ChangePassword,
    ),
    Route("POST", "/api/auth/recovery-codes", account.new_codes, Rule.SESSION, body=auth.Current),
    Route("POST", "/api/auth/totp", account.start_totp, Rule.SESSION, body=auth.Current),
    Route("PUT", "/api/auth/totp", account.change_totp, Rule.SESSION, body=auth.TotpChange),
    Route("GET", "/api/me", account.me, Rule.ANY),
    Route("PUT", "/api/me", account.change_me, Scope.ACCOUNT, body=auth.OwnChange),
    Route("GET", "/api/me/client-config", account.client_config, Rule.ANY, query=auth.CardQuery),
    Route("GET", "/api/sessions", account.sessions, Scope.ACCOUNT, query=ListQuery),
    Route("DELETE", "/api/sessions/{id}", account.end_session, Scope.ACCOUNT),
    Route("GET", "/api/tokens", account.tokens, Scope.ACCOUNT, query=ListQuery),
    Route("POST", "/api/tokens", account.add_token, Scope.ACCOUNT, body=auth.TokenWish),
    Route("DELETE", "/api/tokens/{id}", account.remove_token, Scope.ACCOUNT),
    Route(
        "GET",
        "/api/app-passwords",
        account.list_app_passwords,
        Scope.ACCOUNT,
        query=ListQuery,
    ),
    Route(
        "POST",
        "/api/app-passwords",
        account.add_app_password,
        Scope.ACCOUNT,
        body=auth.AppPasswordWish,
    ),
    Route("DELETE", "/api/app-passwords/{id}", account.remove_app_password, Scope.ACCOUNT),
    Route("GET", "/api/limits", account.limits, Rule.ANY),
    Route(
        "DELETE", "/api/limits", account.forget_limits, Scope.ADMIN_WRITE, query=auth.LimitsQuery
    ),
)

# What is managed.
ADMIN_ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route("GET", "/readyz", server.ready, Rule.OPTIONAL, any_host=True),
    Route("GET", "/metrics", server.metrics, Scope.METRICS, any_host=True, local=True),
    Route("GET", "/api/users", users.index, Scope.ADMIN_READ, query=ListQuery),
    Route("POST", "/api/users", users.create, Scope.ADMIN_WRITE, body=NewUser),
    Route("GET", "/api/users/{id}", users.read, Scope.ADMIN_READ),
    Route("PUT", "/api/users/{id}", users.change, Scope.ADMIN_WRITE, body=UserChange),
    Route("DELETE", "/api/users/{id}", users.remove, Scope.ADMIN_WRITE, query=RemoveUserQuery),
    Route(
        "POST", "/api/users/{id}/password", users.set_password, Scope.ADMIN_WRITE, body=NewPassword
    ),
    Route("GET", "/api/domains", domains.index, Rule.ANY, query=ListQuery),
    Route("POST", "/api/domains", domains.create, Scope.ADMIN_WRITE, body=NewDomain),
    Route("GET", "/api/domains/{name}", domains.read, Scope.ADMIN_READ),
    Route("PUT", "/api/domains/{name}", domains.change, Scope.ADMIN_WRITE, body=DomainChange),
    Route(
        "DELETE", "/api/domains/{name}", domains.remove, Scope.ADMIN_WRITE, query=RemoveDomainQuery
    ),
    Route("GET", "/api/domains/{name}/dns", domain_dns.show, Scope.ADMIN_READ, query=RecordsQuery),
    Route(
        "POST",
        "/api/domains/{name}/dns/check",
        domain_dns.check,
        Scope.ADMIN_READ,
        query=CheckQuery,
    ),
    Route("GET", "/api/addresses", domains.addresses, Scope.ACCOUNT, query=AddressesQuery),
    Route("POST", "/api/addresses", domains.create_address, Scope.ACCOUNT, body=NewAddress),
    Route("GET", "/api/addresses/{id}", domains.read_address, Scope.ACCOUNT),
    Route("PUT", "/api/addresses/{id}", domains.change_address, Scope.ACCOUNT, body=AddressChange),
    Route("DELETE", "/api/addresses/{id}", domains.remove_address, Scope.ACCOUNT),
    Route("GET", "/api/invites", invites.index, Scope.ADMIN_WRITE, query=ListQuery),
    Route("POST", "/api/invites", invites.create, Scope.ADMIN_WRITE, body=NewInvite),
    Route("DELETE", "/api/invites/{id}", invites.remove, Scope.ADMIN_WRITE),
    Route("GET", "/api/openapi.json", reading.openapi, Rule.NONE),
    Route("GET", "/api/docs", reading.docs, Rule.NONE),
    Route("GET", "/problems/{slug}", reading.problem, Rule.NONE),
    Route("GET", "/api/server", server.show, Scope.ADMIN_READ),
    Route("GET", "/api/server/doctor", server.doctor, Scope.ADMIN_READ, query=DoctorQuery),
    Route("GET", "/api/config", server.config, Scope.ADMIN_READ),
)

MAIL_ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route("GET", "/api/emails", emails.index, Scope.MAIL_READ, query=EmailsQuery),
    Route("GET", "/api/emails/{id}", emails.read, Scope.MAIL_READ, query=EmailQuery),
    Route(
        "PUT",
        "/api/emails/{id}",
        emails.change,
        Scope.MAIL_WRITE,
        query=EmailQuery,
        body=EmailChange,
    ),
    Route("DELETE", "/api/emails/{id}", emails.remove, Scope.MAIL_WRITE, query=DeleteQuery),
    Route("GET", "/api/emails/{id}/raw", attachments.raw, Scope.MAIL_READ),
    Route("GET", "/api/emails/{id}/headers", attachments.headers, Scope.MAIL_READ),
    Route("GET", "/api/emails/{id}/body", frame.body, Scope.MAIL_READ, query=page.BodyQuery),
    Route("GET", "/api/emails/{id}/attachments", attachments.index, Scope.MAIL_READ),
    Route(
        "GET",
        "/api/emails/{id}/attachments/{n}",
        attachments.read,
        Scope.MAIL_READ,
        query=AttachmentQuery,
    ),
)

# Mail that is fetched from elsewhere.
COLLECT_ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route(
        "POST",
        "/api/email-receive/receive",
        collectors.receive,
        Scope.ACCOUNT,
        body=ReceiveWish,
        waits_s=60,
    ),
    Route(
        "POST",
        "/api/email-receive/configure",
        collectors.configure,
        Scope.ACCOUNT,
        body=NewCollector,
    ),
    Route("GET", "/api/collectors", collectors.index, Scope.ACCOUNT, query=ListQuery),
    Route("POST", "/api/collectors", collectors.create, Scope.ACCOUNT, body=NewCollector),
    Route(
        "POST", "/api/collectors/discover", collectors.discover, Scope.ACCOUNT, body=DiscoverWish
    ),
    Route("GET", "/api/collectors/{id}", collectors.read, Scope.ACCOUNT),
    Route("PUT", "/api/collectors/{id}", collectors.change, Scope.ACCOUNT, body=CollectorChange),
    Route("DELETE", "/api/collectors/{id}", collectors.remove, Scope.ACCOUNT),
    Route(
        "POST",
        "/api/collectors/{id}/run",
        collectors.run,
        Scope.ACCOUNT,
        body=RunWish,
        waits_s=60,
    ),
    Route("POST", "/api/collectors/{id}/test", collectors.test, Scope.ACCOUNT),
    Route("GET", "/api/jobs/{id}", collectors.job, Scope.ACCOUNT),
    Route("DELETE", "/api/jobs/{id}", collectors.cancel, Scope.ACCOUNT),
)

# What programs of strangers look for.
DISCOVERY_ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route(
        "GET",
        "/mail/config-v1.1.xml",
        discovery.autoconfig,
        Rule.NONE,
        query=auth.AutoconfigQuery,
        discovery=True,
    ),
    Route(
        "GET",
        "/.well-known/autoconfig/mail/config-v1.1.xml",
        discovery.well_known_autoconfig,
        Rule.NONE,
        query=auth.AutoconfigQuery,
        discovery=True,
    ),
    Route("GET", "/.well-known/mta-sts.txt", discovery.mta_sts, Rule.NONE, discovery=True),
    Route("GET", "/.well-known/security.txt", discovery.security, Rule.NONE, discovery=True),
    Route("GET", "/robots.txt", discovery.robots, Rule.NONE, discovery=True),
    Route(
        "GET", "/.well-known/acme-challenge/{token}", discovery.challenge, Rule.NONE, any_host=True
    ),
)

ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    *PAGE_ROUTES,
    *AUTH_ROUTES,
    Route("GET", "/healthz", health.alive, Rule.NONE, any_host=True),
    Route("GET", "/api/", health.greet, Rule.NONE),
    *MAIL_ROUTES,
    *COLLECT_ROUTES,
    *ADMIN_ROUTES,
    *DISCOVERY_ROUTES,
)
