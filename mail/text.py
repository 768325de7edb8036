"""Words of a message for the search index: folded, by one capped pass over its first octets.

The text is that of a message without MIME structure, or else of the first text/plain part that is
met going down: what lies beside or behind a nested multipart that holds none is not looked for, and
HTML is left alone. A language written without spaces has long words here, found by their
beginnings.
"""

from __future__ import annotations

import binascii
import codecs
import re
import unicodedata

from mail import facts

HEADER_OCTETS = 64 * 1024  # no more of a header block, of the message or a part, is looked at
TEXT_OCTETS = 64 * 1024  # no more of the text is read
PARTS = 100
# An encoded octet takes at most three (RFC 2045 section 6.7), and line ends on top.
ENCODED_OCTETS = 4 * TEXT_OCTETS
WORD_LENGTH = 64  # longer ones are cut

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_WORD = re.compile(r"[^\W_]{2,}")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_FIELD = re.compile(
    rb"(?im)^(content-type|content-transfer-encoding|content-disposition)[ \t]*:"
    rb"([^\r\n]{0,1000}(?:\r\n[ \t][^\r\n]{0,1000}){0,20})"
)
_PARAMETER = re.compile(rb'(?i);\s{0,80}(boundary|charset)\s{0,8}=\s{0,8}(?:"([^"]*)"|([^\s;"]+))')


def fold(text: str) -> str:
    """Without case, accents and the other marks that hang on letters."""
    # Each character comes apart by itself; those of ASCII do not, and they are most.
    return _BEYOND_ASCII.sub(_bare, text).casefold()


def _bare(found: re.Match[str]) -> str:
    apart = unicodedata.normalize("NFKD", found[0])
    return "".join(c for c in apart if unicodedata.category(c)[0] != "M")


def words(text: str) -> list[str]:
    """The folded words of a text, each once: letters and digits, two or more, and nothing else."""
    return list(dict.fromkeys(word[:WORD_LENGTH] for word in _WORD.findall(fold(text))))


def plain(content: bytes) -> str:
    """The text of a canonical message, of which the first octets will do. Never raises."""
    fields, at = _header(content, 0)
    boundary = b""
    end = len(content)
    for _ in range(PARTS):
        kind = fields.get("content-type", b"text/plain").split(b";", 1)[0].strip().lower()
        if kind.startswith(b"multipart/"):
            inner = _parameter(fields, b"boundary")
            if not inner:
                return ""
            boundary = b"\r\n--" + inner
            at -= 2  # a first delimiter may follow the header's end at once
        elif kind == b"text/plain" and not _attached(fields):
            if boundary:
                closing = content.find(boundary, at - 2)
                end = closing if closing >= 0 else end
            return _decode(content[at : min(end, at + ENCODED_OCTETS)], fields)
        elif not boundary:
            return ""
        delimiter = content.find(boundary, at)
        line_end = content.find(b"\r\n", delimiter + len(boundary))
        if delimiter < 0 or line_end < 0 or content.startswith(b"--", delimiter + len(boundary)):
            return ""
        fields, at = _header(content, line_end + 2)
    return ""


def _header(content: bytes, start: int) -> tuple[dict[str, bytes], int]:
    """The first MIME field of each name (RFC 2045) of a header block, and where its body starts."""
    if content.startswith(b"\r\n", start):
        return {}, start + 2
    end = content.find(b"\r\n\r\n", start, start + HEADER_OCTETS)
    if end < 0:
        return {}, len(content)
    fields: dict[str, bytes] = {}
    for match in _FIELD.finditer(content[start : end + 2]):
        fields.setdefault(match[1].decode("ascii").lower(), match[2])
    return fields, end + 4


def _parameter(fields: dict[str, bytes], name: bytes) -> bytes:
    for match in _PARAMETER.finditer(fields.get("content-type", b"")):
        if match[1].lower() == name:
            return match[3] or match[2] or b""
    return b""


def _attached(fields: dict[str, bytes]) -> bool:
    return fields.get("content-disposition", b"").strip().lower().startswith(b"attachment")


def _decode(octets: bytes, fields: dict[str, bytes]) -> str:
    match fields.get("content-transfer-encoding", b"").strip().lower():
        case b"base64":
            octets = _NOT_BASE64.sub(b"", octets)
            octets = octets[: len(octets) - (len(octets) % 4 == 1)]  # six bits are no octet
            octets = binascii.a2b_base64(octets + b"=" * (-len(octets) % 4))
        case b"quoted-printable":
            octets = binascii.a2b_qp(octets)
    octets = octets[:TEXT_OCTETS]
    codec = facts.codec(_parameter(fields, b"charset").decode("latin-1"))
    if codec and codec not in ("ascii", "utf_8"):
        return octets.decode(codec, "replace")
    try:
        # A cut may leave the beginning of a character, which is then left out.
        return codecs.utf_8_decode(octets, "strict", False)[0]
    except UnicodeDecodeError:
        return octets.decode("latin-1")
