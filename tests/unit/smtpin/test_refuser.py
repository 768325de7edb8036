"""The listener for those who want to send."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from net.limits import Connections
from net.listen import Endpoint, bind
from smtpin.refuser import Refuser
from tests import dialog
from tests.kit import trusting

FOLDER = Path(dialog.__file__).parent / "dialogs/refuser"
DIALOGS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.dialog"))}
HOST = "127.0.0.1"
WAIT_S = 20


def connected(port: int) -> dialog.SocketTalk:
    """One connection in TLS."""
    plain = socket.create_connection((HOST, port), WAIT_S)
    return dialog.SocketTalk(trusting().wrap_socket(plain))


@asynccontextmanager
async def refusing(
    tls: ssl.SSLContext, *, per_client: int = 5, seconds: float = 60
) -> AsyncIterator[tuple[Refuser, int]]:
    """A refuser, and its port. At the end nobody is counted any more."""
    connections = Connections(total=100, per_client=per_client, clock=time.monotonic)
    refuser = Refuser(connections=connections, seconds=seconds)
    [bound] = bind([Endpoint(HOST, 0)])
    port = bound.getsockname()[1]
    refuser.start([bound], tls)
    try:
        yield refuser, port
    finally:
        await refuser.stop()
    assert await connections.count() == 0


@pytest.mark.parametrize("text", DIALOGS.values(), ids=DIALOGS.keys())
async def test_dialog(text: str, tls: ssl.SSLContext) -> None:
    async with refusing(tls) as (_, port):
        await asyncio.to_thread(dialog.run, dialog.parse(text), lambda: connected(port))


async def test_who_says_nothing_is_put_out_in_time(tls: ssl.SSLContext) -> None:
    def silent(port: int) -> None:
        talk = connected(port)
        assert talk.line().startswith(b"554 ")
        with pytest.raises(EOFError):
            talk.line()
        talk.close()

    with capture_logs() as logs:
        async with refusing(tls, seconds=1) as (_, port):
            await asyncio.to_thread(silent, port)
    ends = [log for log in logs if log["event"] == "refuser.end"]
    assert [(end["peer"], end["lines"], end["why"]) for end in ends] == [(HOST, 0, "timeout")]


async def test_connections_of_one_client_are_counted(tls: ssl.SSLContext) -> None:
    def several(port: int) -> None:
        first = connected(port)
        assert first.line().startswith(b"554 ")
        second = connected(port)
        assert second.line() == b"421 4.7.0 too many connections from your address; try again later"
        with pytest.raises(EOFError):
            second.line()
        second.close()
        first.send(b"QUIT\r\n")
        assert first.line().startswith(b"221 ")
        with pytest.raises(EOFError):
            first.line()
        first.close()

    async with refusing(tls, per_client=1) as (_, port):
        await asyncio.to_thread(several, port)


async def test_the_end_of_the_server_is_the_end_of_every_connection(tls: ssl.SSLContext) -> None:
    async with refusing(tls) as (refuser, port):
        talk = await asyncio.to_thread(connected, port)
        assert (await asyncio.to_thread(talk.line)).startswith(b"554 ")
        await refuser.stop()
        with pytest.raises(EOFError):
            await asyncio.to_thread(talk.line)
        talk.close()
