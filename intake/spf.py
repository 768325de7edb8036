"""Whether a host may send for a domain (RFC 7208). Pure but for the look-ups that it is handed.

The explanation of a failure (exp=) is checked and never fetched: nothing here tells it to anybody.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from net.resolve import Answer, Kind, NoAnswer

Ask = Callable[[str, Kind], Awaitable[Answer]]
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Result = Literal["pass", "fail", "softfail", "neutral", "none", "permerror", "temperror"]

# RFC 7208 section 4.6.4.
TERMS, VOIDS, HOSTS = 10, 2, 10
NAME_OCTETS = 253
RECORD_OCTETS = 8192  # RFC 7208 section 3.4 advises less than 450

_QUALIFIERS: dict[str, Result] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_VERSION = re.compile(rb"v=spf1(?= |\Z)", re.IGNORECASE)
# Section 7.1. A domain-spec ends in a macro or in a label that no address ends in (section 12).
_MACRO = r"%\{[slodiphSLODIPH][0-9]*[rR]?[-.+,/_=]*\}"

_PIECE = r"(?:%s|%%%%|%%_|%%-|[!-$&-~])"
_STRING = re.compile(_PIECE % _MACRO + "*+")
_TOP_LABEL = r"\.(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?"
_DOMAIN_END = re.compile(rf"(?:{_MACRO}|%%|%_|%-|{_TOP_LABEL})\Z")
_TERM = re.compile(
    r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?=[:/]|\Z)(?::([^ ]*?))?"
    r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?",
    re.IGNORECASE,
)
_NETWORK = re.compile(r"([-+?~]?)ip[46]:([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?", re.IGNORECASE)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_EXPANSION = re.compile(r"%(?:\{([A-Za-z])([0-9]*)([rR]?)([-.+,/_=]*)\}|([%_-]))")
_LABELS = 128  # more than a name can have


class _Stop(Exception):
    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.result: Result = result
        self.why = why


@dataclass(frozen=True, slots=True)
class Term:
    result: Result
    name: str
    argument: str = ""  # a domain-spec, or the network
    bits4: int = 32
    bits6: int = 128


@dataclass(frozen=True, slots=True)
class Record:
    terms: tuple[Term, ...]
    redirect: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`why` is one of few constant texts."""

    result: Result
    why: str = ""


async def check(ask: Ask, ip: str, *, sender: str, helo: str) -> Verdict:
    """Of the domain of `sender`, an address whose local part may be empty (section 4.1)."""
    address = ipaddress.ip_address(ip)
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    local, _, domain = sender.rpartition("@")
    state = _Check(ask, address, local or "postmaster", domain, helo)
    try:
        return Verdict(await state.host(domain))
    except _Stop as stop:
        return Verdict(stop.result, stop.why)
    except NoAnswer:
        return Verdict("temperror", "DNS did not answer")


def parse(octets: bytes) -> Record:
    """Section 4.6: one fault anywhere is a fault of all. Raises _Stop."""
    if len(octets) > RECORD_OCTETS:
        raise _Stop("permerror", "the record is too long")
    try:
        words = octets.decode("ascii").split(" ")[1:]
    except UnicodeDecodeError as error:
        raise _Stop("permerror", "the record is not ASCII") from error
    terms: list[Term] = []
    modifiers: dict[str, str] = {}
    for word in filter(None, words):
        modifier = _MODIFIER.fullmatch(word)
        if not modifier:
            terms.append(_term(word))
            continue
        name = modifier[1].lower()
        if name in ("redirect", "exp"):
            if name in modifiers or not _is_domain_spec(modifier[2]):
                raise _Stop("permerror", "syntax of the record")
            modifiers[name] = modifier[2]
        elif not _STRING.fullmatch(modifier[2]) or _has_zero(modifier[2]):
            raise _Stop("permerror", "syntax of the record")
    return Record(tuple(terms), modifiers.get("redirect", ""))


