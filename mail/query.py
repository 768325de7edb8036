"""The search language: what a person types, read into what a message must have.

    from:bob subject:"the minutes" invoice -draft (is:unread OR is:starred) after:2026-05-01

Words beside each other are all wanted. "OR" stands between alternatives, "-" before what is not
wanted, brackets around what belongs together. The last word may be the beginning of one, unless it
is quoted. What cannot be read raises BadQuery with the column, counted from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Final, Literal, TypeAlias

from mail.errors import BadQuery
from mail.text import words

CHARACTERS = 1000
TERMS = 50
DEPTH = 10

Field = Literal["from", "to", "subject"]
FolderName = Literal["inbox", "archive", "trash", "held", "all"]
Flag = Literal["unread", "starred"]


@dataclass(frozen=True, slots=True)
class Words:
    """Folded words that stand one behind the other; the last may be the `beginning` of one."""

    words: tuple[str, ...]
    beginning: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A part of a header field."""

    field: Field
    text: str


@dataclass(frozen=True, slots=True)
class DeliveredTo:
    """The address it came to: all of it, "@" and the domain, or the name alone."""

    address: str


@dataclass(frozen=True, slots=True)
class In:
    folder: FolderName


@dataclass(frozen=True, slots=True)
class Is:
    flag: Flag
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class HasAttachment:
    pass


@dataclass(frozen=True, slots=True)
class Before:
    moment: datetime


@dataclass(frozen=True, slots=True)
class Since:
    moment: datetime


@dataclass(frozen=True, slots=True)
class Larger:
    octets: int


@dataclass(frozen=True, slots=True)
class Smaller:
    octets: int


@dataclass(frozen=True, slots=True)
class Not:
    term: Query


@dataclass(frozen=True, slots=True)
class All:
    """Without terms: everything."""

    terms: tuple[Query, ...] = ()


@dataclass(frozen=True, slots=True)
class Any:
    terms: tuple[Query, ...]


Query: TypeAlias = (
    Words
    | Fact
    | DeliveredTo
    | In
    | Is
    | HasAttachment
    | Before
    | Since
    | Larger
    | Smaller
    | Not
    | All
    | Any
)

_TOKEN: Final = re.compile(
    r'(?P<bracket>[()])|(?P<minus>-)(?=[^\s-])|(?P<name>[A-Za-z]+):|"(?P<quoted>[^"]*)(?P<end>"?)'
    r'|(?P<word>[^\s()"]+)'
)
_SPACE: Final = re.compile(r"\s*")
_FOLDERS: Final[dict[str, FolderName]] = {
    "inbox": "inbox",
    "archive": "archive",
    "trash": "trash",
    "held": "held",
    "all": "all",
}
_FLAGS: Final[dict[str, Flag]] = {"unread": "unread", "starred": "starred"}
_FIELDS: Final[dict[str, Field]] = {"from": "from", "to": "to", "subject": "subject"}
NAMES: Final = (*_FIELDS, "address", "in", "is", "has", "before", "after", "larger", "smaller")
_UNITS: Final = {"": 1, "k": 1024, "m": 1024 * 1024}


def parse(text: str) -> Query:
    """Raises BadQuery."""
    if len(text) > CHARACTERS:
        raise BadQuery(f"column {CHARACTERS + 1}: a search has at most {CHARACTERS} characters")
    reader = _Reader(text)
    found = reader.alternatives(0)
    if (token := reader.peek()) is not None:
        raise _bad(token, "this bracket was not opened")
    return found


def folders(query: Query) -> bool:
    """Whether it says itself in which folders to look."""
    match query:
        case In():
            return True
        case Not(term):
            return folders(term)
        case All(terms) | Any(terms):
            return any(map(folders, terms))
    return False


