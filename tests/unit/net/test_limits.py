"""Limits: every bound is exact, and what one client does is felt by no other."""

import asyncio
import tracemalloc
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.limits import (
    TABLE_KEYS,
    Allowance,
    Connections,
    Failures,
    Network,
    OctetBudget,
    Peer,
    Refused,
    Streak,
)

ANN = Peer("192.0.2.1", 4000)
BOB = Peer("192.0.2.2", 4000)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def networks(*texts: str) -> list[Network]:
    return [ip_network(text) for text in texts]


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),  # by an IPv6 socket
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ],
)
def test_clients_count_by_address_or_by_their_64(ip: str, key: str) -> None:
    assert Peer(ip, 1).key == key


@pytest.mark.parametrize(
    ("sockname", "peer"),
    [
        (("192.0.2.1", 4000), Peer("192.0.2.1", 4000)),
        (("2001:db8::1", 4000, 0, 0), Peer("2001:db8::1", 4000)),
        (("fe80::1%eth0", 4000, 0, 2), Peer("fe80::1", 4000)),
        (None, Peer("0.0.0.0", 0)),
        ("", Peer("0.0.0.0", 0)),
    ],
)
def test_peers_of_sockets(sockname: object, peer: Peer) -> None:
    assert Peer.of(sockname) == peer


@pytest.mark.parametrize(
    ("ip", "within"),
    [
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("2001:db8::5", True),
        ("128.0.0.1", False),
        ("2001:db9::1", False),
        ("::1", False),
    ],
)
def test_networks(ip: str, *, within: bool) -> None:
    assert Peer(ip, 1).within(networks("127.0.0.0/8", "2001:db8::/32")) == within


def test_a_total_over_all_clients() -> None:
    connections = Connections(total=2, clock=Clock())
    assert connections.take(ANN) is None
    assert connections.take(BOB) is None
    assert connections.open == 2
    assert isinstance(connections.take(Peer("192.0.2.3", 1)), Refused)
    assert connections.open == 2
    connections.release(ANN)
    assert connections.open == 1
    assert connections.take(BOB) is None


def test_a_share_for_each_client() -> None:
    connections = Connections(total=100, per_client=2, clock=Clock())
    assert connections.take(ANN) is None
    assert connections.take(Peer(f"::ffff:{ANN.ip}", 5)) is None
    refused = connections.take(ANN)
    assert refused is not None
    assert refused.retry_after_s > 0
    assert connections.take(BOB) is None  # another client's share is untouched
    connections.release(Peer(ANN.ip, 9))  # ports make no difference
    assert connections.take(ANN) is None
    assert connections.take(ANN) is not None


def test_an_ipv6_network_is_one_client() -> None:
    connections = Connections(total=100, per_client=2, clock=Clock())
    assert connections.take(Peer("2001:db8:1:2::1", 1)) is None
    assert connections.take(Peer("2001:db8:1:2:ffff::1", 1)) is None
    assert connections.take(Peer("2001:db8:1:2:3::1", 1)) is not None
    assert connections.take(Peer("2001:db8:1:3::1", 1)) is None


def test_all_clients_of_an_ipv6_48_share_four_and_a_half_shares() -> None:
    connections = Connections(total=1000, per_client=20, clock=Clock())
    peers = [Peer(f"2001:db8:1:{net:x}::1", 1) for net in range(5) for _ in range(20)]
    taken = [peer for peer in peers if connections.take(peer) is None]
    assert len(taken) == 90
    assert connections.take(Peer("2001:db8:2::1", 1)) is None
    for peer in taken:
        connections.release(peer)
    assert [connections.take(peer) for peer in peers[:90]] == [None] * 90


def test_who_comes_at_more_than_twice_the_rate_is_not_told_any_more() -> None:
    clock = Clock()
    connections = Connections(total=1000, per_minute=3, clock=clock)
    came = [connections.take(ANN) for _ in range(8)]
    assert came[:3] == [None] * 3
    assert [refused.silent for refused in came[3:] if refused] == [False] * 3 + [True] * 2
    other = connections.take(BOB)
    assert other is None
    clock.now += 60
    assert connections.take(ANN) is None


def test_exempt_networks_count_in_the_total_only() -> None:
    connections = Connections(
        total=3, per_client=1, per_minute=1, exempt=networks("192.0.2.1/32"), clock=Clock()
    )
    for _ in range(3):
        assert connections.take(ANN) is None
    assert connections.open == 3
    assert connections.take(ANN) is not None
    assert connections.take(BOB) is not None