def _term(word: str) -> Term:
    fault = _Stop("permerror", "syntax of the record")
    network = _NETWORK.fullmatch(word)
    if network:
        version = 4 if word.lstrip("-+?~")[2] == "4" else 6
        text = network[2] + (f"/{network[3]}" if network[3] else "")
        try:
            found = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise fault from error
        if found.version != version:
            raise fault
        return Term(_QUALIFIERS[network[1] or "+"], f"ip{version}", text)
    match = _TERM.fullmatch(word)
    if not match:
        raise fault
    qualifier, written, argument, bits4, bits6 = match.groups()
    name = written.lower()
    has_bits = bits4 is not None or bits6 is not None
    if (
        name in ("ip4", "ip6")
        or (name == "all" and (argument is not None or has_bits))
        or (name in ("include", "exists", "ptr") and has_bits)
        or (name in ("include", "exists") and argument is None)
        or (argument is not None and not _is_domain_spec(argument))
    ):
        raise fault
    term = Term(
        _QUALIFIERS[qualifier or "+"],
        name,
        argument or "",
        32 if bits4 is None else int(bits4),
        128 if bits6 is None else int(bits6),
    )
    if term.bits4 > 32 or term.bits6 > 128:
        raise fault
    return term


def _is_domain_spec(text: str) -> bool:
    return bool(_STRING.fullmatch(text) and _DOMAIN_END.search(text)) and not _has_zero(text)


def _has_zero(text: str) -> bool:
    """Section 7.1: a number of labels to keep is not zero."""
    return any(found[2] and not found[2].strip("0") for found in _EXPANSION.finditer(text))


def _is_name(text: str) -> bool:
    """Section 4.3: of several labels, none too long, none empty but the last."""
    labels = text.removesuffix(".").split(".")
    return (
        len(labels) > 1 and all(0 < len(label) <= 63 for label in labels) and text.isascii()
    ) and len(text) <= NAME_OCTETS + 1


