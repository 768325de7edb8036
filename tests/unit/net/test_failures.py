"""A client that tries one secret after the other gets no more answers for a while."""

import tracemalloc
from ipaddress import ip_network

from net.limits import Failures, Peer

ANN = Peer("192.0.2.1", 1)
BOB = Peer("192.0.2.2", 1)
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_s(failures: Failures, peer: Peer) -> int:
    refused = failures.refused(peer)
    return refused.retry_after_s if refused else 0


def test_ten_wrong_secrets_in_a_minute() -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    for number in range(10):
        assert wait_s(failures, ANN) == 0
        failures.add(f"user{number}", ANN, secret_hash=number)
        clock.now += 1
    assert wait_s(failures, ANN) == 50
    assert wait_s(failures, BOB) == 0
    clock.now += 49
    assert wait_s(failures, ANN) == 1
    clock.now += 1
    assert wait_s(failures, ANN) == 0
    failures.add("eve", ANN, secret_hash=99)
    assert wait_s(failures, ANN) == 1


def test_fifty_in_a_day() -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    for number in range(50):
        assert wait_s(failures, ANN) == 0
        failures.add("ann", ANN, secret_hash=number)
        clock.now += 60
    assert wait_s(failures, ANN) == DAY - 50 * 60
    clock.now += DAY - 50 * 60
    assert wait_s(failures, ANN) == 0


def test_the_same_wrong_secret_counts_once_a_day() -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    for _ in range(3 * DAY // 60):
        failures.add("ann", ANN, secret_hash=7)
        assert wait_s(failures, ANN) == 0
        clock.now += 60
    for number in range(10, 19):
        failures.add("ann", ANN, secret_hash=number)
    assert wait_s(failures, ANN) == 0


def test_a_network_of_the_owners_is_spared() -> None:
    failures = Failures(exempt=[ip_network("192.0.2.0/31")], clock=Clock())
    for number in range(60):
        failures.add("ann", ANN, secret_hash=number)
        failures.add("ann", BOB, secret_hash=number)
    assert wait_s(failures, ANN) == 0
    assert failures.delay_s("ann", ANN) > 0  # the delay of the account holds all the same
    assert wait_s(failures, BOB) > 0


def test_an_ipv6_network_is_one_client() -> None:
    failures = Failures(clock=Clock())
    for number in range(10):
        failures.add("ann", Peer(f"2001:db8::{number}", 1), secret_hash=number)
    assert wait_s(failures, Peer("2001:db8::99", 1)) > 0
    assert wait_s(failures, Peer("2001:db8:0:1::", 1)) == 0


def test_a_storm_of_wrong_secrets_takes_little_room() -> None:
    failures = Failures(clock=Clock())
    tracemalloc.start()
    for host in range(100):
        for number in range(60):
            failures.add("ann", Peer(f"10.0.{host >> 8}.{host & 255}", 1), secret_hash=number)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # 50 of 8 octets for each client, and its entries in two tables: objects would take 300,000.
    assert held < 150_000


def test_a_client_is_forgiven_and_no_other() -> None:
    failures = Failures(clock=Clock())
    for peer in (ANN, BOB):
        for number in range(10):
            failures.add("ann", peer, secret_hash=number)
    failures.forgive(ANN)
    assert (wait_s(failures, ANN), failures.delay_s("ann", ANN)) == (0, 0)
    assert wait_s(failures, BOB) > 0
    assert failures.delay_s("ann", BOB) > 0
