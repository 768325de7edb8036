"""DNS that is silent, slow, lying or going in circles: nobody waits long, nothing is refused."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from net.listen import Endpoint
from store.records import Proof
from tests.nameserver import BROKEN, Records, Wire, honest, quoted
from tests.verification.conftest import Keys
from tests.verification.world import Sent, World, world

ZONE: dict[str, Records] = {
    "good.test": [("TXT", quoted("v=spf1 ip4:192.0.2.1 -all"))],
    "_dmarc.good.test": [("TXT", quoted("v=DMARC1; p=reject"))],
}
PATIENCE_S = 6  # of the 250, counted from the dot


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("faults"), smtp='dmarc = "refuse"') as found:
        yield found


def signed(keys: Keys, of: str) -> bytes:
    message = f"From: <ann@{of}>\r\nSubject: hello\r\n\r\nhello\r\n".encode()
    return keys.sign(message, of)


def silent(_query: dns.message.Message, _answer: bytes) -> Sequence[bytes]:
    return []


def garbage(_query: dns.message.Message, answer: bytes) -> Sequence[bytes]:
    return [b"", b"x", answer[:2], answer[:2] + b"\xff" * 500, answer[: len(answer) // 2]]


def other_id(_query: dns.message.Message, answer: bytes) -> Sequence[bytes]:
    return [bytes([answer[0] ^ 1]) + answer[1:]]


def other_question(query: dns.message.Message, _answer: bytes) -> Sequence[bytes]:
    made = dns.message.make_response(dns.message.make_query("other.test", "TXT"))
    made.id = query.id
    return [made.to_wire()]


def refusing(query: dns.message.Message, _answer: bytes) -> Sequence[bytes]:
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.REFUSED)
    return [made.to_wire()]


def truncated_for_ever(query: dns.message.Message, _answer: bytes) -> Sequence[bytes]:
    made = dns.message.make_response(query)
    made.flags |= dns.flags.TC
    return [made.to_wire()]


FAULTS: dict[str, Wire] = {
    "silent.test": silent,
    "garbage.test": garbage,
    "id.test": other_id,
    "question.test": other_question,
    "refusing.test": refusing,
    "truncated.test": truncated_for_ever,
}


def by_domain(query: dns.message.Message, answer: bytes) -> Sequence[bytes]:
    name = query.question[0].name.to_text(omit_final_dot=True)
    wires = [wire for domain, wire in FAULTS.items() if name.endswith(domain)]
    return wires[0](query, answer) if wires else [answer]


def test_mail_is_kept_in_time_and_nothing_is_claimed(net: World, keys: Keys) -> None:
    net.dns.zone, net.dns.wire = ZONE, by_domain

    def timed(domain: str) -> tuple[Sent, float]:
        started = time.monotonic()
        sent = net.send(signed(keys, domain), sender=f"bob@{domain}")
        return sent, time.monotonic() - started

    try:
        with ThreadPoolExecutor(len(FAULTS) + 1) as pool:
            faulty = {domain: pool.submit(timed, domain) for domain in FAULTS}
            good, _ = pool.submit(timed, "good.test").result()
            assert net.results(good)["spf"][0].startswith("pass")
            assert not faulty["silent.test"].done()  # who waits is not waited for
            for domain, waiting in faulty.items():
                sent, seconds = waiting.result()
                assert seconds < PATIENCE_S, domain
                results = net.results(sent)
                assert results["spf"][0].startswith("temperror"), domain
                assert [each.split()[0] for each in results["dkim"]] == ["temperror"], domain
                assert [each.split()[0] for each in results["dmarc"]] == ["temperror"], domain
                assert net.row(sent).authentication.proof is Proof.UNKNOWN
    finally:
        net.dns.wire = honest


def test_slow_answers_are_waited_for_until_the_deadline_and_not_longer(net: World) -> None:
    zone: dict[str, Records] = {
        f"a{number}.slow.test": [("TXT", quoted(f"v=spf1 include:a{number + 1}.slow.test -all"))]
        for number in range(9)
    }
    net.dns.zone = zone | {
        "a9.slow.test": [("TXT", quoted("v=spf1 +all"))],
        "_dmarc.slow.test": [("TXT", quoted("v=DMARC1; p=reject"))],
    }
    net.dns.slow, net.dns.delay_s = "slow.test", 0.9
    try:
        started = time.monotonic()
        sent = net.send(b"From: <x@slow.test>\n\nhello\n", sender="bob@a0.slow.test")
        assert time.monotonic() - started < PATIENCE_S
    finally:
        net.dns.slow = ""
    results = net.results(sent)
    assert results["spf"][0].startswith("temperror")
    assert results["dmarc"][0].startswith("temperror")


def test_aliases_in_a_circle_and_a_server_that_fails(net: World) -> None:
    circle: dict[str, Records] = {
        "a.test": [("CNAME", "b.test.")],
        "b.test": [("CNAME", "a.test.")],
        "broken.test": BROKEN,
    }
    net.dns.zone = circle
    for domain in ("a.test", "broken.test"):
        sent = net.send(b"From: <x@y.test>\n\nhello\n", sender=f"bob@{domain}")
        assert net.results(sent)["spf"][0].startswith("temperror")


def test_a_truncated_answer_is_asked_for_by_tcp(net: World) -> None:
    filling = [("TXT", quoted("x" * 200 + str(number))) for number in range(30)]
    net.dns.zone = {"large.test": [*filling, ("TXT", quoted("v=spf1 +all"))]}
    sent = net.send(b"From: <x@y.test>\n\nhello\n", sender="bob@large.test")
    assert net.results(sent)["spf"][0].startswith("pass")


def test_answers_are_remembered_as_long_as_they_say(net: World) -> None:
    net.dns.zone, net.dns.ttl = {"kept.test": [("TXT", quoted("v=spf1 +all"))]}, 300
    try:
        for _ in range(3):
            sent = net.send(b"From: <x@y.test>\n\nhello\n", sender="bob@kept.test")
            assert net.results(sent)["spf"][0].startswith("pass")
    finally:
        net.dns.ttl = 0
    assert net.dns.asked.count(("kept.test", "TXT")) == 1


class Silence:
    """Takes connections and reads, and says nothing."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._listening.getsockname()[1])
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                self._open.append(self._listening.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (*self._open, self._listening):
            each.close()


def test_filters_that_are_silent_or_not_there_lose_nothing(tmp_path: Path) -> None:
    silence = Silence()
    nobody = Endpoint("127.0.0.1", 1)
    try:
        for name, filter_ in (("silent", silence.endpoint), ("gone", nobody)):
            folder = tmp_path / name
            folder.mkdir()
            smtp = f'rspamd = "http://{filter_}"\nclamd = "{filter_}"'
            with world(folder, smtp=smtp) as net:
                started = time.monotonic()
                sent = net.send(b"From: <x@y.test>\n\n" + 100_000 * b"0123456789\n")
                assert time.monotonic() - started < PATIENCE_S
                assert net.fetch(sent.uid).endswith(b"0123456789\r\n")
                assert not net.row(sent).authentication.suspected
    finally:
        silence.close()
