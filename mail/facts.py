"""From, to, subject, date and message-id out of a header block, by one linear scan.

Facts are for lists and search; they are cut to fit and never authority. A field that cannot
be read stays empty: mail is never refused for its header's style.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from encodings import normalize_encoding
from encodings.aliases import aliases

HEADER_OCTETS = 256 * 1024  # no more of a header block is looked at
FIELD_OCTETS = 1000  # no more of one field is decoded
ENCODED_WORDS = 1000  # no more of them in one field

_FIELD = re.compile(
    rb"(?im)^(from|to|subject|date|message-id)[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)"
)
_ENCODED_WORD = re.compile(r"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")
_MESSAGE_ID = re.compile(r"<[^<>\s]+>")
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
# They make text that follows them run the other way: a name is then read as another one.
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# Beginnings of the codecs that are charsets of mail. Others turn bytes into bytes, or make markup
# out of innocent letters (utf-7, unicode_escape).
_CHARSETS = (
    *("utf_8", "ascii", "latin_1", "iso8859", "cp", "koi8", "mac", "tis", "shift_jis", "euc"),
    *("iso2022", "gb", "big5", "hz", "johab", "kz1048", "ptcp154"),
)
_NOT_IN_ALIASES = {"koi8_u": "koi8_u", "windows_874": "cp874", "iso_8859_8_i": "iso8859_8"}
# A table of ours: the one behind `codecs.lookup` keeps every name that anybody ever invented.
_CODECS = {
    name: codec
    for alias, codec in (aliases | _NOT_IN_ALIASES).items()
    for name in (alias, codec)
    if codec.startswith(_CHARSETS)
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Header facts as text to show: no control characters, no lone surrogates."""

    from_text: str = ""
    to_text: str = ""
    subject: str = ""
    sent_at: datetime | None = None
    message_id: str = ""


def read(content: bytes) -> Facts:
    """Facts of a canonical message; the first field of each name counts."""
    blank = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n", 0, HEADER_OCTETS)
    header = content[: HEADER_OCTETS if blank < 0 else blank]
    fields: dict[str, str] = {}
    for match in _FIELD.finditer(header):
        name = match[1].decode("ascii").lower()
        if name not in fields:
            fields[name] = decode(match[2])
    identity = _MESSAGE_ID.search(fields.get("message-id", ""))
    return Facts(
        from_text=fields.get("from", "")[:320],
        to_text=fields.get("to", "")[:500],
        subject=fields.get("subject", "")[:500],
        sent_at=date(fields.get("date", "")),
        message_id=identity[0][:250] if identity else "",
    )


def codec(charset: str) -> str | None:
    """What decodes a charset of mail; None for a name that is none."""
    return _CODECS.get(normalize_encoding(charset).lower())


def date(text: str) -> datetime | None:
    """A date of RFC 5322, in UTC; None where there is none to be read."""
    try:
        moment = parsedate_to_datetime(text)
        # "-0000" is read as a time without a zone; RFC 5322 section 3.3: it is UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def decode(octets: bytes, limit: int = FIELD_OCTETS) -> str:
    """One field's value to show: cut, unfolded, its encoded words decoded (RFC 2047)."""
    unfolded = octets[:limit].replace(b"\r\n", b"")
    try:
        # A cut may leave the beginning of a character, which is then left out.
        text = codecs.utf_8_decode(unfolded, "strict", len(octets) <= limit)[0]
    except UnicodeDecodeError:
        text = unfolded.decode("latin-1")
    return BIDI.sub("", _UNSHOWABLE.sub(" ", decode_words(text))).strip()


def decode_words(text: str) -> str:
    if "=?" not in text:
        return text
    # RFC 2047 section 6.2: white space between two encoded words is not shown.
    return _ENCODED_WORD.sub(_word, _BETWEEN_WORDS.sub(r"\1\2", text), count=ENCODED_WORDS)


def _word(match: re.Match[str]) -> str:
    charset, encoding, payload = match.groups()
    name = codec(charset)
    if name is None:
        return match[0]
    try:
        if encoding in "bB":
            octets = binascii.a2b_base64(payload + "=" * (-len(payload) % 4))
        else:
            octets = binascii.a2b_qp(payload, header=True)
        return octets.decode(name, "replace")
    except ValueError:
        return match[0]