@dataclass(slots=True)
class _Check:
    """One evaluation, with what it has used up."""

    ask: Ask
    ip: Ip
    local: str
    domain: str
    helo: str
    terms: int = 0
    voids: int = 0

    async def host(self, domain: str) -> Result:
        """check_host() of section 4."""
        if not _is_name(domain):
            raise _Stop("none", "not the name of a host")
        found = await self.ask(domain, "TXT")
        policies = [record for record in found.records if _VERSION.match(record)]
        if not policies:
            raise _Stop("none", "no record")
        if len(policies) > 1:
            raise _Stop("permerror", "more than one record")
        record = parse(policies[0])
        for term in record.terms:
            if await self._matches(term, domain):
                return term.result
        if not record.redirect:
            return "neutral"
        self._count_term()
        return await self._other(await self._expanded(record.redirect, domain))

    async def _other(self, domain: str) -> Result:
        """That of another domain, which must have a record (sections 5.2, 6.1)."""
        try:
            return await self.host(domain)
        except _Stop as stop:
            if stop.result == "none":
                raise _Stop("permerror", "a record that is referred to is missing") from stop
            raise

    def _count_term(self) -> None:
        self.terms += 1
        if self.terms > TERMS:
            raise _Stop("permerror", "too many look-ups")

    async def _look_up(self, name: str, kind: Kind) -> Answer:
        if not _is_name(name):
            return Answer(name_exists=False)
        answer = await self.ask(name, kind)
        if not answer.records:
            self.voids += 1
            if self.voids > VOIDS:
                raise _Stop("permerror", "too many look-ups without an answer")
        return answer

    async def _addresses(self, name: str) -> list[Ip]:
        found = await self._look_up(name, "A" if self.ip.version == 4 else "AAAA")
        return [ipaddress.ip_address(text) for text in found.texts]

    async def _matches(self, term: Term, domain: str) -> bool:
        if term.name == "all":
            return True
        if term.name in ("ip4", "ip6"):
            return self.ip in ipaddress.ip_network(term.argument, strict=False)
        self._count_term()
        target = await self._expanded(term.argument, domain) if term.argument else domain
        match term.name:
            case "include":
                return await self._other(target) == "pass"
            case "a":
                return self._among(await self._addresses(target), term)
            case "mx":
                return await self._is_exchange(target, term)
            case "ptr":
                return await self._is_named(target)
            case _:  # exists: always an A record (section 5.7)
                return bool((await self._look_up(target, "A")).records)

    def _among(self, addresses: Sequence[Ip], term: Term) -> bool:
        bits = term.bits4 if self.ip.version == 4 else term.bits6
        return any(
            self.ip in ipaddress.ip_network((address, bits), strict=False) for address in addresses
        )

    async def _is_exchange(self, target: str, term: Term) -> bool:
        hosts = (await self._look_up(target, "MX")).texts
        if len(hosts) > HOSTS:
            raise _Stop("permerror", "too many mail hosts")
        for host in hosts:
            if self._among(await self._addresses(host), term):
                return True
        return False

    async def _names(self) -> list[str]:
        """Names of the client that lead back to it (section 5.5)."""
        try:
            found = (await self._look_up(self.ip.reverse_pointer, "PTR")).texts[:HOSTS]
        except NoAnswer:
            return []
        names = []
        for name in found:
            try:
                if self.ip in await self._addresses(name):
                    names.append(name)
            except NoAnswer:
                continue
        return names

    async def _is_named(self, target: str) -> bool:
        wanted = target.lower().removesuffix(".")
        return any(
            name.lower() == wanted or name.lower().endswith(f".{wanted}")
            for name in await self._names()
        )

    async def _expanded(self, spec: str, domain: str) -> str:
        """Section 7.3; a long name loses labels at its left until it is one."""
        pieces = []
        at = 0
        for found in _EXPANSION.finditer(spec):
            pieces.append(spec[at : found.start()])
            at = found.end()
            letter, digits, reverse, marks, plain = found.groups()
            if plain:
                pieces.append({"%": "%", "_": " ", "-": "%20"}[plain])
                continue
            value = await self._value(letter.lower(), domain)
            labels = re.split(f"[{re.escape(marks or '.')}]", value)
            if reverse:
                labels.reverse()
            if digits:
                labels = labels[-min(int(digits.lstrip("0")[:4]), _LABELS) :]
            value = ".".join(labels)
            pieces.append(_escaped(value) if letter.isupper() else value)
        name = "".join([*pieces, spec[at:]]).removesuffix(".")
        while len(name) > NAME_OCTETS and "." in name:
            name = name.partition(".")[2]
        return name

    async def _value(self, letter: str, domain: str) -> str:
        match letter:
            case "s":
                return f"{self.local}@{self.domain}"
            case "l":
                return self.local
            case "o":
                return self.domain
            case "d":
                return domain
            case "i" if self.ip.version == 4:
                return str(self.ip)
            case "i":
                return ".".join(self.ip.packed.hex())
            case "v":
                return "in-addr" if self.ip.version == 4 else "ip6"
            case "h":
                return self.helo
            case _:
                return await self._validated_name(domain)

    async def _validated_name(self, domain: str) -> str:
        """Of the client's names the domain, else one below it, else any (section 7.3)."""
        names = await self._names()
        wanted = domain.lower().removesuffix(".")
        below = [name for name in names if name.lower().endswith(f".{wanted}")]
        same = [name for name in names if name.lower() == wanted]
        return next(iter([*same, *below, *names]), "unknown")


def _escaped(text: str) -> str:
    """RFC 3986 section 2.3: all but the unreserved characters."""
    return "".join(
        character
        if character.isascii() and (character.isalnum() or character in "-._~")
        else "".join(f"%{octet:02X}" for octet in character.encode("utf-8", "replace"))
        for character in text
    )
