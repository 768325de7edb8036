"""The bodies and queries of what is managed: users, domains, addresses, invitations, the server."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, SecretStr, model_validator

from api.models import Answer, Body, Number, Query, Truth

RoleName = Literal["user", "admin"]
Octets = Annotated[int, Field(ge=0, le=2**53)]
LoginText = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
AddressText = Annotated[str, Field(min_length=3, max_length=320)]
DomainText = Annotated[str, Field(min_length=1, max_length=253)]
Note = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ListQuery(Query):
    limit: Annotated[Number, Field(ge=1, le=200)] = 50
    cursor: str | None = None
    total: Truth = False


class Page(Answer):
    """`next` and `prev` are cursors; `total` is there when it was asked for."""

    next: str | None
    prev: str | None
    total: int = 0


class UserDetail(Answer):
    """`quota` in octets; 0: none, null: the server's. `last_seen_at` is right to the hour."""

    id: str
    login: str
    display_name: str
    role: RoleName
    disabled: bool
    must_change_password: bool
    totp: bool
    quota: int | None
    used: int
    created_at: datetime
    last_seen_at: datetime | None


class UserPage(Page):
    items: list[UserDetail]


class UserMade(UserDetail):
    """`password` is there, this once, when it was generated."""

    password: str = ""


class PasswordMade(Answer):
    """`password` is there, this once, when it was generated."""

    password: str = ""


class _Password(Body):
    generate: bool = False

    def secret(self) -> SecretStr | None:
        raise NotImplementedError

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.generate == (self.secret() is not None):
            raise ValueError("give a password, or generate: true")
        return self


class NewUser(_Password):
    """`password`, or `generate`. `address` becomes the user's first one."""

    login: LoginText
    password: SecretStr | None = None
    address: AddressText | None = None
    role: RoleName = "user"
    quota: Octets | None = None

    def secret(self) -> SecretStr | None:
        return self.password


class NewPassword(_Password):
    """`new`, or `generate`."""

    new: SecretStr | None = None

    def secret(self) -> SecretStr | None:
        return self.new


class UserChange(Body):
    role: RoleName = "user"
    quota: Octets | None = None
    disabled: bool = False
    must_change_password: bool = False


class RemoveUserQuery(Query):
    """`keep`: the mail stays as long as trash does; `purge`: it goes now."""

    mail: Literal["keep", "purge"] = "keep"


MtaStsMode = Literal["off", "testing", "enforce"]


class DomainDetail(Answer):
    """`catch_all`, the login that gets what has no address, and `sends_via` are told to
    administrators alone."""

    id: str
    name: str
    catch_all: str | None = None
    plus: str
    alias_of: str | None
    sends_via: str | None = None
    self_service: bool
    max_message: int | None
    require_tls: bool
    mta_sts: MtaStsMode
    outgoing: str | None
    created_at: datetime


class DomainPage(Page):
    items: list[DomainDetail]


class DomainChange(Body):
    """`plus`: the characters that end the name in a sub-address. `max_message`: in octets; null:
    as large as the server takes. `require_tls` refuses senders without TLS, which RFC 3207 forbids
    to a domain whose MX is public. `mta_sts`: what senders do when our TLS does not fit
    (RFC 8461). `outgoing`: host:port of a server that sends for the domain, for set-up cards.
    `sends_via`: who sends mail as the domain, in terms of SPF; "": nobody; null: not known. Of the
    others null takes the setting away.
    """

    catch_all: LoginText | None = None
    plus: Annotated[str, Field(max_length=8)] = "+"
    alias_of: DomainText | None = None
    sends_via: Annotated[str, Field(max_length=400)] | None = None
    self_service: bool = False
    max_message: Annotated[int, Field(ge=1024, le=2**30)] | None = None
    require_tls: bool = False
    mta_sts: MtaStsMode = "testing"
    outgoing: Annotated[str, Field(max_length=260)] | None = None


class NewDomain(DomainChange):
    name: DomainText


class RemoveDomainQuery(Query):
    """`force`: with its addresses and aliases."""

    force: Truth = False


StateName = Literal["open", "closed"]


class AddressDetail(Answer):
    """`to`: the logins that its mail reaches."""

    id: str
    address: str
    to: list[str]
    state: StateName
    note: str
    created_at: datetime


class AddressPage(Page):
    items: list[AddressDetail]


class AddressesQuery(ListQuery):
    """`all`: also those that reach others, as far as you may see them."""

    all: Truth = False


class NewAddress(Body):
    """`address`, or `domain` and `random`. Without `to` it reaches whoever makes it."""

    address: AddressText | None = None
    domain: DomainText | None = None
    random: bool = False
    to: Annotated[list[LoginText], Field(min_length=1, max_length=100)] | None = None
    note: Note = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.random != (self.domain is not None) or self.random == (self.address is not None):
            raise ValueError("give an address, or a domain and random: true")
        return self


class AddressChange(Body):
    state: StateName = "open"
    to: Annotated[list[LoginText], Field(min_length=1, max_length=100)] = Field(default=[])
    note: Note = ""


class InviteDetail(Answer):
    """`uses`: how many are left."""

    id: str
    address: str | None
    uses: int
    created_at: datetime
    expires_at: datetime


class InvitePage(Page):
    items: list[InviteDetail]


class InviteMade(InviteDetail):
    """`link` is told this once."""

    link: str


class NewInvite(Body):
    """`address`: what the account will have; the guest's choice without it."""

    address: AddressText | None = None
    uses: Annotated[int, Field(ge=1, le=1000)] = 1
    expires_at: AwareDatetime | None = None


class Readiness(Answer):
    """The parts are told to this machine and to administrators."""

    ready: bool
    parts: dict[str, bool] = Field(default={})


class CertificateDetail(Answer):
    sha256: str
    days_left: int


class StoreDetail(Answer):
    """`url` without its password. `stored_octets`: what is kept of `message_octets`."""

    url: str
    accounts: int
    messages: int
    message_octets: int
    stored_octets: int
    file_octets: int | None
    free_octets: int


class ServerDetail(Answer):
    """`backup_age_s`: of the newest one in store.backup_dir; null: there is none."""

    version: str
    started_at: datetime
    hostname: str
    listeners: dict[str, list[str]]
    certificates: list[CertificateDetail]
    store: StoreDetail
    backup_age_s: int | None


class SettingDetail(Answer):
    """One key of config.toml with its value in force; a secret in it is masked."""

    key: str
    value: bool | int | str | list[str]
    source: Literal["default", "file", "environment"]
    default: bool | int | str | list[str]
    meaning: str
    accepted: str


class Settings(Answer):
    items: list[SettingDetail]
