"""The one place that opens connections to the outside.

IN        a host and port that a user has named, and how TLS begins there
OUT       a connection to an address that was checked, and TLS on it
MAY       resolve the host, once; connect to ports of POP3, and to any in a network named for it
NEVER     connect inwards, to ourselves, or to an address that was not checked
FAILS     TargetNotAllowed, one text and one time for whatever is forbidden or not there;
          UpstreamFailed, UpstreamTimeout, UpstreamTls
RFC       8314 section 3.3 (995), 2595 (STLS)
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from mail.errors import TargetNotAllowed, UpstreamFailed, UpstreamTimeout, UpstreamTls
from net import targets
from net.limits import Network
from net.listen import Endpoint
from net.targets import Address, Forbidden, Resolve, Target

TLS_PORT, STLS_PORT = 995, 110
CONNECT_S = 10.0  # to one address, and again for TLS on it
TRIES = 3  # addresses
REFUSAL_S = 6.0  # longer than a look-up may take: the answer is the same, and comes as late


@dataclass(frozen=True, slots=True)
class Line:
    """A socket to a provider. `stls`: TLS is still to begin, by a command."""

    socket: socket.socket
    host: str  # as its certificate must name it
    peer_ip: str
    stls: bool


@dataclass(frozen=True, slots=True)
class Dialer:
    """`own_ports`: where we listen ourselves, on any address of this machine.

    `stls_port` is the one port where TLS begins by a command.
    """

    tls: ssl.SSLContext
    hostname: str
    own_ports: frozenset[int]
    private: Sequence[Network] = ()
    resolve: Resolve = targets.system_resolve
    stls_port: int = STLS_PORT
    connect_s: float = CONNECT_S
    refusal_s: float = REFUSAL_S

    async def look_up(self, host: str, port: int) -> Target:
        """Raises TargetNotAllowed."""
        loop = asyncio.get_running_loop()
        answer_at = loop.time() + self.refusal_s
        try:
            target = await targets.find(host, self.resolve, self.private)
            if not target.private and port not in (TLS_PORT, STLS_PORT):
                raise Forbidden(host)
            if target.host == self.hostname or self._is_ours(target, port):
                raise Forbidden(host)
        except Forbidden as error:
            await asyncio.sleep(answer_at - loop.time())
            raise TargetNotAllowed(
                "this host cannot be used: there is none of this name, or it is not a public one"
            ) from error
        return target

    async def dial(self, target: Target, port: int) -> Line:
        """To the first address that answers. Raises UpstreamFailed, UpstreamTimeout."""
        failure = UpstreamFailed("the provider cannot be reached")
        for address in target.addresses[:TRIES]:
            try:
                async with asyncio.timeout(self.connect_s):
                    opened = await _connect(address, port)
            except TimeoutError:
                failure = UpstreamTimeout("the provider does not answer")
            except OSError:
                failure = UpstreamFailed("the provider cannot be reached")
            else:
                return Line(opened, target.host, str(address), stls=port == self.stls_port)
        raise failure

    async def encrypt(self, line: Line) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """TLS on a line, which is the writer's from then on. Raises UpstreamTls, UpstreamTimeout.

        The certificate must be in date, of an authority this machine trusts, and name the host.
        """
        try:
            async with asyncio.timeout(self.connect_s):
                return await asyncio.open_connection(
                    sock=line.socket, ssl=self.tls, server_hostname=line.host
                )
        except TimeoutError as error:
            raise UpstreamTimeout("the provider does not answer") from error
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message or "it is not valid"
            raise UpstreamTls(f"the provider's certificate is not to be trusted: {why}") from error
        except OSError as error:  # all of TLS is among them
            raise UpstreamTls("no TLS with the provider") from error

    def _is_ours(self, target: Target, port: int) -> bool:
        return port in self.own_ports and any(map(_is_here, target.addresses))


async def _connect(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, (str(address), port))
        if ipaddress.ip_address(opened.getpeername()[0]) != address:
            raise OSError("connected to somewhere else")
    except BaseException:
        opened.close()
        raise
    return opened


def _is_here(address: Address) -> bool:
    """Whether it is an address of this machine: packets to it would come from itself."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((str(address), TLS_PORT))
        except OSError:
            return False
        return ipaddress.ip_address(probe.getsockname()[0]) == address


def ports_of(endpoints: Sequence[Endpoint]) -> frozenset[int]:
    return frozenset(endpoint.port for endpoint in endpoints)
