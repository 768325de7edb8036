"""Parts of lists: what a query asks for, and the page with its cursors and links (RFC 8288).

A cursor is sealed with the list, its filter and who asks. It holds the key of the row at an edge of
the page, so it stands still while others come and go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from api.call import Call, Reply
from api.models import Answer
from api.models_admin import ListQuery, Page
from api.security import seal, unseal
from store.lists import Part, Span

T = TypeVar("T")
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """One list: where it is, its page, how a row is shown, and the key that the rows are in."""

    path: str
    page: type[Page]
    show: Callable[[T], Answer]
    key: Callable[[T], Key]

    def span(self, call: Call[Any, Any]) -> Span:
        """What the query asks for. Raises Problem."""
        query: ListQuery = call.query
        if query.cursor is None:
            return Span(query.limit, counted=query.total)
        position = unseal(call.parts.key, query.cursor, self._scope(call))
        back, *key = json.loads(position)
        return Span(query.limit, tuple(key), back=back, counted=query.total)

    def reply(self, call: Call[Any, Any], found: Part[T]) -> Reply:
        rows = found.rows
        following = self._cursor(call, rows[-1], back=False) if rows and found.after else None
        before = self._cursor(call, rows[0], back=True) if rows and found.before else None
        links = [
            f'<{self.path}?{self._query(call, cursor)}>; rel="{name}"'
            for name, cursor in (("next", following), ("prev", before))
            if cursor
        ]
        members: dict[str, Any] = {"items": [self.show(row) for row in rows]}
        members |= {"next": following, "prev": before}
        if found.total is not None:
            members["total"] = found.total
        return Reply(self.page(**members), headers={"Link": ", ".join(links)} if links else {})

    def cut(self, call: Call[Any, Any], rows: Iterable[T]) -> Reply:
        """The part that is asked for of a list that is at hand as a whole."""
        span, rows = self.span(call), sorted(rows, key=self.key)
        total = len(rows) if span.counted else None
        if span.back:
            ahead = [row for row in rows if self.key(row) < span.key]
            found = Part(ahead[-span.limit :], len(ahead) > span.limit, after=True, total=total)
        else:
            behind = [row for row in rows if not span.key or self.key(row) > span.key]
            more = len(behind) > span.limit
            found = Part(behind[: span.limit], bool(span.key), after=more, total=total)
        return self.reply(call, found)

    def _cursor(self, call: Call[Any, Any], row: T, *, back: bool) -> str:
        position = json.dumps([back, *self.key(row)], separators=(",", ":")).encode()
        return seal(call.parts.key, position, self._scope(call))

    def _scope(self, call: Call[Any, Any]) -> str:
        return f"{self.path} {call.account.id} {sorted(self._filter(call).items())}"

    def _query(self, call: Call[Any, Any], cursor: str) -> str:
        query: ListQuery = call.query
        asked = self._filter(call) | {"limit": query.limit, "cursor": cursor}
        return urlencode({name: _text(value) for name, value in asked.items()})

    def _filter(self, call: Call[Any, Any]) -> dict[str, Any]:
        query: ListQuery = call.query
        return query.model_dump(exclude={"limit", "cursor", "total"}, exclude_defaults=True)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
