"""What one client may take: connections, their rate, octets, guesses, failed sign-ins.

Everything a stranger can make grow has its bound here. An IPv6 client counts by its /64.
Times are monotonic seconds, handed in as `clock`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from array import array
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Clock = Callable[[], float]

TABLE_KEYS = 100_000  # clients remembered at once; the one not seen for longest is forgotten
RATE_WINDOW_S = 60
ALLOWANCE_S = 3600
SITE_SHARES = 4.5  # of one client's, for all clients of one IPv6 /48 together
ACCOUNT_CHARACTERS = 64  # of a name that was typed: a long one takes no more room than others
FAILURE_DELAYS_S = (0, 1, 2, 4, 8)  # after the first, second, ... failure of one account and client
FAILURES_FORGOTTEN_S = 900
# Different wrong secrets of one client, whatever account they are for: so many in so many seconds.
WRONG_SECRETS = ((10, 60), (50, 86_400))


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection."""

    ip: str
    port: int

    @classmethod
    def of(cls, sockname: object) -> Peer:
        """From a transport's `peername`; a connection that is gone already has none."""
        if isinstance(sockname, tuple) and len(sockname) >= 2:
            return cls(str(sockname[0]).partition("%")[0], int(sockname[1]))
        return cls("0.0.0.0", 0)  # noqa: S104 - stands for "unknown", nothing is bound to it

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address; an IPv4 one that came in by an IPv6 socket is IPv4 again."""
        return _address(self.ip)

    @property
    def key(self) -> str:
        """The bucket it counts in: IPv4 /32, IPv6 /64."""
        address = self.address
        if address.version == 4:
            return str(address)
        return str(ipaddress.ip_network((address, 64), strict=False))

    @property
    def site(self) -> str | None:
        """The IPv6 /48, which one customer may have whole; None for IPv4."""
        address = self.address
        if address.version == 4:
            return None
        return str(ipaddress.ip_network((address, 48), strict=False))

    def within(self, networks: Sequence[Network]) -> bool:
        address = self.address
        return any(address in network for network in networks)


@lru_cache(64)
def _address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """It is asked for some times a connection."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a client may not come in, and when it is worth another try.

    `silent`: it was told often enough, and another answer is more than it is worth.
    """

    reason: str
    retry_after_s: int
    silent: bool = False


class Streak(NamedTuple):
    """The client that came last, how often with no other in between, and was refused of those."""

    client: str
    times: int
    refused: int


class Limiter(Protocol):
    """A count that connections take a place in, in this process or in the one that has all of
    them."""

    async def admit(self, peer: Peer) -> Refused | None:
        """None lets the client in; it is paired with one `release`."""

    def release(self, peer: Peer) -> None: ...


class Counted(Limiter, Protocol):
    """One that tells how many are in, and whether they are all one client."""

    async def count(self) -> int: ...

    async def streak(self) -> Streak: ...


class FailureCounts(Protocol):
    """`Failures`, in this process or in the one that has all of them."""

    async def next_try(self, account: str, peer: Peer) -> int | Refused:
        """`refused`, else `delay_s`."""

    def add(self, account: str, peer: Peer, secret_hash: int = 0) -> None: ...

    def forget(self, account: str, peer: Peer) -> None: ...

    def forgive(self, peer: Peer) -> None: ...


class Rate:
    """At most so many of one client in any stretch of time."""

    def __init__(self, most: int, within_s: float, *, clock: Clock) -> None:
        self._most = most
        self._within_s = within_s
        self._clock = clock
        # Lists: an empty deque takes 760 octets, and there is one for each client.
        self._taken: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, key: str) -> int:
        """0 counts one more; else the seconds until one may be taken, and nothing is counted."""
        now = self._clock()
        taken = self._taken.setdefault(key, [])
        self._taken.move_to_end(key)
        if len(self._taken) > TABLE_KEYS:
            self._taken.popitem(last=False)
        del taken[: bisect_right(taken, now - self._within_s)]
        if len(taken) >= self._most:
            return max(1, math.ceil(taken[0] + self._within_s - now))
        taken.append(now)
        return 0


class Connections:
    """Connections of one listener: how many in all, per client and per IPv6 /48, and a minute.

    A client over its rate is told so as often in a minute as it may connect; then it is refused
    silently. Networks in `exempt` count in the total only.
    """

    def __init__(
        self,
        *,
        total: int,
        per_client: int | None = None,
        per_minute: int | None = None,
        exempt: Sequence[Network] = (),
        clock: Clock,
    ) -> None:
        self._total = total
        self._per_client = per_client
        self._per_site = int(SITE_SHARES * per_client) if per_client else None
        self._exempt = exempt
        self._rate = Rate(per_minute, RATE_WINDOW_S, clock=clock) if per_minute else None
        self._told = Rate(per_minute, RATE_WINDOW_S, clock=clock) if per_minute else None
        self._open: dict[str, int] = {}
        self._open_total = 0
        self._streak = Streak("", 0, 0)

    @property
    def open(self) -> int:
        return self._open_total

    async def count(self) -> int:
        return self._open_total

    async def streak(self) -> Streak:
        return self._streak

    async def admit(self, peer: Peer) -> Refused | None:
        """As Limiter has it; nothing is waited for here."""
        return self.take(peer)

    def take(self, peer: Peer) -> Refused | None:
        """None lets the client in; it is paired with one `release`."""
        exempt = peer.within(self._exempt)
        if not exempt:
            key = peer.key
            refused = self._over_rate(key) or self._over_share(peer)
            self._note(key, refused=bool(refused))
            if refused:
                return refused
        if self._open_total >= self._total:
            return Refused("too many connections", 10)
        self._open_total += 1
        if not exempt:
            for key in self._keys(peer):
                self._open[key] = self._open.get(key, 0) + 1
        return None

    def release(self, peer: Peer) -> None:
        self._open_total -= 1
        if peer.within(self._exempt):
            return
        for key in self._keys(peer):
            left = self._open.pop(key) - 1
            if left:
                self._open[key] = left

    def _note(self, key: str, *, refused: bool) -> None:
        last = self._streak
        times, before = (last.times, last.refused) if last.client == key else (0, 0)
        self._streak = Streak(key, times + 1, before + refused)

    def _keys(self, peer: Peer) -> tuple[str, ...]:
        site = peer.site
        return (peer.key, site) if self._per_site is not None and site else (peer.key,)

    def _over_share(self, peer: Peer) -> Refused | None:
        most = (self._per_client, self._per_site)
        for key, limit in zip(self._keys(peer), most, strict=False):
            if limit is not None and self._open.get(key, 0) >= limit:
                return Refused("too many connections from your address", 10)
        return None

    def _over_rate(self, key: str) -> Refused | None:
        wait = self._rate.take(key) if self._rate else 0
        if not wait:
            return None
        assert self._told is not None
        silent = self._told.take(key) > 0
        return Refused("too many new connections from your address", wait, silent)


class Allowance:
    """So much for one client in an hour; who has taken it all has none for an hour from then.

    As a Limiter it keeps those out. Its places are without number, so nothing is released.
    """

    def __init__(self, most: int, reason: str, *, clock: Clock) -> None:
        self._most = most
        self._reason = reason
        self._clock = clock
        self._taken: OrderedDict[str, tuple[int, float]] = OrderedDict()  # and since when

    def take(self, peer: Peer, amount: int = 1) -> None:
        """Counts what was taken, even where it is more than there was."""
        key, now = peer.key, self._clock()
        taken, since = self._taken.get(key, (0, now))
        if now - since >= ALLOWANCE_S:
            taken, since = 0, now
        if taken < self._most <= taken + amount:
            since = now
        self._taken[key] = (taken + amount, since)
        self._taken.move_to_end(key)
        if len(self._taken) > TABLE_KEYS:
            self._taken.popitem(last=False)

    def wait_s(self, peer: Peer) -> int:
        """0 while there is some left; else the seconds until there is."""
        taken, since = self._taken.get(peer.key, (0, 0.0))
        left = since + ALLOWANCE_S - self._clock()
        return math.ceil(left) if taken >= self._most and left > 0 else 0

    async def admit(self, peer: Peer) -> Refused | None:
        wait = self.wait_s(peer)
        return Refused(self._reason, wait) if wait else None

    def release(self, peer: Peer) -> None:
        """As Limiter has it."""


class OctetBudget:
    """Octets of messages, over all connections."""

    def __init__(self, octets: int) -> None:
        self.total = octets
        self._left = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, octets: int) -> bool:
        """False when there are not that many left; nothing is taken then."""
        if octets > self._left:
            return False
        self._left -= octets
        return True

    async def take_in_turn(self, octets: int) -> None:
        """Waits until there are that many, behind those who wait already. At most `total`."""
        if not self._waiting and self.take(octets):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.give(0 if turn.cancelled() else octets)
            raise

    def give(self, octets: int) -> None:
        self._left += octets
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if not self.take(wanted):
                    return
                turn.set_result(None)
            self._waiting.popleft()


class Failures:
    """Failed sign-ins. None locks an account.

    Each makes the next answer to the same client for the same account later; a client with too
    many different wrong secrets gets none for a while. Networks in `exempt` are spared the last.
    """

    def __init__(self, *, exempt: Sequence[Network] = (), clock: Clock) -> None:
        self._exempt = exempt
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        # Per client, oldest first: the second in the upper half, 32 bits of the secret's hash in
        # the lower. One failure takes 8 octets, and there may be 50 of each client.
        self._wrong: OrderedDict[str, array[int]] = OrderedDict()

    async def next_try(self, account: str, peer: Peer) -> int | Refused:
        """As FailureCounts has it; nothing is waited for here."""
        return self.refused(peer) or self.delay_s(account, peer)

    def delay_s(self, account: str, peer: Peer) -> int:
        """Seconds to wait before the next try of this client at this account is looked at."""
        count = self._count(_failure_key(account, peer))
        return FAILURE_DELAYS_S[min(count, len(FAILURE_DELAYS_S)) - 1] if count else 0

    def refused(self, peer: Peer) -> Refused | None:
        """None when this client may try."""
        wrong = self._wrong.get(peer.key)
        if wrong is None or peer.within(self._exempt):
            return None
        now = int(self._clock())
        for most, within_s in WRONG_SECRETS:
            if len(wrong) >= most and wrong[-most] >> 32 > now - within_s:
                retry_after_s = (wrong[-most] >> 32) + within_s - now
                return Refused("too many wrong passwords from your address", retry_after_s)
        return None

    def add(self, account: str, peer: Peer, secret_hash: int = 0) -> None:
        """`secret_hash`: the same for the same wrong secret, which counts once a day.

        A device that nobody told the new password must not shut out all behind its address.
        """
        key = _failure_key(account, peer)
        self._counts[key] = (self._count(key) + 1, self._clock())
        self._counts.move_to_end(key)
        if len(self._counts) > TABLE_KEYS:
            self._counts.popitem(last=False)
        self._add_wrong(peer.key, secret_hash & 0xFFFF_FFFF)

    def forget(self, account: str, peer: Peer) -> None:
        """After a success: this account's count for this client, and no other."""
        self._counts.pop(_failure_key(account, peer), None)

    def forgive(self, peer: Peer) -> None:
        """Forgets every failure of this client."""
        self._wrong.pop(peer.key, None)
        for key in [each for each in self._counts if each[1] == peer.key]:
            del self._counts[key]

    def _count(self, key: tuple[str, str]) -> int:
        count, last = self._counts.get(key, (0, 0.0))
        return count if self._clock() - last <= FAILURES_FORGOTTEN_S else 0

    def _add_wrong(self, client: str, secret_hash: int) -> None:
        wrong = self._wrong.setdefault(client, array("Q"))
        self._wrong.move_to_end(client)
        if len(self._wrong) > TABLE_KEYS:
            self._wrong.popitem(last=False)
        now = int(self._clock())
        most, within_s = WRONG_SECRETS[-1]
        recent = [each for each in wrong if each >> 32 > now - within_s]
        if all(each & 0xFFFF_FFFF != secret_hash for each in recent):
            recent.append(now << 32 | secret_hash)
        wrong[:] = array("Q", recent[-most:])


def _failure_key(account: str, peer: Peer) -> tuple[str, str]:
    return account[:ACCOUNT_CHARACTERS], peer.key
