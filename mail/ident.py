"""`UniqueId`: made once when a message arrives; its POP3 UIDL, API id, body id and log key.

A ULID: 48 bits of milliseconds, then 80 random bits, shown as 26 lower-case Crockford base-32
characters. The clock only orders; uniqueness rests on the random bits alone.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
UID_LENGTH = 26
ROW_ID_LENGTH = 11


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def _encode(number: int, length: int) -> str:
    even = length + length % 2
    pairs = [_PAIRS[number >> shift & 1023] for shift in range(5 * (even - 2), -1, -10)]
    return "".join(pairs)[even - length :]


def _decode(text: str, length: int) -> int:
    if len(text) != length:
        raise ValueError(f"an id has {length} characters")
    number = 0
    for character in text:
        if character not in _VALUES:
            raise ValueError("an id is made of Crockford base-32 characters")
        number = number << 5 | _VALUES[character]
    return number


def _milliseconds(at: datetime) -> bytes:
    return ((at - _EPOCH) // _MILLISECOND).to_bytes(6, "big")


@dataclass(frozen=True, slots=True, order=True)
class UniqueId:
    """16 octets, ordered by the moment of arrival."""

    octets: bytes

    @classmethod
    def new(cls, at: datetime) -> UniqueId:
        return cls(_milliseconds(at) + secrets.token_bytes(10))

    @classmethod
    def first_of(cls, at: datetime) -> UniqueId:
        """The lowest id that an arrival at this moment could have."""
        return cls(_milliseconds(at) + bytes(10))

    @classmethod
    def parse(cls, text: str) -> UniqueId:
        """Reads the exact form that `str` writes. Raises ValueError for any other text."""
        number = _decode(text, UID_LENGTH)
        if number >> 128:
            raise ValueError("an id has 128 bits")
        return cls(number.to_bytes(16, "big"))

    def __str__(self) -> str:
        return _encode(int.from_bytes(self.octets, "big"), UID_LENGTH)


def texts(octets: bytes) -> list[str]:
    """The text of each of these ids, which are 16 octets each.

    All first characters are made at once, then all second ones: a twentieth of the time that `str`
    takes for one after the other.
    """
    count = len(octets) // 16
    characters = bytearray(UID_LENGTH * count)
    for place in range(UID_LENGTH):
        behind = 5 * (UID_LENGTH - 1 - place)  # bits to the right of this character's five
        octet, shift = 15 - behind // 8, behind % 8
        values = octets[octet::16].translate(_RIGHT[shift])
        if shift > 3 and octet:  # the upper bits are those of the octet before
            upper = octets[octet - 1 :: 16].translate(_LEFT[shift])
            both = int.from_bytes(values, "little") | int.from_bytes(upper, "little")
            values = both.to_bytes(count, "little")
        characters[place::UID_LENGTH] = values.translate(_CHARACTERS)
    text = characters.decode()
    return [text[at : at + UID_LENGTH] for at in range(0, len(text), UID_LENGTH)]


# By shift: the five lowest bits of each octet that is moved to the right, or to the left into the
# octet before it; and the character of each value.
_RIGHT = [bytes(octet >> shift & 31 for octet in range(256)) for shift in range(8)]
_LEFT = [bytes(octet << 8 - shift & 31 for octet in range(256)) for shift in range(8)]
_CHARACTERS = _ALPHABET.encode() * 8


def new_row_id() -> int:
    """An id for a user, domain, address or session: random, 1 to 2^52 - 1."""
    return secrets.randbelow(2**52 - 1) + 1


def new_local_part() -> str:
    """A name for an address that nobody guesses: 12 characters, 60 bits."""
    return _encode(secrets.randbits(60), 12)


def row_id_text(row_id: int) -> str:
    """The form of a row id that the outside sees: 11 characters."""
    return _encode(row_id, ROW_ID_LENGTH)


def parse_row_id(text: str) -> int:
    """The reverse of `row_id_text`. Raises ValueError."""
    return _decode(text, ROW_ID_LENGTH)
