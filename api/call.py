"""What a handler is given and what it may give back."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Generic, Literal, Protocol, TypeVar

from api.models import Answer, Body, Query
from api.models_dns import Check, Records, SourceName, Subject
from api.models_doctor import Findings, GroupName
from api.page_session import Page
from auth.login import Login
from auth.passwords import Passwords
from auth.scopes import Scope
from auth.second_factor import SecondFactor
from auth.tokens import Tokens
from mail.errors import OtherVersion
from net.limits import Limiter, Network, Peer
from net.metrics import Counts, Gauges
from net.rates import RateCounts
from store.lists import Guard
from store.records import (
    Account,
    Collector,
    CollectorOwner,
    CollectorStep,
    CollectorWish,
    Discovered,
    LoginSession,
    Whose,
)
from store.store import Store

Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body | None)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """In seconds."""

    idle_s: float = 15  # between requests, and for a request's line and header
    body_s: float = 10  # for a request's body, and one second more per KiB that has come
    handler_s: float = 30
    write_stall_s: float = 60
    linger_s: float = 5  # for the rest of a body that was refused, so that the answer is read


@dataclass(frozen=True, slots=True)
class Site:
    """What the configuration says of this server to those who ask.

    `proxies`: whose word about their clients is believed. `exempt`: whom no limit per client
    counts. `failures_only`: a sign-in that went well is not counted. `pop3_port` and
    `refuser_port`: of set-up cards. `public_url`: what browsers type, without a
    slash at its end. `hsts`: the certificate is one that they trust, so they may remember that we
    are there over TLS.
    """

    registration: Literal["invite", "open", "closed"] = "invite"
    proxies: Sequence[Network] = ()
    exempt: Sequence[Network] = ()
    failures_only: bool = False
    pop3_port: int = 995
    refuser_port: int | None = None
    public_url: str = "https://localhost"
    hsts: bool = False


@dataclass(slots=True)
class StartLink:
    """What a trial shows its owner: whoever has it and sits at this machine is signed in, once."""

    code: str
    login: str
    until: datetime
    used: bool = False

    def opens(self, code: str, now: datetime) -> bool:
        right = hmac.compare_digest(code.encode(), self.code.encode())
        return right and not self.used and now < self.until


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the whole server."""

    version: str
    started_at: datetime
    listeners: Mapping[str, Sequence[str]]
    certificates: Sequence[tuple[str, int]]  # SHA-256, days left
    store_url: str  # without its password
    free_octets: int
    backup_age_s: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at a moment. `kept`: messages since the sample before."""

    at: datetime
    kept: int
    stored_octets: int
    connections: int


Value = bool | int | str | list[str]


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of config.toml with its value in force; values are TOML's types, secrets masked."""

    key: str
    value: Value
    source: Literal["default", "file", "environment"]
    default: Value
    meaning: str
    accepted: str


class Dns(Protocol):
    """What is told of a domain's DNS records."""

    def told(self, subject: Subject, only: str | None) -> Records: ...

    def text(
        self, subject: Subject, only: str | None, *, form: Literal["table", "zone", "csv"]
    ) -> str: ...

    async def check(self, subject: Subject, only: SourceName | None) -> Check:
        """Asks both sides, or only one, now."""


class House(Protocol):
    """What the API is told of the whole server by whoever put it together."""

    @property
    def metrics(self) -> Counts: ...

    @property
    def dns(self) -> Dns: ...

    async def examine(self, only: Collection[GroupName] | None) -> Findings:
        """What is wrong with it, of all groups or those named."""

    async def facts(self) -> Facts: ...

    def settings(self) -> Sequence[Setting]: ...

    async def readiness(self) -> Mapping[str, bool]:
        """Each part that must be there for mail to be taken, and whether it is."""

    async def challenge(self, token: str) -> bytes | None:
        """The answer to a challenge of RFC 8555 that is awaited."""

    async def gauges(self) -> Gauges:
        """What is not counted but measured, at this moment."""

    def history(self) -> Sequence[Sample]:
        """The last day, the oldest first."""


