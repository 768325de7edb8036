"""The rows about mail that comes in and goes out: deliveries, downloads, polls."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.ours import Wish
from bench.parties import POLLED, Cost, Party
from bench.table import Figure, Sample
from bench.world import World
from tests.nameserver import nameserver

Measure = Callable[[], Sample]
KB4, KB100 = 4096, 100_000
FETCHERS = 4  # maildrops that are fetched at the same time, users 100 to 103 and 104 to 107
POLLS = 50  # of each client in a round
ZONE = {
    "example.net": (("TXT", '"v=spf1 include:_spf.example.net -all"'),),
    "_spf.example.net": (("TXT", '"v=spf1 ip4:127.0.0.0/8 -all"'),),
    "client.example.net": (("TXT", '"v=spf1 ip4:127.0.0.0/8 -all"'),),
    "_dmarc.example.net": (("TXT", '"v=DMARC1; p=reject"'),),
}


@dataclass(frozen=True, slots=True)
class Row:
    """`begin` makes everything ready, and says how each server is measured once: ours first,
    then the peer of the targets, then others."""

    name: str
    figures: tuple[Figure, ...]
    begin: Callable[[World], Mapping[str, Measure]]
    at_most: int = 99  # rounds


def sample(cost: Cost, operations: int, *values: float) -> Sample:
    each = 1000 / operations
    return Sample(values, cost.server_s * each, cost.load.cpu_s * each)


def percentile99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def _delivered(world: World, party: Party, job: dict[str, Any], *, slowest: bool) -> Sample:
    """One round of deliveries, each letter looked at afterwards."""
    count = job["connections"] * job.get("sessions", 1) * job.get("messages", 1)
    users = party.users(0, job["connections"])
    job = job | {"first": world.numbers(count)}
    cost = party.deliver(users, **job)
    party.check(users, **job)
    values = [count / cost.load.seconds]
    if slowest:
        values.append(1000 * percentile99(cost.load.times))
    return sample(cost, count, *values)


def _ingest(
    peers: list[str], job: Callable[[World], dict[str, Any]], *, slowest: bool = False
) -> Callable[[World], Mapping[str, Measure]]:
    def begin(world: World) -> Mapping[str, Measure]:
        parties = [world.party(kind) for kind in ["ours", *peers]]
        return {
            party.name: partial(_delivered, world, party, job(world), slowest=slowest)
            for party in parties
        }

    return begin


def _download(octets: int, peers: list[str]) -> Callable[[World], Mapping[str, Measure]]:
    first = 100 if octets == KB4 else 104

    def begin(world: World) -> Mapping[str, Measure]:
        each = world.sizes.many * (5 if octets == KB4 else 1)
        found = {}
        for party in [world.party(kind) for kind in ["ours", *peers]]:
            users = party.users(first, first + FETCHERS)
            count = FETCHERS * each
            start = world.numbers(count)
            job = {"connections": FETCHERS, "messages": each, "octets": octets, "first": start}
            party.deliver(users, **job)
            drops = [
                (user, party.kept[user] - each, [(start + n * each, start + (n + 1) * each)])
                for n, user in enumerate(users)
            ]
            party.fetch(drops, octets=octets)  # once, for what servers remember of messages
            found[party.name] = partial(_fetched, party, drops, octets, count)
        return found

    return begin


def _fetched(
    party: Party,
    drops: list[tuple[str, int, list[tuple[int, int]]]],
    octets: int,
    count: int,
) -> Sample:
    passes = 4
    cost = party.fetch(drops, octets=octets, passes=passes)
    done = passes * count
    served = done if octets == KB4 else done * octets / 1e6
    return sample(cost, done, served / cost.load.seconds)


def _poll(peers: list[str], polls: dict[str, int]) -> Callable[[World], Mapping[str, Measure]]:
    def begin(world: World) -> Mapping[str, Measure]:
        found = {}
        for party in [world.party(kind) for kind in ["ours", *peers]]:
            users = party.users(0, POLLED)
            job = {"connections": POLLED, "messages": 5, "first": world.numbers(5 * POLLED)}
            party.deliver(users, **job)
            each = polls.get(party.kind, POLLS * world.sizes.many // 50)
            found[party.name] = partial(_polled, party, users, each)
        return found

    return begin


def _polled(party: Party, users: list[str], each: int) -> Sample:
    party.poll(users, clients=POLLED, polls=1)  # they return: their first sign-in is not measured
    cost = party.poll(users, clients=POLLED, polls=each)
    done = POLLED * each
    return sample(cost, done, done / cost.load.seconds)


def _verified(world: World) -> Mapping[str, Measure]:
    """SPF with an include, and DMARC; `bench/verify.py` says what signatures cost."""
    dns = world.once("nameserver", partial(world.keep, nameserver(ZONE)))
    dns.ttl = 3600

    def on(wish: Wish) -> Wish:
        return replace(wish, verify=True, resolver=str(dns.endpoint))

    verifying = world.ours("verifying", on).party("Restante that verifies")
    job = {"connections": 20, "messages": world.sizes.many}
    return {
        party.name: partial(_delivered, world, party, job, slowest=False)
        for party in (verifying, replace(world.party("ours"), name="Restante that does not"))
    }


LMTP = ["mdbox", "maildir"]

ROWS = [
    Row(
        "ingest-1x1",
        (Figure("ingest 4 KB, 1 connection, 1 message each", "/s", 2.5),),
        _ingest(
            ["postfix", "mdbox"], lambda world: {"connections": 1, "sessions": 2 * world.sizes.many}
        ),
    ),
    Row(
        "ingest-20",
        (Figure("ingest 4 KB, 20 connections, many messages", "/s", 6),),
        _ingest(
            [*LMTP, "postfix"], lambda world: {"connections": 20, "messages": world.sizes.many}
        ),
    ),
    Row(
        "ingest-100x1",
        (Figure("ingest 4 KB, 100 connections, 1 message each", "/s", 8),),
        _ingest(
            [*LMTP, "postfix"],
            lambda world: {"connections": 100, "sessions": world.sizes.many // 10},
        ),
    ),
    Row(
        "ingest-100",
        (
            Figure("ingest 4 KB, 100 connections, many messages", "/s", 8),
            Figure("p99 of one delivery among them", "ms", 6),
        ),
        _ingest(
            LMTP,
            lambda world: {"connections": 100, "messages": world.sizes.many * 2 // 5},
            slowest=True,
        ),
    ),
    Row(
        "ingest-100kb",
        (Figure("ingest 100 KB, 20 connections", "/s", 3),),
        _ingest(
            [*LMTP, "postfix"],
            lambda world: {
                "connections": 20,
                "messages": world.sizes.many * 2 // 5,
                "octets": KB100,
            },
        ),
    ),
    Row(
        "ingest-starttls",
        (Figure("ingest 4 KB, STARTTLS, 20 connections, 1 each", "/s", 2.2),),
        _ingest(
            ["postfix"],
            lambda world: {"connections": 20, "sessions": world.sizes.many // 5, "tls": True},
        ),
    ),
    Row(
        "verification",
        (Figure("ingest 4 KB, 20 connections, with verification", "/s"),),
        _verified,
    ),
    Row(
        "download-4kb",
        (Figure("download 4 KB, TLS", "/s", 2),),
        _download(KB4, LMTP),
    ),
    Row(
        "download-100kb",
        (Figure("download 100 KB, TLS", "MB/s", 1.6),),
        _download(KB100, LMTP),
    ),
    Row(
        "poll",
        (Figure("poll, TLS, remembered login / PLAIN", "/s", 1.7),),
        _poll(LMTP, {}),
    ),
    Row(
        "poll-bcrypt",
        (Figure("poll, TLS, bcrypt 12, returning user", "/s", 150),),
        _poll(["bcrypt"], {"bcrypt": 3}),
    ),
]
