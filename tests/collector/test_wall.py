"""Where the collector connects to, seen from the other end: a listener that must hear nothing."""

import ipaddress
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from collector.dial import Dialer
from mail.errors import TargetNotAllowed
from tests.collector.conftest import trusting


@pytest.fixture
def listener() -> socket.socket:
    found = socket.create_server(("127.0.0.1", 0))
    found.setblocking(False)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Dialer:
    """As a server's, without any private network."""
    return replace(trusting(tmp_path), private=())


@pytest.mark.parametrize(
    "host", ["pop.example.net", "127.0.0.1", "localhost", "[::1]", "x.invalid"]
)
async def test_whatever_is_forbidden_hears_nothing_and_is_told_alike(
    host: str, outside: Dialer, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    for place in (port, 995, 110):
        with pytest.raises(TargetNotAllowed) as refusal:
            await outside.look_up(host, place)
        assert refusal.value.public == (
            "this host cannot be used: there is none of this name, or it is not a public one"
        )
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


async def test_a_name_that_leads_elsewhere_the_second_time(
    tmp_path: Path, listener: socket.socket
) -> None:
    """DNS rebinding: the connection goes to what was checked, not to what is said then."""
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])

    async def rebinding(_name: str) -> list[str]:
        return next(answers)

    port = listener.getsockname()[1]
    allowed = [ipaddress.ip_network("127.0.0.2/32")]
    dialer = replace(trusting(tmp_path), resolve=rebinding, private=allowed)
    with socket.create_server(("127.0.0.2", port)) as checked:
        checked.setblocking(False)
        line = await dialer.dial(await dialer.look_up("pop.example.net", port), port)
        assert line.peer_ip == "127.0.0.2"
        checked.accept()[0].close()
        line.socket.close()
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


async def test_other_ports_only_where_a_network_is_named(outside: Dialer) -> None:
    async def public(_name: str) -> list[str]:
        return ["192.0.3.1"]

    dialer = replace(outside, resolve=public)
    for port in (25, 143, 993, 22):
        with pytest.raises(TargetNotAllowed):
            await dialer.look_up("pop.example.net", port)
    for port in (995, 110):
        assert not (await dialer.look_up("pop.example.net", port)).private
    assert outside.tls.verify_mode is ssl.CERT_REQUIRED
    assert outside.tls.check_hostname
