"""Listening sockets: all of them or none, and a taken port says by whom."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from net.listen import Endpoint, PortNotOurs, PortTaken, bind, holder

LOOPBACK = Endpoint("127.0.0.1", 0)
LOOPBACK_V6 = Endpoint("::1", 0)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


@contextmanager
def listening(*endpoints: Endpoint) -> Iterator[list[socket.socket]]:
    sockets = bind(list(endpoints))
    try:
        yield sockets
    finally:
        for opened in sockets:
            opened.close()


@pytest.mark.parametrize(
    ("text", "endpoint", "loopback"),
    [
        ("192.0.2.1:25", Endpoint("192.0.2.1", 25), False),
        ("0.0.0.0:0", Endpoint("0.0.0.0", 0), False),
        ("127.0.0.1:65535", Endpoint("127.0.0.1", 65535), True),
        ("127.9.9.9:25", Endpoint("127.9.9.9", 25), True),
        ("[::]:25", Endpoint("::", 25), False),
        ("[::1]:25", Endpoint("::1", 25), True),
        ("[2001:db8::1]:995", Endpoint("2001:db8::1", 995), False),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint, *, loopback: bool) -> None:
    assert Endpoint.parse(text) == endpoint
    assert str(endpoint) == text
    assert endpoint.loopback == loopback


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":25", "25", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1"),
        *("192.0.2.1:25 ", " 192.0.2.1:25", "192.0.2.1: 25", "192.0.2.1:+25", "192.0.2.1:2_5"),
        *("192.0.2.1:٢٥", "192.0.2.1:" + "9" * 5000, "192.0.2.256:25", "192.0.2:25", "1:25"),
        *(
            "localhost:25",
            "example.org:25",
            "*:25",
            "::1:25",
            "[::1]",
            "[::1]:",
            "[::1:25",
            "::1]:25",
        ),
        *("[192.0.2.1]:25", "[]:25", "[[::1]]:25", "192.0.2.1/24:25"),
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Endpoint.parse(text)


def test_a_bound_socket_listens() -> None:
    with listening(LOOPBACK, LOOPBACK) as (one, other):
        assert port_of(one) != port_of(other)
        assert not one.getblocking()
        with socket.create_connection(("127.0.0.1", port_of(one)), timeout=5):
            pass


@needs_ipv6
def test_an_ipv6_socket_takes_ipv6_only() -> None:
    with listening(LOOPBACK, LOOPBACK_V6) as (_, v6):
        assert v6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        with (
            listening(Endpoint("127.0.0.1", port_of(v6))),
            socket.create_connection(("::1", port_of(v6)), timeout=5) as client,
        ):
            assert client.getpeername()[0] == "::1"


def test_a_taken_port_names_its_holder() -> None:
    with listening(LOOPBACK) as (first,):
        taken = Endpoint("127.0.0.1", port_of(first))
        with pytest.raises(PortTaken) as raised:
            bind([taken])
        assert raised.value.endpoint == taken
        assert raised.value.holder is not None
        assert raised.value.holder.endswith(f"(pid {os.getpid()})")
        assert str(taken) in str(raised.value)
        assert raised.value.holder in str(raised.value)


LISTEN = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
input()
"""


def test_another_process_is_named_too() -> None:
    command = [sys.executable, "-c", LISTEN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with closing(process.stdin):
            port = int(process.stdout.readline())
            found = holder(port)
    assert found is not None
    assert found.endswith(f"(pid {process.pid})")


def test_a_free_port_has_no_holder() -> None:
    with listening(LOOPBACK) as (first,):
        port = port_of(first)
    assert holder(port) is None


def test_an_unnamed_holder_is_another_program() -> None:
    assert str(PortTaken(LOOPBACK, None)) == "127.0.0.1:0 is in use by another program"


def test_when_one_cannot_be_bound_none_is() -> None:
    with listening(LOOPBACK, LOOPBACK) as (free, taken):
        ports = port_of(free), port_of(taken)
        free.close()
        with pytest.raises(PortTaken):
            bind([Endpoint("127.0.0.1", port) for port in ports])
        with listening(Endpoint("127.0.0.1", ports[0])) as (again,):
            assert port_of(again) == ports[0]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine(host: str) -> None:
    # RFC 5737, RFC 3849: for documentation, so never ours; left out by no rule.
    for endpoints in ([Endpoint(host, 0)], [LOOPBACK, Endpoint(host, 0)]):
        with pytest.raises(PortNotOurs) as raised:
            bind(endpoints)
        assert raised.value.endpoint == Endpoint(host, 0)
        assert raised.value.reason in str(raised.value)


def test_an_ended_connection_does_not_keep_the_port() -> None:
    with listening(LOOPBACK) as (first,):
        port = port_of(first)
        first.setblocking(True)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            accepted, _ = first.accept()
            accepted.close()  # we close first: our side waits in TIME_WAIT
            assert client.recv(1) == b""
    with listening(Endpoint("127.0.0.1", port)) as (again,):
        assert port_of(again) == port


def test_nothing_to_bind_is_nothing() -> None:
    assert bind([]) == []
