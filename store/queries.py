"""What a search means to the database: a condition on rows of `message`.

What a message says is looked for in its document (`search`), so a search for words begins at the
index of the words. Text that has just arrived is found when the indexer has seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from sqlalchemy import ColumnElement, Text, and_, false, func, not_, or_, select, true

from mail import query
from mail.ident import UniqueId
from mail.query import Query
from store import schema, search
from store.delivery import STARRED, UNREAD
from store.engines import Backend
from store.moves import SHOWN
from store.records import Folder

NO_ATTACHMENT = '{"count":0}'  # digest.attachments
FLAGS = {"unread": UNREAD, "starred": STARRED}

_M, _DOC, _DIGEST = schema.message.c, schema.search_doc.c, schema.digest.c
_FACTS = {"from": _DOC.from_text, "to": _DOC.to_text, "subject": _DOC.subject}


class Conditions:
    """Of one search in one maildrop."""

    def __init__(self, backend: Backend, maildrop_id: int) -> None:
        self._backend = backend
        self._maildrop_id = maildrop_id
        self._numbers = count()

    def of(self, wanted: Query) -> ColumnElement[bool]:
        match wanted:
            case query.Words() | query.Fact():
                return self._documents([wanted])
            case query.DeliveredTo(address):
                return _delivered_to(address)
            case query.In(folder):
                chosen = SHOWN if folder == "all" else {Folder[folder.upper()]}
                return _M.folder.in_(sorted(chosen))
            case query.Is(flag, set_):
                return _M.flags.bitwise_and(FLAGS[flag]) == (FLAGS[flag] if set_ else 0)
            case query.HasAttachment():
                return _attachments()
            case query.Before(moment):
                return _M.uid < UniqueId.first_of(moment).octets
            case query.Since(moment):
                return _M.uid >= UniqueId.first_of(moment).octets
            case query.Larger(octets):
                return _M.size > octets
            case query.Smaller(octets):
                return _M.size < octets
            case query.Not(term):
                return not_(self.of(term))
            case query.Any(terms):
                return or_(false(), *self._any(terms))
            case query.All(terms):
                return and_(true(), *self._all(terms))

    def _all(self, terms: Sequence[Query]) -> list[ColumnElement[bool]]:
        """One look into the documents does for all that is wanted of them."""
        told = [term for term in terms if isinstance(term, query.Words | query.Fact)]
        others = [self.of(term) for term in terms if not isinstance(term, query.Words | query.Fact)]
        return [self._documents(told), *others] if told else others

    def _any(self, terms: Sequence[Query]) -> list[ColumnElement[bool]]:
        """One look into the index does for all single words, of which one is wanted."""
        single = [term for term in terms if isinstance(term, query.Words) and len(term.words) == 1]
        if len(single) < 2:
            return [self.of(term) for term in terms]
        words = [(term.words[0], term.beginning) for term in single]
        found = self._among([_DOC.maildrop_id == self._maildrop_id], words, either=True)
        return [found, *(self.of(term) for term in terms if term not in single)]

    def _documents(self, wanted: Sequence[query.Words | query.Fact]) -> ColumnElement[bool]:
        conditions: list[ColumnElement[bool]] = [_DOC.maildrop_id == self._maildrop_id]
        terms: list[tuple[str, bool]] = []
        for each in wanted:
            match each:
                case query.Fact(field, part):
                    sought = search.folded(part, 500)
                    fact = _FACTS[field].contains(sought, autoescape=True)
                    conditions.append(fact if sought else false())
                case query.Words(words, beginning):
                    *before, last = words
                    terms += [*((word, False) for word in before), (last, beginning)]
                    if before:
                        conditions.append(_phrase(self._backend, words, beginning=beginning))
        if not terms:
            return _M.uid.in_(select(_DOC.uid).where(*conditions))
        return self._among(conditions, terms)

    def _among(
        self,
        conditions: Sequence[ColumnElement[bool]],
        words: Sequence[tuple[str, bool]],
        *,
        either: bool = False,
    ) -> ColumnElement[bool]:
        """Documents with all of these words, or with one of them."""
        number = next(self._numbers)
        name = f"words_{number}"
        match = search.match(self._backend, self._maildrop_id, words, name, either=either)
        # The index is asked first of all: to walk through the maildrop would be long for a rare
        # word.
        hits = select(_DOC.uid).where(*conditions, match).cte(f"hits_{number}")
        for name in ("sqlite", "postgresql"):
            hits = hits.prefix_with("MATERIALIZED", dialect=name)
        return _M.uid.in_(select(hits.c.uid))


def needs_rows(wanted: Query) -> bool:
    """Whether rows must be read that no index chooses and no word narrows down."""
    match wanted:
        case query.DeliveredTo() | query.HasAttachment():
            return True
        case query.Not(term):
            return needs_rows(term)
        case query.Any(terms):
            return any(map(needs_rows, terms))
        case query.All(terms):
            found = any(isinstance(term, query.Words | query.Fact) for term in terms)
            return not found and any(map(needs_rows, terms))
    return False


def _phrase(backend: Backend, words: Sequence[str], *, beginning: bool) -> ColumnElement[bool]:
    """That the words stand one behind the other. A document's words are marked and in order."""
    text: ColumnElement[str] = _DOC.words
    if backend.name == "sqlite":
        text = func.unpacked(_DOC.words, type_=Text)
    row = "".join(f" w{word}" for word in words)
    if beginning:
        return text.contains(row, autoescape=True)
    return (text + " ").contains(row + " ", autoescape=True)


def _delivered_to(address: str) -> ColumnElement[bool]:
    written = func.lower(_M.rcpt)
    name, at, domain = address.rpartition("@")
    if not at:
        return written.startswith(f"{address}@", autoescape=True)
    if not name:
        return written.endswith(f"@{domain}", autoescape=True)
    return written == address


def _attachments() -> ColumnElement[bool]:
    """What could not be looked into counts as having none."""
    return (
        select(_DIGEST.home)
        .where(
            _DIGEST.home == _M.home,
            _DIGEST.uid == _M.uid,
            _DIGEST.attachments != NO_ATTACHMENT,
            not_(_DIGEST.attachments.startswith('{"count":null', autoescape=True)),
        )
        .correlate(schema.message)
        .exists()
    )
