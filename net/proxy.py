"""The PROXY header that a load balancer or tunnel puts before a connection's own octets.

PROXY protocol, versions 1 and 2, as published with HAProxy. Pure: octets in, an answer out.
"""

from __future__ import annotations

import ipaddress
import re

from net.limits import Peer

LONGEST = 536  # version 2: 16 octets and the longest address block, with room for short TLVs
V1_LONGEST = 107
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_START = len(V2_SIGNATURE) + 4
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?"
    rb"|(?P<family>TCP[46]) (?P<source>[0-9a-fA-F:.]+) [0-9a-fA-F:.]+"
    rb" (?P<port>0|[1-9][0-9]{0,4}) (?:0|[1-9][0-9]{0,4}))\r\n"
)
_ADDRESSES = {0x11: (4, 12), 0x21: (16, 36)}  # TCP over IPv4, IPv6: octets of one, of the block


class BadHeader(Exception):
    """What came is no PROXY header, or one that we do not take."""


def read(octets: bytes) -> tuple[int, Peer | None] | None:
    """The header's length and the client it names, from the first octets of a connection.

    None while more octets are needed. The client is None where the header names none: a health
    check of the proxy's own (LOCAL), or UNKNOWN. Raises BadHeader.
    """
    if octets[: len(V2_SIGNATURE)] == V2_SIGNATURE[: len(octets)]:
        return _read_v2(octets)
    if octets[:6] == b"PROXY "[: len(octets)]:
        return _read_v1(octets)
    raise BadHeader("the connection does not begin with a PROXY header")


def _read_v1(octets: bytes) -> tuple[int, Peer | None] | None:
    end = octets.find(b"\r\n", 0, V1_LONGEST) + 2
    if end == 1:
        if len(octets) < V1_LONGEST:
            return None
        raise BadHeader("a version 1 header is longer than 107 octets")
    found = _V1.fullmatch(octets[:end])
    if not found:
        raise BadHeader("a version 1 header is malformed")
    if found["family"] is None:
        return end, None
    try:
        address = ipaddress.ip_address(found["source"].decode())
    except ValueError as error:
        raise BadHeader("a version 1 header names no IP address") from error
    port = int(found["port"])
    if f"TCP{address.version}" != found["family"].decode() or port > 65535:
        raise BadHeader("a version 1 header contradicts itself")
    return end, Peer(str(address), port)


def _read_v2(octets: bytes) -> tuple[int, Peer | None] | None:
    if len(octets) < _V2_START:
        return None
    command, family = octets[12], octets[13]
    end = _V2_START + int.from_bytes(octets[14:16])
    if end > LONGEST:
        raise BadHeader("a version 2 header is too long")
    if command not in (0x20, 0x21):
        raise BadHeader("a version 2 header has an unknown version or command")
    if len(octets) < end:
        return None
    if command == 0x20 or family == 0x00:
        return end, None
    if family not in _ADDRESSES:
        raise BadHeader("a version 2 header names no TCP client")
    length, block = _ADDRESSES[family]
    if end < _V2_START + block:
        raise BadHeader("a version 2 header is too short for its addresses")
    address = ipaddress.ip_address(octets[_V2_START : _V2_START + length])
    ports = _V2_START + 2 * length
    return end, Peer(str(address), int.from_bytes(octets[ports : ports + 2]))
