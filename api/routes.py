"""The table of all that can be asked for: the only list of paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from api import emails, health, login
from api.call import Call, Reply
from api.models import Answer, Body, Credentials, EmailQuery, EmailsQuery, Query
from api.security import KIB

Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body | None)

BODY_OCTETS: Final = 1024 * KIB
AUTH_BODY_OCTETS: Final = 16 * KIB


class Access(Enum):
    """Who may ask."""

    NONE = auto()  # anybody
    SIGNED_IN = auto()


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

    @property
    def body_octets(self) -> int:
        """The largest body."""
        return AUTH_BODY_OCTETS if self.path.startswith("/api/auth/") else BODY_OCTETS


ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route("GET", "/healthz", health.alive, Access.NONE, any_host=True),
    Route("GET", "/api/", health.greet, Access.NONE),
    Route("POST", "/api/auth/login", login.sign_in, Access.NONE, body=Credentials),
    Route("GET", "/api/emails", emails.index, Access.SIGNED_IN, query=EmailsQuery),
    Route("GET", "/api/emails/{id}", emails.read, Access.SIGNED_IN, query=EmailQuery),
    Route("GET", "/api/emails/{id}/raw", emails.raw, Access.SIGNED_IN),
)
