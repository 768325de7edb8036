"""What a DNS server says of a name at this moment, with the time that it may be remembered.

For a person who looks at a zone: nothing here is remembered, and records are texts as a zone file
has them. What is decided about mail asks `net.resolve`.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from net.listen import Endpoint
from net.resolve import PAYLOAD, TRY_S, NoAnswer, exchange

Kind = Literal["A", "AAAA", "CAA", "CNAME", "DS", "MX", "NS", "SOA", "SRV", "TLSA", "TXT"]


NO_WAY = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL))


class Silent(NoAnswer):
    """Nothing came back in time."""


class Unreachable(Silent):
    """This machine has no way to a server: as to IPv6 addresses where there is no IPv6."""


@dataclass(frozen=True, slots=True)
class Said:
    """Names are in lower case and end in a dot; of TXT the strings of each record are joined."""

    records: tuple[str, ...] = ()
    ttl_s: int = 0
    zone: str = ""  # to which the name belongs, where the answer says it


async def look(name: str, kind: Kind, servers: Sequence[Endpoint], *, recursive: bool) -> Said:
    """What the first of `servers` says that answers; each has TRY_S.

    Not `recursive`: a server that has the zone itself is asked, and must say so. Raises NoAnswer,
    with the reason of the last.
    """
    try:
        query = dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD)
    except dns.exception.DNSException as error:
        raise NoAnswer(f"{name} cannot be a name of DNS") from error
    if not recursive:
        query.flags &= ~dns.flags.RD
    last = NoAnswer("no resolver answers")
    for server in servers:
        try:
            async with asyncio.timeout(TRY_S):
                return _said(await exchange(query, server), authority=not recursive)
        except TimeoutError:
            last = Silent("does not answer")
        except NoAnswer as error:
            last = error
        except OSError as error:
            if error.errno in NO_WAY:
                last = Unreachable("cannot be reached from here")
            else:
                last = NoAnswer(f"does not answer: {error.strerror}")
        except (EOFError, dns.exception.DNSException):
            last = NoAnswer("does not answer as it should")
    raise last


def _said(message: dns.message.Message, *, authority: bool) -> Said:
    """Raises NoAnswer, DNSException (aliases in a circle)."""
    code = message.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise NoAnswer(f"answers {dns.rcode.to_text(code)}")
    if authority and not message.flags & dns.flags.AA:
        raise NoAnswer("does not have the zone of this name")
    assert isinstance(message, dns.message.QueryMessage)
    found = message.resolve_chaining()
    apexes = [
        _text(rrset.name)
        for rrset in (*message.answer, *message.authority)
        if rrset.rdtype == dns.rdatatype.SOA
    ]
    zone = apexes[0] if apexes else ""
    if found.answer is None:
        return Said((), int(found.minimum_ttl), zone)
    return Said(tuple(sorted(map(_record, found.answer))), int(found.answer.ttl), zone)


def _record(data: Any) -> str:
    if data.rdtype == dns.rdatatype.TXT:
        return str(b"".join(data.strings).decode("utf-8", "backslashreplace"))
    if data.rdtype == dns.rdatatype.CAA:
        return str(data.to_text())
    return str(data.to_text()).lower()


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def own_addresses() -> tuple[str, ...]:
    """This machine's addresses that anybody can reach; none of them behind a NAT. Sends nothing."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(
                ("192.0.2.1", 53)
            )  # an example's (RFC 5737): only the route is looked up
            found.append(asking.getsockname()[0])
        except OSError:
            pass  # no route: no address
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        lines = []
    for address, _, _, _, flags, _ in map(str.split, lines):
        if not int(flags, 16) & 0x01:  # IFA_F_TEMPORARY: gone tomorrow
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(address))))
    return tuple(each for each in found if ipaddress.ip_address(each).is_global)