def test_an_exempt_client_uses_nothing_of_its_neighbours() -> None:
    connections = Connections(
        total=9, per_client=1, exempt=networks("2001:db8::1/128"), clock=Clock()
    )
    assert connections.take(Peer("2001:db8::1", 1)) is None
    assert connections.take(Peer("2001:db8::2", 1)) is None  # of the same /64
    connections.release(Peer("2001:db8::1", 1))
    assert connections.take(Peer("2001:db8::2", 1)) is not None


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.3, 20.0, 60.0]), st.booleans())),
    st.integers(1, 4),
)
def test_the_rate_is_an_exact_moving_window(steps: list[tuple[float, bool]], limit: int) -> None:
    clock = Clock()
    connections = Connections(total=1000, per_minute=limit, clock=clock)
    admitted: dict[Peer, list[float]] = {ANN: [], BOB: []}
    for seconds, whose in steps:
        clock.now += seconds
        peer = ANN if whose else BOB
        counted = [at for at in admitted[peer] if at > clock.now - 60]
        refused = connections.take(peer)
        if len(counted) < limit:
            assert refused is None
            admitted[peer].append(clock.now)
            connections.release(peer)  # a rate forgets no connection that has ended
        else:
            assert refused is not None
            # The first whole second at which another try is let in.
            free = counted[0] + 60 - clock.now
            assert free <= refused.retry_after_s < free + 1


def test_what_is_admitted_and_released_balances() -> None:
    connections = Connections(total=5, per_client=3, clock=Clock())
    for _ in range(100):
        taken = [peer for peer in (ANN, ANN, ANN, ANN, BOB, BOB) if connections.take(peer) is None]
        assert len(taken) == connections.open == 5
        for peer in taken:
            connections.release(peer)
        assert connections.open == 0


def test_the_table_of_rates_forgets_who_was_not_seen_for_longest() -> None:
    connections = Connections(total=2 * TABLE_KEYS, per_minute=1, clock=Clock())

    def admitted(peer: Peer) -> bool:
        return connections.take(peer) is None

    def others(number: int, first: int) -> None:
        for host in range(first, first + number):
            assert admitted(Peer(f"10.{host >> 16}.{host >> 8 & 255}.{host & 255}", 1))

    assert admitted(ANN)
    assert admitted(BOB)
    others(TABLE_KEYS - 2, first=0)
    assert not admitted(ANN)  # the table is full; ann was seen again
    others(1, first=TABLE_KEYS)
    assert not admitted(ANN)
    assert admitted(BOB)


def test_octets_of_the_budget() -> None:
    budget = OctetBudget(100)
    assert budget.take(60)
    assert not budget.take(41)  # nothing is taken then
    assert budget.take(40)
    assert budget.take(0)
    assert not budget.take(1)
    budget.give(10)
    assert not budget.take(11)
    assert budget.take(10)


def test_failures_make_the_next_try_later_and_lock_nobody() -> None:
    failures = Failures(clock=Clock())
    delays = []
    for _ in range(8):
        delays.append(failures.delay_s("ann", ANN))
        failures.add("ann", ANN)
    assert delays[:2] == [0, 0]  # everybody mistypes once
    assert delays == sorted(delays)
    assert 0 < delays[-1] <= 10


def test_failures_count_for_one_account_and_one_client() -> None:
    failures = Failures(clock=Clock())
    for _ in range(3):
        failures.add("ann", ANN)
        failures.add("bob", ANN)
    assert failures.delay_s("ann", BOB) == 0  # an owner is not locked out by a stranger
    assert failures.delay_s("eve", ANN) == 0
    failures.forget("ann", ANN)
    assert failures.delay_s("ann", ANN) == 0
    assert failures.delay_s("bob", ANN) > 0
    failures.forget("eve", ANN)  # nothing to forget


def test_failures_count_for_an_ipv6_network() -> None:
    failures = Failures(clock=Clock())
    for host in range(3):
        failures.add("ann", Peer(f"2001:db8::{host}", 1))
    assert failures.delay_s("ann", Peer("2001:db8::99", 1)) > 0
    assert failures.delay_s("ann", Peer("2001:db8:0:1::", 1)) == 0


def test_old_failures_are_forgotten_for_good() -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    for _ in range(10):
        failures.add("ann", ANN)
    clock.now += 900
    assert failures.delay_s("ann", ANN) > 0
    clock.now += 1
    assert failures.delay_s("ann", ANN) == 0
    failures.add("ann", ANN)  # the first of a new count
    assert failures.delay_s("ann", ANN) == 0


