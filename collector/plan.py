"""What a provider lists and what we remember: what to fetch, to delete, to forget. Pure.

Nothing is deleted that was not kept, and nothing whose name does not tell it from another.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

MEMORY = timedelta(days=30)  # a provider may list a message again that it had left out
MISSED_MOST = 100_000  # names remembered that a provider lists no more


class Memory(Protocol):
    """What is remembered of one message. `kept`: it is or was here, so it may go there."""

    @property
    def at(self) -> datetime: ...
    @property
    def kept(self) -> bool: ...
    @property
    def missed_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a provider's listing: its number in this session, its size, its name."""

    number: int
    size: int
    uidl: bytes

    @property
    def key(self) -> bytes:
        return key_of(self.uidl)


@dataclass(frozen=True, slots=True)
class Plan:
    """`fetch` in the provider's order; `delete` numbers; the others are keys, sorted.

    `too_large` messages stay where they are. `single`: the names that only one message has.
    """

    fetch: tuple[Entry, ...]
    delete: tuple[int, ...]
    missed: tuple[bytes, ...]
    back: tuple[bytes, ...]
    forget: tuple[bytes, ...]
    seen: int
    too_large: int
    single: frozenset[bytes]


def key_of(uidl: bytes) -> bytes:
    """What is remembered of a name: 16 octets, however long it is."""
    return hashlib.blake2b(uidl, digest_size=16).digest()


def is_due(taken_at: datetime, keep_days: int | None, now: datetime) -> bool:
    """Whether a message that was kept then may be deleted at the provider."""
    return keep_days is not None and taken_at + timedelta(days=keep_days) <= now


@dataclass(frozen=True, slots=True)
class Terms:
    """`keep_days` at the provider, None for good; octets of the largest message that is taken."""

    keep_days: int | None
    largest: int
    now: datetime


def plan(listing: Sequence[Entry], memory: Mapping[bytes, Memory], terms: Terms) -> Plan:
    """RFC 1939 section 7: two messages of one name are copies of each other. One is fetched, and
    none of them deleted: a provider may be wrong.
    """
    keys = [entry.key for entry in listing]
    single = frozenset(key for key, count in Counter(keys).items() if count == 1)
    listed = dict.fromkeys(keys)
    fetch: dict[bytes, Entry] = {}
    delete: list[int] = []
    too_large = 0
    for entry, key in zip(listing, keys, strict=True):
        known = memory.get(key)
        if known is not None:
            if known.kept and key in single and is_due(known.at, terms.keep_days, terms.now):
                delete.append(entry.number)
        elif entry.size > terms.largest:
            too_large += 1
        else:
            fetch.setdefault(key, entry)
    gone = {key: known for key, known in memory.items() if key not in listed}
    forget = _to_forget(gone, terms.now)
    return Plan(
        fetch=tuple(fetch.values()),
        delete=tuple(delete),
        missed=_keys(gone, lambda key: gone[key].missed_at is None and key not in forget),
        back=_keys(memory, lambda key: key in listed and memory[key].missed_at is not None),
        forget=tuple(sorted(forget)),
        seen=sum(key in memory for key in listed),
        too_large=too_large,
        single=single,
    )


def _to_forget(gone: Mapping[bytes, Memory], now: datetime) -> frozenset[bytes]:
    old = {key for key, known in gone.items() if known.missed_at and known.missed_at + MEMORY < now}
    rest = sorted(
        (key for key in gone if key not in old), key=lambda key: (gone[key].missed_at or now, key)
    )
    return frozenset(old) | frozenset(rest[: max(len(rest) - MISSED_MOST, 0)])


def _keys(among: Mapping[bytes, Memory], test: Callable[[bytes], bool]) -> tuple[bytes, ...]:
    return tuple(sorted(key for key in among if test(key)))
