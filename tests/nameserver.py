"""A DNS server on loopback: zones of a test's choice, and faults on request.

It answers as a server that recurses does: aliases are followed as far as the zone goes.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from net.listen import Endpoint

Records = Sequence[tuple[str, str]]  # kind and text, as a zone file has it
BROKEN: Records = (("BROKEN", ""),)  # asked about it, the server fails (SERVFAIL)
Wire = Callable[[dns.message.Message, bytes], Sequence[bytes]]  # what is sent for an answer


def honest(_query: dns.message.Message, answer: bytes) -> Sequence[bytes]:
    return [answer]


def quoted(*strings: bytes | str) -> str:
    """The text of a TXT record; each string at most 255 octets."""
    octets = [each if isinstance(each, bytes) else each.encode("latin-1") for each in strings]
    cut = [each[at : at + 255] for each in octets for at in range(0, len(each) or 1, 255)]
    return " ".join('"' + "".join(f"\\{octet:03}" for octet in each) + '"' for each in cut) or '""'


@dataclass
class Nameserver:
    """`zone` and `wire` may be changed at any time. `asked` is what has been asked."""

    endpoint: Endpoint
    zone: Mapping[str, Records] = field(default_factory=dict)
    wire: Wire = honest
    ttl: int = 0
    slow: str = ""  # answers about names that end so take `delay_s`
    delay_s: float = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, octets: bytes, *, tcp: bool) -> Sequence[bytes]:
        query = dns.message.from_wire(octets)
        made = self._answer(query)
        room = 65535 if tcp else min(query.payload or 512, 65535)
        wire = made.to_wire(max_size=65535)
        if len(wire) > room:
            cut = dns.message.make_response(query)
            cut.flags |= dns.flags.TC
            wire = cut.to_wire()
        return self.wire(query, wire)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        [question] = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name
        self.asked.append((_plain(name), kind))
        answer = dns.message.make_response(query)
        for _ in range(20):
            records = self.zone.get(_plain(name))
            if records is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                break
            texts = [text for found, text in records if found == kind]
            if not texts and any(found == "BROKEN" for found, _ in records):
                answer.set_rcode(dns.rcode.SERVFAIL)
                break
            aliases = [text for found, text in records if found == "CNAME"]
            if texts or not aliases:
                if texts:
                    answer.answer.append(
                        dns.rrset.from_text(name, self.ttl, dns.rdataclass.IN, kind, *texts)
                    )
                break
            answer.answer.append(
                dns.rrset.from_text(name, self.ttl, dns.rdataclass.IN, "CNAME", aliases[0])
            )
            name = dns.name.from_text(aliases[0])
        soa = dns.rrset.from_text(
            dns.name.root, self.ttl, dns.rdataclass.IN, "SOA", f". . 1 1 1 1 {self.ttl}"
        )
        answer.authority.append(soa)
        return answer


def _plain(name: dns.name.Name) -> str:
    return b".".join(name.labels[:-1]).decode("latin-1").lower()


def _bound() -> tuple[socket.socket, socket.socket]:
    """For UDP and TCP on one port, which may be taken for one of them."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            return udp, socket.create_server(udp.getsockname(), backlog=100)
        except OSError:
            udp.close()


@contextmanager
def nameserver(zone: Mapping[str, Records] | None = None) -> Iterator[Nameserver]:
    udp, tcp = _bound()
    port = udp.getsockname()[1]
    with udp, tcp:
        server = Nameserver(Endpoint("127.0.0.1", port), zone or {})
        threads = [
            threading.Thread(target=_serve_udp, args=(server, udp), name="nameserver-udp"),
            threading.Thread(target=_serve_tcp, args=(server, tcp), name="nameserver-tcp"),
        ]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            tcp.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _serve_udp(server: Nameserver, udp: socket.socket) -> None:
    while True:
        octets, client = udp.recvfrom(65535)
        if not octets:
            return
        answers = server.answer(octets, tcp=False)
        if server.slow and server.asked[-1][0].endswith(server.slow):
            later = threading.Timer(server.delay_s, _send, (udp, answers, client))
            later.daemon = True
            later.start()
        else:
            _send(udp, answers, client)


def _send(udp: socket.socket, answers: Sequence[bytes], client: tuple[str, int]) -> None:
    for answer in answers:
        if udp.fileno() >= 0:
            udp.sendto(answer, client)


def _serve_tcp(server: Nameserver, tcp: socket.socket) -> None:
    while True:
        try:
            client, _ = tcp.accept()
        except OSError:
            return
        with client, client.makefile("rb") as stream:
            octets = stream.read(int.from_bytes(stream.read(2), "big"))
            for answer in server.answer(octets, tcp=True):
                client.sendall(len(answer).to_bytes(2, "big") + answer)
