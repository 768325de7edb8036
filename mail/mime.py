"""Values of MIME fields (RFC 2045, 2231), transfer encodings and charsets, in linear time.

What real mail does wrong is read as it was meant: names in raw octets or in encoded words, values
with spaces that nobody has quoted, base64 with rubbish between the lines.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote_to_bytes

from mail import facts

PARAMETERS = 256  # of one field, the pieces of RFC 2231 counted one by one
NAME_CHARACTERS = 255

# Neither can fail once it has begun, so no octet is looked at twice.
_PIECE = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_TOKEN_END = re.compile(r"[\s(;]")
_SECTION = re.compile(r"([^*]+)\*(?:([0-9]{1,3})(\*)?)?")
_FOLDER = re.compile(r"\A.*[/\\]", re.DOTALL)
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_META_CHARSET = re.compile(rb"(?i)<meta[^>]{0,200}charset\s{0,8}=[\s\"']{0,8}([a-z0-9_:.-]{1,40})")

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(octet for octet in range(256) if octet not in _BASE64 + b"=")
LINE_OCTETS = 64 * 1024  # a quoted-printable line that is longer is cut


class LimitReached(Exception):
    """More of something than is looked at; `name` is told to whoever asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Value:
    """`main` is in lower case, and so are the names of the parameters."""

    main: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    def token(self, name: str) -> str:
        """A parameter that holds neither spaces nor comments; empty without one."""
        return _TOKEN_END.split(self.parameters.get(name, ""), maxsplit=1)[0]


def read_value(octets: bytes) -> Value:
    """Raises LimitReached."""
    unfolded = octets.replace(b"\r\n", b"")
    try:
        text = unfolded.decode()
    except UnicodeDecodeError:
        text = unfolded.decode("latin-1")
    main, _, rest = text.partition(";")
    pieces = _PIECE.findall(rest)
    if len(pieces) > PARAMETERS:
        raise LimitReached("parameters")
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name, value = name.strip().lower(), value.strip()
        if quoted := _QUOTED.match(value):
            value = _ESCAPED.sub(r"\1", quoted[1])
        section = _SECTION.fullmatch(name)
        if section:
            encoded = section[2] is None or section[3] is not None
            numbered = sections.setdefault(section[1], {})
            numbered.setdefault(int(section[2] or 0), (value, encoded))
        elif equals:
            plain.setdefault(name, value)
    joined = {name: _joined(numbered) for name, numbered in sections.items()}
    return Value(_TOKEN_END.split(main.strip(), maxsplit=1)[0].lower(), plain | joined)


def _joined(sections: dict[int, tuple[str, bool]]) -> str:
    """A parameter that was cut in pieces and percent-encoded (RFC 2231 sections 3 and 4)."""
    charset = ""
    octets = b""
    number = 0
    while number in sections:
        text, encoded = sections[number]
        if number == 0 and encoded and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        octets += unquote_to_bytes(text) if encoded else text.encode("utf-8", "replace")
        number += 1
    return read_text(octets, charset)


def file_name(text: str) -> str:
    """A name that stays in the folder it is saved in and is read as it is; it may be empty."""
    last = _FOLDER.sub("", facts.decode_words(text))
    decoded = facts.BIDI.sub("", _NOT_IN_NAMES.sub("", last)).strip(" .")
    stem, dot, extension = decoded.rpartition(".")
    if len(decoded) > NAME_CHARACTERS and dot and len(extension) < 20:
        return stem[: NAME_CHARACTERS - len(extension) - 1] + dot + extension
    return decoded[:NAME_CHARACTERS]


def read_text(octets: bytes, charset: str, *, markup: bool = False) -> str:
    """As its charset says; what it cannot mean shows as U+FFFD. Never raises.

    Only charsets of mail are known (`facts.codec`): of another one, and where none is named, it is
    UTF-8, or else what most old mail without a name is. `markup` may name one itself.
    """
    codec = facts.codec(charset)
    if codec is None and markup and (meta := _META_CHARSET.search(octets, 0, 2048)):
        codec = facts.codec(meta[1].decode("ascii"))
    if codec in (None, "ascii"):
        try:
            return octets.decode()
        except UnicodeDecodeError:
            codec = "cp1252"
    elif codec == "latin_1":
        codec = "cp1252"  # as every browser reads it
    return octets.decode(codec, "replace")


class Decoder(Protocol):
    """Undoes a content transfer encoding, block by block (RFC 2045 section 6)."""

    def feed(self, block: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class Identity:
    def feed(self, block: bytes) -> bytes:
        return block

    def end(self) -> bytes:
        return b""


class Base64:
    """What is no letter of it is passed over; it ends at the first "=" (RFC 2045 section 6.8)."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, block: bytes) -> bytes:
        if self._ended:
            return b""
        letters = self._rest + block.translate(None, _NOT_BASE64)
        letters, padding, _ = letters.partition(b"=")
        if padding:
            self._rest, self._ended = letters, True
            return b""
        whole = len(letters) // 4 * 4
        self._rest = letters[whole:]
        return binascii.a2b_base64(letters[:whole])

    def end(self) -> bytes:
        letters = self._rest
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]  # six bits are no octet
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


class QuotedPrintable:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> bytes:
        octets = self._rest + block
        cut = octets.rfind(b"\n") + 1
        if not cut and len(octets) > LINE_OCTETS:
            cut = octets.rfind(b"=", len(octets) - 3)
            cut = len(octets) if cut < 0 else cut
        self._rest = octets[cut:]
        return binascii.a2b_qp(octets[:cut])

    def end(self) -> bytes:
        return binascii.a2b_qp(self._rest)


def decoder(encoding: str) -> Decoder:
    match encoding:
        case "base64":
            return Base64()
        case "quoted-printable":
            return QuotedPrintable()
    return Identity()
