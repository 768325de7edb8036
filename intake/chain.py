"""The chain of those who handled a message before it came here (ARC, RFC 8617). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from intake.signatures import Field, Refused, Signature, basics, tags_of, unsigned, whole

INSTANCES = 50  # RFC 8617 section 4.2.1

RESULTS = b"arc-authentication-results"
MESSAGE = b"arc-message-signature"
SEAL = b"arc-seal"

_INSTANCE = re.compile(rb"[1-9][0-9]?")
_RESULTS_START = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]+)[ \t\r\n]*;")
_ASIDE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|\((?:[^()\\]++|\\.)*+\)', re.DOTALL)
_DMARC_PASS = re.compile(rb"(?:\A|;)[ \t\r\n]*dmarc[ \t\r\n]*=[ \t\r\n]*pass\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """What one of them added."""

    results: Field
    message: Field
    sealed: Field
    seal: Signature

    @property
    def saw_dmarc_pass(self) -> bool:
        return bool(_DMARC_PASS.search(_ASIDE.sub(b"", self.results.value)))


@dataclass(frozen=True, slots=True)
class Chain:
    """Oldest first; `newest` is the signature over the message as the last of them saw it."""

    links: tuple[Link, ...]
    newest: Signature

    def sealed(self) -> Iterator[tuple[Signature, bytes]]:
        """Each seal, and what it was made over (section 5.1.1)."""
        before = b""
        for link in self.links:
            for field in (link.results, link.message):
                before += field.canonical("relaxed") + b"\r\n"
            yield link.seal, before + unsigned(link.sealed).canonical("relaxed")
            before += link.sealed.canonical("relaxed") + b"\r\n"

    def vouched_by(self, trusted: Sequence[str]) -> bool:
        """Whether one of `trusted` saw DMARC pass, and only such have handled it since then."""
        for link in reversed(self.links):
            if link.seal.domain not in trusted:
                return False
            if link.saw_dmarc_pass:
                return True
        return False


def read(fields: Sequence[Field]) -> Chain | None:
    """Section 5.2 up to the signatures; None without a chain. Raises Refused."""
    found: dict[bytes, dict[int, Field]] = {RESULTS: {}, MESSAGE: {}, SEAL: {}}
    tags: dict[bytes, dict[int, dict[bytes, bytes]]] = {MESSAGE: {}, SEAL: {}}
    for field in fields:
        if field.name not in found:
            continue
        if field.name == RESULTS:
            start = _RESULTS_START.match(field.value)
            number = _number(start[1] if start else b"")
        else:
            read_tags = tags_of(field.value)
            number = _number(read_tags.get(b"i", b""))
            tags[field.name][number] = read_tags
        if number in found[field.name]:
            raise Refused("fail", "an instance is there twice")
        found[field.name][number] = field
    count = len(found[SEAL])
    wanted = set(range(1, count + 1))
    if not any(found.values()):
        return None
    if not count or any(set(numbers) != wanted for numbers in found.values()):
        raise Refused("fail", "an instance is not whole")
    links = tuple(
        _link(number, {name: found[name][number] for name in found}, tags[SEAL][number])
        for number in sorted(wanted)
    )
    newest = whole(found[MESSAGE][count], tags[MESSAGE][count])
    if SEAL in newest.names:
        raise Refused("fail", "a seal is signed")  # section 4.1.2
    return Chain(links, newest)


def _number(octets: bytes) -> int:
    if not _INSTANCE.fullmatch(octets) or int(octets) > INSTANCES:
        raise Refused("fail", "number of an instance")
    return int(octets)


def _link(number: int, fields: dict[bytes, Field], tags: dict[bytes, bytes]) -> Link:
    # Section 4.1.3: a seal has no h=, and says what its maker thought of the chain before it.
    if b"h" in tags or tags.get(b"cv") != (b"none" if number == 1 else b"pass"):
        raise Refused("fail", "what a seal says of the chain")
    sealed = fields[SEAL]
    return Link(fields[RESULTS], fields[MESSAGE], sealed, basics(sealed, tags))
