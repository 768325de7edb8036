"""What a credential may be used for. What is kept of it in the store is their names, in a line."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from store.records import Role


class Scope(StrEnum):
    MAIL_READ = "mail:read"
    MAIL_WRITE = "mail:write"
    MAIL_DELETE = "mail:delete"
    ACCOUNT = "account"
    EVENTS = "events"
    WEBHOOKS = "webhooks"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"
    METRICS = "metrics"


_ADMINS = frozenset({Scope.ADMIN_READ, Scope.ADMIN_WRITE, Scope.METRICS})


def of_role(role: Role) -> frozenset[Scope]:
    """All that a user of this role may be given."""
    return frozenset(Scope) if role is Role.ADMIN else frozenset(Scope) - _ADMINS


def line(scopes: Iterable[Scope]) -> str:
    """As the store keeps them, and as RFC 6749 section 3.3 writes them."""
    return " ".join(scope for scope in Scope if scope in set(scopes))


def of_line(text: str) -> frozenset[Scope]:
    """Raises ValueError for a name that is no scope."""
    return frozenset(map(Scope, text.split()))