class Collecting(Protocol):
    """What the API asks of the collector; it says what each of them raises."""

    def discover(self, address: str) -> Discovered: ...

    async def create(
        self, owner: CollectorOwner, wish: CollectorWish, *, test: bool = True
    ) -> Collector: ...

    async def configure(
        self, owner: CollectorOwner, wish: CollectorWish, *, test: bool = True
    ) -> tuple[Collector, bool]: ...

    async def change(
        self,
        owner: CollectorOwner,
        source_id: int,
        wish: CollectorWish,
        *,
        guard: Guard[Collector],
        test: bool = False,
    ) -> Collector: ...

    async def test(self, owner: CollectorOwner, source_id: int) -> Sequence[CollectorStep]: ...


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API works with. `hostname` is the name we answer to.

    `key` seals cursors and ties forms to their session; `secrets_key` is that of the hashes by
    which tokens and codes are found.
    """

    store: Store
    login: Login
    passwords: Passwords
    second: SecondFactor
    tokens: Tokens
    key: bytes
    secrets_key: bytes
    hostname: str
    clock: Callable[[], datetime]
    connections: Limiter
    rates: RateCounts
    house: House
    collecting: Collecting
    site: Site = Site()
    limits: HttpLimits = HttpLimits()
    start: StartLink | None = None


class Door(Enum):
    """How a caller came in."""

    LOGIN = auto()  # an access token
    TOKEN = auto()  # an API token
    PAGE = auto()  # a browser session


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what for. `addresses` None: all of the account's; else mail to these alone."""

    account: Account
    door: Door
    scopes: frozenset[Scope]
    addresses: frozenset[str] | None = None  # folded
    session: LoginSession | None = None  # not of an API token
    until: datetime | None = None  # when an API token ends, if it does

    @property
    def own(self) -> Whose:
        """The addresses that are this caller's."""
        return Whose(self.account, self.addresses)

    def whose(self, scope: Scope) -> Whose | None:
        """The addresses that this caller may see, or change: everybody's with that scope."""
        return None if scope in self.scopes else self.own


@dataclass(frozen=True, slots=True)
class Preconditions:
    """RFC 9110 section 13.1, for what changes something. None: there is none."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def hold(self, version: str) -> bool:
        """For what is there; `*` is any version of it."""
        fits = self.match is None or not self.match.isdisjoint((version, "*"))
        return fits and (self.none_match is None or self.none_match.isdisjoint((version, "*")))


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request whose sender, query and body are in order."""

    parts: ApiParts
    peer: Peer
    caller: Caller | None  # None on routes that ask nobody to sign in
    page: Page
    path: Mapping[str, str]
    query: Q
    body: B
    preconditions: Preconditions = Preconditions()
    host: str = ""  # that it was sent to, without a port

    def guard(self, show: Callable[[R], Answer]) -> Guard[R]:
        """Raises OtherVersion, inside the transaction, for what the caller has not seen."""

        def check(found: R) -> None:
            current = show(found)
            if not self.preconditions.hold(current.tag):
                told = json.loads(current.octets())
                raise OtherVersion("it has been changed since; this is what it is", current=told)

        return check

    @property
    def insider(self) -> bool:
        """Whether more may be told: to this machine, and to who may see the server."""
        known = self.caller is not None and Scope.ADMIN_READ in self.caller.scopes
        return known or self.peer.address.is_loopback

    @property
    def who(self) -> Caller:
        """Who asks; on routes that make everybody sign in."""
        assert self.caller is not None
        return self.caller

    @property
    def account(self) -> Account:
        """Of who asks; on routes that make everybody sign in."""
        return self.who.account


@dataclass(frozen=True, slots=True)
class Blocks:
    """A body of `size` octets that is read while it is sent; what `read` raises cuts the answer."""

    size: int
    read: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with what stands around it; without a body it is 204.

    GET is conditional (RFC 9110 section 13) with an `etag`, or when `versioned`: then the ETag
    changes whenever an octet of the answer does.
    """

    body: Answer | bytes | Blocks | None
    status: int = 200
    content_type: str = "application/json"
    etag: str | None = None
    versioned: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