def test_the_table_of_failures_forgets_who_did_not_fail_for_longest() -> None:
    failures = Failures(clock=Clock())
    for account in ("ann", "bob", "bob", "ann"):
        failures.add(account, ANN)
    for number in range(TABLE_KEYS - 1):
        failures.add(f"user{number}", ANN)
    assert failures.delay_s("ann", ANN) > 0
    assert failures.delay_s("bob", ANN) == 0


def test_names_that_a_stranger_makes_up_take_little_room() -> None:
    failures = Failures(clock=Clock())
    tracemalloc.start()
    for number in range(1000):
        failures.add(f"{number}" + "x" * 10_000, ANN)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 1_000_000


async def test_an_allowance_is_refilled_an_hour_after_its_end() -> None:
    clock = Clock()
    allowance = Allowance(3, "too many", clock=clock)
    allowance.take(ANN)
    clock.now += 1800
    allowance.take(ANN)
    assert await allowance.admit(ANN) is None
    allowance.take(ANN)
    assert allowance.wait_s(ANN) == 3600
    assert await allowance.admit(ANN) == Refused("too many", 3600)
    assert await allowance.admit(BOB) is None
    allowance.take(ANN, 100)  # what was on its way makes it no longer
    clock.now += 3599.5
    assert allowance.wait_s(ANN) == 1
    clock.now += 0.5
    assert allowance.wait_s(ANN) == 0
    allowance.take(ANN, 2)
    assert allowance.wait_s(ANN) == 0
    allowance.take(ANN)
    assert allowance.wait_s(ANN) == 3600


def test_what_was_taken_of_an_allowance_is_forgotten_after_an_hour() -> None:
    clock = Clock()
    allowance = Allowance(3, "too many", clock=clock)
    for _ in range(10):
        allowance.take(ANN, 2)
        assert allowance.wait_s(ANN) == 0
        clock.now += 3600


def test_an_ipv6_client_has_one_allowance_for_its_64() -> None:
    allowance = Allowance(1, "too many", clock=Clock())
    allowance.take(Peer("2001:db8::1", 1))
    assert allowance.wait_s(Peer("2001:db8::2", 2)) > 0
    assert allowance.wait_s(Peer("2001:db8:0:1::1", 1)) == 0


def test_the_table_of_allowances_forgets_who_was_not_seen_for_longest() -> None:
    allowance = Allowance(1, "too many", clock=Clock())
    allowance.take(ANN)
    for number in range(TABLE_KEYS):
        assert allowance.wait_s(ANN) > 0
        allowance.take(Peer(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1))
    assert allowance.wait_s(ANN) == 0
    assert allowance.wait_s(Peer("10.0.0.0", 1)) > 0


async def test_octets_are_given_in_turn() -> None:
    budget = OctetBudget(10)
    assert budget.take(6)
    large = asyncio.create_task(budget.take_in_turn(8))
    small = asyncio.create_task(budget.take_in_turn(2))
    await asyncio.sleep(0)
    assert not large.done()
    assert not small.done()  # there is room for it, but it is not its turn
    budget.give(6)
    await asyncio.gather(large, small)
    assert not budget.take(1)


async def test_who_stops_waiting_for_octets_holds_up_nobody_and_holds_nothing() -> None:
    budget = OctetBudget(10)
    assert budget.take(6)
    large = asyncio.create_task(budget.take_in_turn(8))
    small = asyncio.create_task(budget.take_in_turn(2))
    await asyncio.sleep(0)
    large.cancel()
    await small
    last = asyncio.create_task(budget.take_in_turn(8))
    await asyncio.sleep(0)
    budget.give(8)
    last.cancel()  # in the turn of the loop in which it was served
    await asyncio.wait({last})
    assert budget.take(10)


async def test_it_is_known_how_often_one_client_came_in_a_row_and_was_refused() -> None:
    limit = Connections(total=9, per_client=2, exempt=networks("198.51.100.0/24"), clock=Clock())
    assert (await limit.streak()).times == 0
    limit.take(BOB)
    for _ in range(3):
        limit.take(ANN)
    limit.take(Peer("198.51.100.1", 1))  # a proxy that is known for one
    assert await limit.streak() == Streak("192.0.2.1", 3, 1)
    limit.take(BOB)
    assert await limit.streak() == Streak("192.0.2.2", 1, 0)
