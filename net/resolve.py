"""Questions to DNS servers: one client, with a bounded memory of what was answered.

A server that recurses is asked and believed, over UDP, and over TCP where the answer was cut. What
comes from another address, has another id or answers another question is not looked at.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from net.limits import Clock
from net.listen import Endpoint

Kind = Literal["A", "AAAA", "MX", "NS", "PTR", "TXT"]

PORT = 53
TRY_S = 2.0  # for one server to answer; then the next is asked, or it again
TRIES = 2  # or each server once, if there are more
PAYLOAD = 1232  # octets of an answer by UDP that no way cuts into fragments
LARGE_OCTETS = 4096  # of an answer: a larger one is read in a thread, and not remembered
AT_ONCE = 200  # questions under way, each with a socket of its own
REMEMBERED = 4096  # answers
LONGEST_S = 3600.0  # that an answer is remembered, whatever it says itself


class NoAnswer(Exception):
    """No server gave a usable answer: ask again another time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and kind: none if there are none, or no such name.

    TXT: the strings of each record joined. Others: an address, or a name without its last dot.
    """

    records: tuple[bytes, ...] = ()
    name_exists: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """Of records that are addresses and names, which are ASCII."""
        return tuple(record.decode("ascii") for record in self.records)


NO_SUCH_NAME = Answer(name_exists=False)


class Resolver:
    """`servers` empty: those of the system. Everything happens in one event loop."""

    def __init__(
        self,
        servers: Sequence[Endpoint] = (),
        *,
        remembered: int = REMEMBERED,
        clock: Clock = time.monotonic,
    ) -> None:
        self._remembered = remembered
        self._servers = tuple(servers) or system_servers()
        self.servers = ",".join(map(str, self._servers))  # for the log
        self._clock = clock
        self._memory: OrderedDict[tuple[str, Kind], tuple[float, Answer]] = OrderedDict()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ask(self, name: str, kind: Kind) -> Answer:
        """Raises NoAnswer, after at most TRY_S for each try and each server."""
        key = (name.lower().removesuffix("."), kind)
        known = self._memory.get(key)
        if known and known[0] > self._clock():
            self._memory.move_to_end(key)
            return known[1]
        wire_name = _name(key[0])
        if wire_name is None:
            return NO_SUCH_NAME
        query = dns.message.make_query(wire_name, kind, use_edns=0, payload=PAYLOAD)
        async with self._places:
            answer, ttl = await self._ask_servers(query)
        if ttl > 0 and sum(map(len, answer.records)) <= LARGE_OCTETS:
            self._memory[key] = (self._clock() + min(ttl, LONGEST_S), answer)
            self._memory.move_to_end(key)
            if len(self._memory) > self._remembered:
                self._memory.popitem(last=False)
        return answer

    async def _ask_servers(self, query: dns.message.QueryMessage) -> tuple[Answer, float]:
        for number in range(max(TRIES, len(self._servers)) if self._servers else 0):
            server = self._servers[number % len(self._servers)]
            try:
                async with asyncio.timeout(TRY_S):
                    return _read(await exchange(query, server))
            except (OSError, EOFError, dns.exception.DNSException):
                continue
        raise NoAnswer


def system_servers() -> tuple[Endpoint, ...]:
    """Of /etc/resolv.conf; none if it names none."""
    try:
        found = dns.resolver.Resolver().nameservers
    except dns.resolver.NoResolverConfiguration:
        return ()
    return tuple(Endpoint(str(server), PORT) for server in found)


def _name(text: str) -> dns.name.Name | None:
    """None: what cannot be a name of DNS is not the name of anything."""
    try:
        labels = [label.encode("ascii") for label in text.split(".")] if text else []
        return dns.name.Name([*labels, b""])
    except (UnicodeEncodeError, dns.exception.DNSException):
        return None


async def exchange(query: dns.message.QueryMessage, server: Endpoint) -> dns.message.Message:
    """Raises OSError (TimeoutError too), EOFError, DNSException."""
    wire = query.to_wire()
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        # Connected: the kernel drops what comes from elsewhere. Its choice of port is random.
        asking.connect((server.host, server.port))
        await loop.sock_sendall(asking, wire)
        while True:
            octets = await loop.sock_recv(asking, 65535)
            answer = await _message(octets, query)
            if answer:
                break
    if answer.flags & dns.flags.TC:
        octets = await _by_tcp(wire, server)
        answer = await _message(octets, query)
    if answer is None or answer.flags & dns.flags.TC:
        raise dns.exception.FormError
    return answer


async def _by_tcp(wire: bytes, server: Endpoint) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(wire).to_bytes(2, "big") + wire)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()


async def _message(octets: bytes, query: dns.message.QueryMessage) -> dns.message.Message | None:
    """None if it is no answer to the question."""
    if octets[:2] != query.id.to_bytes(2, "big"):
        return None
    try:
        if len(octets) > LARGE_OCTETS:
            message = await asyncio.to_thread(dns.message.from_wire, octets)
        else:
            message = dns.message.from_wire(octets)
    except (dns.exception.DNSException, ValueError):
        return None
    return message if query.is_response(message) else None


def _read(message: dns.message.Message) -> tuple[Answer, float]:
    """The answer and for how long it holds. Raises DNSException: a failure, aliases in a circle."""
    missing = message.rcode() == dns.rcode.NXDOMAIN
    if not missing and message.rcode() != dns.rcode.NOERROR:
        raise dns.exception.FormError
    assert isinstance(message, dns.message.QueryMessage)
    found = message.resolve_chaining()
    if found.answer is None:
        return (NO_SUCH_NAME if missing else Answer()), min(found.minimum_ttl, 300)
    return Answer(tuple(map(_record, found.answer))), found.minimum_ttl


def _record(data: Any) -> bytes:
    match data.rdtype:
        case dns.rdatatype.TXT:
            return b"".join(data.strings)
        case dns.rdatatype.MX:
            return _host(data.exchange)
        case dns.rdatatype.PTR | dns.rdatatype.NS:
            return _host(data.target)
        case _:
            return str(data.address).encode("ascii")


def _host(name: dns.name.Name) -> bytes:
    return name.to_text(omit_final_dot=True).encode("ascii")
