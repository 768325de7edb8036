"""How values look on the page: moments, sizes, addresses, texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup, escape

from api.models_mail import Mailbox
from mail.address import parse_domain
from mail.errors import BadAddress
from mail.facts import BIDI

# Written so that what ends a sentence does not belong to the address before it.
_LINK = re.compile(r"https?://[^\s<>\"'`{}|\\^\x00-\x20]{1,2000}", re.IGNORECASE)
_TRAILING = ".,;:!?)]"
_SIGN_IN_CODE = re.compile(
    r"(?i)\b(?:code|passcode|pin|otp|one-time password)\b[^\d\n]{0,60}?\b(\d{4,8})\b"
    r"|\b(\d{4,8})\b[^\d\n]{0,30}\b(?:is your|code)\b"
)
_CODE_WITHIN = 2000  # characters of a text that a code is looked for in
# Scripts that stand beside each other in honest names (UTS 39 section 5.1).
_TOGETHER = ({"CJK", "HIRAGANA", "KATAKANA", "LATIN"}, {"CJK", "HANGUL", "LATIN"})


def zone(name: str) -> tzinfo:
    """That of an account; UTC where it says none."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(at: datetime, now: datetime, where: tzinfo) -> str:
    """The shortest text that tells: the time today, the day this year, else the date."""
    local, today = at.astimezone(where), now.astimezone(where)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if local.year == today.year:
        return f"{local.day} {local:%b}"
    return f"{local.day} {local:%b} {local.year}"


def in_full(at: datetime, where: tzinfo) -> str:
    local = at.astimezone(where)
    return f"{local:%A}, {local.day} {local:%B} {local.year}, {local:%H:%M}"


def size(octets: int) -> str:
    if octets < 1000:
        return f"{octets} B"
    number, units = float(octets), ["KB", "MB", "GB", "TB"]
    number /= 1024
    while number >= 999.5 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:.0f} {units[0]}" if number >= 10 else f"{number:.1f} {units[0]}"


def address(text: str) -> str:
    """An address that reads as what it is: of a domain in mixed scripts, its form in ASCII."""
    local, at, domain = BIDI.sub("", text).rpartition("@")
    if domain.isascii() or not _mixed(domain):
        return f"{local}{at}{domain}"
    try:
        return f"{local}{at}{parse_domain(domain)}"
    except BadAddress:
        return f"{local}{at}{domain.encode('ascii', 'backslashreplace').decode()}"


def _mixed(domain: str) -> bool:
    scripts = {unicodedata.name(c, "?").split()[0] for c in domain if c.isalpha()}
    return len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER)


def person(who: Mailbox) -> str:
    """The name that a list shows."""
    return who.name or address(who.address) or "(no sender)"


def initial(who: Mailbox) -> str:
    return next((c.upper() for c in who.name or who.address if c.isalnum()), "?")


def hue(text: str) -> int:
    """One of twelve, always the same for the same text."""
    return sum(text.encode()) * 7 % 12


def linked(text: str) -> Markup:
    """A plain text whose addresses of the Web can be followed."""
    return Markup("").join(_linked(text))


def _linked(text: str) -> Iterator[Markup]:
    at = 0
    for found in _LINK.finditer(text):
        url = found[0].rstrip(_TRAILING)
        yield escape(text[at : found.start()])
        yield Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(url)
        at = found.start() + len(url)
    yield escape(text[at:])


def sign_in_code(subject: str, text: str) -> str:
    """The code that a message was sent for, if it looks like one."""
    for part in (subject, text[:_CODE_WITHIN]):
        if found := _SIGN_IN_CODE.search(part):
            return str(found[1] or found[2])
    return ""


def device(agent: str) -> str:
    """A browser in words, as far as it says what it is."""
    browsers = {"Edg": "Edge", "Firefox": "Firefox", "Chrom": "Chrome", "Safari": "Safari"}
    systems = {
        "Android": "Android",
        "iPhone": "iPhone",
        "iPad": "iPad",
        "Windows": "Windows",
        "Mac OS": "macOS",
        "Linux": "Linux",
    }
    browser = next((name for mark, name in browsers.items() if mark in agent), "")
    system = next((name for mark, name in systems.items() if mark in agent), "")
    return " on ".join(filter(None, (browser, system))) or agent or "An unnamed program"