def _bad(token: re.Match[str], why: str) -> BadQuery:
    return BadQuery(f"column {token.start() + 1}: {why}")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def peek(self) -> re.Match[str] | None:
        space = _SPACE.match(self._text, self._at)
        assert space
        self._at = space.end()
        return _TOKEN.match(self._text, self._at)

    def alternatives(self, depth: int) -> Query:
        found = [self._together(depth)]
        while (token := self.peek()) and token["word"] == "OR":
            self._at = token.end()
            for side in (found[-1], following := self._together(depth)):
                if side == All():
                    raise _bad(token, "OR stands between two things")
            found.append(following)
        return found[0] if len(found) == 1 else Any(tuple(found))

    def _together(self, depth: int) -> Query:
        found: list[Query] = []
        while (token := self.peek()) and token["word"] != "OR" and token["bracket"] != ")":
            found.append(self._term(token, depth))
        return found[0] if len(found) == 1 else All(tuple(found))

    def _term(self, token: re.Match[str], depth: int) -> Query:
        self._terms += 1
        if self._terms > TERMS:
            raise _bad(token, f"at most {TERMS} things can be searched for at once")
        self._at = token.end()
        if token["minus"]:
            following = _TOKEN.match(self._text, self._at)
            if following is None or following["bracket"] == ")":
                raise _bad(token, "there is nothing behind the -")
            return Not(self._term(following, depth))
        if token["bracket"]:
            return self._bracket(token, depth)
        if token["name"]:
            return self._named(token)
        return self._words(token)

    def _bracket(self, token: re.Match[str], depth: int) -> Query:
        if depth == DEPTH:
            raise _bad(token, f"brackets go {DEPTH} deep at most")
        inner = self.alternatives(depth + 1)
        closing = self.peek()
        if closing is None:
            raise _bad(token, "this bracket is not closed")
        if inner == All():
            raise _bad(token, "there is nothing in these brackets")
        self._at = closing.end()
        return inner

    def _words(self, token: re.Match[str]) -> Query:
        found = tuple(words(self._value(token)))
        if not found:
            raise _bad(token, "a word to search for has two letters or digits at least")
        last = token["quoted"] is None and not self._text[self._at :].strip()
        return Words(found, beginning=last)

    def _value(self, token: re.Match[str]) -> str:
        if token["quoted"] is not None and not token["end"]:
            raise _bad(token, "this quote is not closed")
        return token["word"] if token["quoted"] is None else token["quoted"]

    def _named(self, token: re.Match[str]) -> Query:
        name = token["name"].lower()
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            hint = f'did you mean "{near[0]}:"' if near else "put quotes around it to search for it"
            raise _bad(token, f'"{token["name"]}:" is not known; {hint}')
        behind = _TOKEN.match(self._text, self._at)
        if behind is None or behind["bracket"]:
            raise _bad(token, f'"{name}:" needs something behind it, without a space')
        if behind["name"] or behind["minus"]:
            # "subject:re:" and "larger:-5" are words as they stand.
            behind = _WHOLE.match(self._text, self._at)
            assert behind
        self._at = behind.end()
        value = self._value(behind)
        found = _meaning(name, value)
        if found is None:
            raise _bad(behind, f'"{name}:" {_WANTED[name]}')
        return found


_WHOLE: Final = re.compile(r'(?P<word>[^\s()"]+)(?P<quoted>(?!))?(?P<end>(?!))?')
_WANTED: Final = {
    **dict.fromkeys((*_FIELDS, "address"), "needs a text"),
    "in": f"is one of {', '.join(_FOLDERS)}",
    "is": "is unread or starred",
    "has": "is attachment",
    **dict.fromkeys(("before", "after"), "needs a day, as 2026-05-01"),
    **dict.fromkeys(("larger", "smaller"), "needs a size, as 500, 20K or 5M"),
}


def _meaning(name: str, value: str) -> Query | None:
    """None for a value that the name cannot have."""
    found: Query | None = None
    lowered = value.lower()
    match name:
        case "from" | "to" | "subject":
            found = Fact(_FIELDS[name], value) if value.strip() else None
        case "address":
            found = DeliveredTo(lowered.strip()) if value.strip(" @") else None
        case "in":
            found = In(_FOLDERS[lowered]) if lowered in _FOLDERS else None
        case "is":
            found = Is(_FLAGS[lowered]) if lowered in _FLAGS else None
        case "has":
            found = HasAttachment() if lowered == "attachment" else None
        case "before" | "after":
            day = _day(value)
            if day:
                found = Before(day) if name == "before" else Since(day)
        case _:
            octets = _size(lowered)
            if octets is not None:
                found = Larger(octets) if name == "larger" else Smaller(octets)
    return found


def _day(value: str) -> datetime | None:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return None
    try:
        day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if day.year >= 1970 else None


def _size(value: str) -> int | None:
    size = re.fullmatch(r"([0-9]{1,9})([km]?)", value)
    return int(size[1]) * _UNITS[size[2]] if size else None
