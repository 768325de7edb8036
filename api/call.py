"""What a handler is given and what it may give back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from api.models import Answer, Body, Query
from auth.login import Login
from auth.tokens import Tokens
from net.limits import Limiter, Peer
from store.records import Account, LoginSession
from store.store import Store

Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body | None)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """In seconds."""

    idle_s: float = 15  # between requests, and for a request's line and header
    body_s: float = 10  # for a request's body, and one second more per KiB that has come
    handler_s: float = 30
    write_stall_s: float = 60
    linger_s: float = 5  # for the rest of a body that was refused, so that the answer is read


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API works with. `key` seals cursors; `hostname` is the name we answer to."""

    store: Store
    login: Login
    tokens: Tokens
    key: bytes
    hostname: str
    clock: Callable[[], datetime]
    connections: Limiter
    limits: HttpLimits = HttpLimits()


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request whose sender, query and body are in order."""

    parts: ApiParts
    peer: Peer
    session: LoginSession | None  # None on routes that ask nobody to sign in
    path: Mapping[str, str]
    query: Q
    body: B

    @property
    def account(self) -> Account:
        """Who asks; on routes that make everybody sign in."""
        assert self.session is not None
        return self.session.account


@dataclass(frozen=True, slots=True)
class Blocks:
    """A body of `size` octets that is read while it is sent; what `read` raises cuts the answer."""

    size: int
    read: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with what stands around it.

    GET is conditional (RFC 9110 section 13) with an `etag`, or when `versioned`: then the ETag
    changes whenever an octet of the answer does.
    """

    body: Answer | bytes | Blocks
    content_type: str = "application/json"
    etag: str | None = None
    versioned: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
