"""Bodies of signing in, of one's own account and of its credentials."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr

from api.models import Answer, Body, Query
from api.models_admin import Page, UserDetail
from auth.scopes import Scope, of_line
from mail.address import Address
from mail.errors import BadAddress

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
LoginName = Annotated[str, Field(min_length=1, max_length=320)]


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def _address(text: str) -> str:
    try:
        return str(Address.parse(text).folded)
    except BadAddress as error:
        raise ValueError(error.public) from error


def _scopes(text: str) -> str:
    try:
        of_line(text)
    except ValueError:
        raise ValueError(f"scopes are {', '.join(Scope)}, with spaces between them") from None
    return text


def _scope(text: str) -> str:
    if text not in set(Scope):
        raise ValueError(f"is none of {', '.join(Scope)}")
    return text


Networks = Annotated[
    list[Annotated[str, Field(max_length=50), AfterValidator(_network)]], Field(max_length=20)
]
Addresses = Annotated[
    list[Annotated[str, Field(max_length=320), AfterValidator(_address)]],
    Field(min_length=1, max_length=50),
]
Scopes = Annotated[
    list[Annotated[str, AfterValidator(_scope)]], Field(min_length=1, max_length=len(Scope))
]


class Greeting(Answer):
    name: str
    registration: Literal["invite", "open", "closed"]
    setup_needed: bool
    scopes: list[str]


class Credentials(Body):
    """`login` is a login or one of the user's own addresses. `scope` narrows what is given."""

    login: LoginName
    password: SecretStr
    totp: SecretStr | None = None
    scope: Annotated[str, Field(max_length=400), AfterValidator(_scopes)] | None = None
    device: Name | None = None


class LoginForm(Body):
    """Of the page; its csrf_token has been looked at by then."""

    login: LoginName
    password: SecretStr
    totp: SecretStr | None = None


class Registered(Body):
    login: str = Field(min_length=1, max_length=64)
    password: SecretStr
    invite: SecretStr | None = None
    setup_code: SecretStr | None = None
    display_name: Name | None = None
    address: Annotated[str, Field(max_length=320)] | None = None


class Refresh(Body):
    refresh_token: SecretStr


class Logout(Body):
    everywhere: bool = False


class ChangePassword(Body):
    current: SecretStr
    new: SecretStr


class Recovery(Body):
    login: LoginName
    recovery_code: SecretStr
    new: SecretStr


class Current(Body):
    current: SecretStr


class TotpChange(Body):
    """On with a `code` of the new secret, off with the `current` password."""

    enabled: bool
    code: SecretStr | None = None
    current: SecretStr | None = None


class OwnChange(Body):
    display_name: Annotated[str, Field(max_length=100)] | None = None
    language: Annotated[str, Field(max_length=20, pattern=r"^[A-Za-z0-9-]*$")] | None = None
    timezone: Annotated[str, Field(max_length=60, pattern=r"^[A-Za-z0-9/_+-]*$")] | None = None


class TokenWish(Body):
    name: Name
    scopes: Scopes
    addresses: Addresses | None = None
    ip_allow: Networks = Field(default_factory=list)
    expires_at: AwareDatetime | None = None


class AppPasswordWish(Body):
    name: Name
    ip_allow: Networks = Field(default_factory=list)


class CardQuery(Query):
    format: Literal["json", "text", "thunderbird", "apple"] = "json"


class AutoconfigQuery(Query):
    emailaddress: Annotated[str, Field(max_length=320)] = ""


class LimitsQuery(Query):
    ip: Annotated[str, Field(max_length=45)]


class Me(UserDetail):
    language: str
    timezone: str
    scopes: list[str]
    addresses: list[str]
    unread: int = 0  # not told to a token that sees the mail of some addresses only
    held: int = 0  # nor this


class Renewed(Answer):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class SignedIn(Renewed):
    user: UserDetail


class NewAccount(SignedIn):
    recovery_codes: list[str]


class CodesLeft(Answer):
    recovery_codes_left: int


class RecoveryCodes(Answer):
    recovery_codes: list[str]


class TotpSecret(Answer):
    secret: str
    uri: str


class SessionRow(Answer):
    id: str
    kind: Literal["page", "login"]
    device: str
    ip: str
    created_at: datetime
    last_seen_at: datetime
    current: bool


class Sessions(Page):
    items: list[SessionRow]


class Token(Answer):
    id: str
    name: str
    scopes: list[str]
    addresses: list[str] | None
    ip_allow: list[str]
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None
    last_ip: str | None


class NewToken(Token):
    token: str


class Tokens(Page):
    items: list[Token]


class Incoming(Answer):
    """What a mail app is set up with."""

    protocol: Literal["pop3"]
    host: str
    port: int
    security: Literal["SSL/TLS"]
    authentication: Literal["normal password"]
    username: str


class Outgoing(Answer):
    """`sends`: it does; else it only says to the mail app that nothing is sent from here."""

    host: str
    port: int
    security: Literal["SSL/TLS", "STARTTLS"]
    authentication: Literal["normal password", "none"]
    sends: bool


class Card(Answer):
    addresses: list[str]
    incoming: Incoming
    outgoing: Outgoing


class NewAppPassword(Token):
    password: str
    client_config: Card


class RateLimit(Answer):
    class_: str = Field(serialization_alias="class")
    limit: int
    left: int
    reset_s: int


class RateLimits(Answer):
    items: list[RateLimit]
