"""Where a connection may go that somebody else has named: never inwards.

A name is looked up once, each of its addresses is checked by our own list, and the caller connects
to one that was checked. `ipaddress.is_global` lets NAT64, site-local and multicast pass.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import idna

from net.limits import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Every address of a name, as text. Raises OSError."""

RESOLVE_S = 5
ADDRESSES = 16  # of one name

# IANA's special-purpose registries, multicast, and what was given back: none of it is somebody
# else's server.
_NOT_GLOBAL_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
# All that is given out lies in here: mapped addresses, NAT64, local and multicast ones do not.
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_NOT_GLOBAL_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address of any kind is inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_WORD = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"(?:0x)?[0-9a-f]*")


class Forbidden(Exception):
    """A host that nothing may connect to, or that does not exist: nobody is told which."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host as TLS names it, and the addresses that were checked. `private`: all of them are."""

    host: str
    addresses: tuple[Address, ...]
    private: bool


def is_global(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_GLOBAL_4)
    if address.scope_id is not None or address not in _GLOBAL_6:
        return False
    return not any(address in network for network in _NOT_GLOBAL_6)


def host_name(text: str) -> str | Address:
    """A domain name in its ASCII form, or an address in its usual one. Raises Forbidden.

    Numbers in any other form are no names: some resolvers take 0x7f.1 for an address.
    """
    folded = unicodedata.normalize("NFKC", text).strip().rstrip(".").lower()
    if folded != text.strip().rstrip(".").lower() and not any(map(str.isalpha, folded)):
        raise Forbidden(text)
    try:
        return ipaddress.ip_address(folded.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    try:
        name = folded if folded.isascii() else idna.encode(folded, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise Forbidden(text) from error
    labels = name.split(".")
    if len(name) > 253 or not all(_WORD.fullmatch(label) and len(label) < 64 for label in labels):
        raise Forbidden(text)
    # No top-level domain is a number: RFC 3696 section 2.
    if _NUMBER.fullmatch(labels[-1]) and any(map(str.isdigit, labels[-1])):
        raise Forbidden(text)
    return name


async def find(text: str, resolve: Resolve, private: Sequence[Network]) -> Target:
    """The addresses of a host, each of them global or in a network of `private`. Raises Forbidden.

    One address that is not allowed forbids the host: its other ones are a trick.
    """
    host = host_name(text)
    if isinstance(host, str):
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await resolve(host)
            addresses = [ipaddress.ip_address(each) for each in found][:ADDRESSES]
        except (OSError, ValueError) as error:
            raise Forbidden(text) from error
    else:
        addresses = [host]
    inside = [any(address in network for network in private) for address in addresses]
    allowed = [
        within or is_global(address) for address, within in zip(addresses, inside, strict=True)
    ]
    if not addresses or not all(allowed):
        raise Forbidden(text)
    return Target(str(host), tuple(dict.fromkeys(addresses)), private=all(inside))


async def system_resolve(name: str) -> list[str]:
    """As this machine resolves names."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(sockname[0]) for *_, sockname in found]
