"""The rows about what is stored: large maildrops, memory, octets on disk, and growth."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial

from sqlalchemy import create_engine

from bench import cost
from bench.fill import LOGIN
from bench.load_api import Pages
from bench.ours import Restante, Wish
from bench.parties import POLLED, SECRET, Party, generate, octets_in
from bench.peers import Dovecot
from bench.rows import Measure, Row, sample
from bench.table import Figure, Sample
from bench.world import World

OF_DOVECOT = "mdbox110"  # whose maildrop is large
OCTETS = 1000  # of each message there; neither server reads them in these rows
SESSIONS = 10


def _large(world: World) -> tuple[Party, Party]:
    """Ours and Dovecot, each with a large maildrop, all of which is listed."""
    messages = world.sizes.maildrop

    def all_listed(wish: Wish) -> Wish:
        return replace(wish, listed=messages)

    server = world.filled("large", messages, all_listed)
    ours = world.once("large party", server.party)
    ours.kept[LOGIN] = messages
    peer = world.party("mdbox")
    if OF_DOVECOT not in peer.kept:
        world.dovecot().fill(OF_DOVECOT, messages, OCTETS)
        peer.kept[OF_DOVECOT] = messages
        peer.listing(OF_DOVECOT)  # it counts the octets of each message once, and remembers them
    return ours, peer


def _warm(*, listings: bool) -> Callable[[World], Mapping[str, Measure]]:
    def begin(world: World) -> Mapping[str, Measure]:
        ours, peer = _large(world)
        return {
            ours.name: partial(_listed, ours, LOGIN, listings=listings),
            peer.name: partial(_listed, peer, OF_DOVECOT, listings=listings),
        }

    return begin


def _listed(party: Party, user: str, *, listings: bool) -> Sample:
    party.listing(user, listings=listings)
    sessions = SESSIONS if listings else 10 * SESSIONS
    done = party.listing(user, sessions=sessions, listings=listings)
    return sample(done, sessions, 1000 * statistics.median(done.load.times))


def _fresh(world: World) -> Mapping[str, Measure]:
    """The first session after a start, with a secret that is cheap to check."""
    ours, peer = _large(world)
    server = world.ours("large")
    server.stop()
    secret = world.once("app password", partial(server.app_password, LOGIN))
    server.start()
    return {
        ours.name: partial(_first, server, ours, LOGIN, secret),
        peer.name: partial(_first, world.dovecot(), peer, OF_DOVECOT, SECRET),
    }


def _first(server: Restante | Dovecot, party: Party, user: str, secret: str) -> Sample:
    server.stop()
    server.start()
    party.settle()
    done = party.listing(user, secret=secret)
    return sample(done, 1, 1000 * done.load.times[0])


def _memory(world: World) -> Mapping[str, Measure]:
    """Servers that have done nothing else, so each is measured once."""
    ours = world.ours("idle").party()
    peer = world.dovecot("idle-dovecot").party("mdbox")
    return {party.name: partial(_idle, party, world.sizes.sessions) for party in (ours, peer)}


def _idle(party: Party, sessions: int) -> Sample:
    users = party.users(0, 100)
    party.poll(users, clients=4, polls=25)  # what is loaded at the first use is no session's
    before = cost.memory_kib(party.roots())
    with party.idling(users, sessions=sessions):
        party.settle()
        whole = cost.memory_kib(party.roots())
    return Sample([(whole - before) / sessions, whole / 1024])


def _disk(world: World) -> Mapping[str, Measure]:
    ours = world.ours("disk")
    peer = world.dovecot("disk-dovecot")
    kept = partial(octets_in, peer.folder / "mail")
    return {
        "Restante": partial(_stored, world, ours, ours.party(), partial(store_octets, ours)),
        "Dovecot zstd": partial(_stored, world, peer, peer.party("zstd"), kept),
    }


def _stored(
    world: World, server: Restante | Dovecot, party: Party, octets: Callable[[], int]
) -> Sample:
    count = 40 * world.sizes.many
    job = {"connections": 20, "messages": count // 20}
    server.stop()
    before = octets()
    server.start()
    first = world.numbers(count)
    party.deliver(party.users(0, 20), first=first, **job)
    party.check(party.users(0, 20), first=first, **job)
    party.settle()
    server.stop()
    after = octets()
    server.start()
    return Sample([(after - before) / count])


def store_octets(server: Restante) -> int:
    """Pages in use of our database, with all rows and indexes."""
    if not server.wish.url:
        with closing(sqlite3.connect(server.data / "restante.db")) as database:
            (size,), (pages,), (free,) = (
                database.execute(f"PRAGMA {name}").fetchone()
                for name in ("page_size", "page_count", "freelist_count")
            )
        return int(size * (pages - free))
    engine = create_engine(server.wish.url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            query = "SELECT pg_database_size(current_database())"
        else:
            names = connection.exec_driver_sql("SHOW TABLES").scalars().all()
            connection.exec_driver_sql("ANALYZE TABLE " + ", ".join(names)).all()
            query = (
                "SELECT sum(data_length + index_length) FROM information_schema.tables"
                " WHERE table_schema = database()"
            )
        found = int(connection.exec_driver_sql(query).scalar_one())
    engine.dispose()
    return found


def _grown(
    measure: Callable[[World, Restante, Party], Sample],
) -> Callable[[World], Mapping[str, Measure]]:
    """Ours with many messages stored as the first, ours with few as the other."""

    def begin(world: World) -> Mapping[str, Measure]:
        found: dict[str, Measure] = {}
        for messages in (world.sizes.large, world.sizes.small):
            server = world.filled(f"grown{messages}", messages, lambda wish: wish)
            name = f"{messages:,} stored"
            party = world.once(name, partial(server.party, name))
            party.kept.setdefault(LOGIN, messages)
            found[name] = partial(measure, world, server, party)
        return found

    return begin


def _grown_ingest(world: World, _server: Restante, party: Party) -> Sample:
    count = 20 * world.sizes.many
    job = {"connections": 20, "messages": world.sizes.many, "first": world.numbers(count)}
    cost = party.deliver([LOGIN], **job)
    return sample(cost, count, count / cost.load.seconds)


def _grown_poll(world: World, _server: Restante, party: Party) -> Sample:
    polls = 2 * world.sizes.many
    shown = replace(party, kept={LOGIN: min(party.kept[LOGIN], Wish().listed)})
    shown.poll([LOGIN], clients=1, polls=1)
    cost = shown.poll([LOGIN], clients=POLLED, polls=polls)
    return sample(cost, POLLED * polls, POLLED * polls / cost.load.seconds)


def _grown_page(world: World, server: Restante, party: Party) -> Sample:
    count = 4 * world.sizes.many
    token = world.once(f"token of {party.name}", partial(server.token, LOGIN))
    job = Pages(server.http, token, count)
    cost = party.measured(lambda: generate("load_api", job))
    return sample(cost, count, count / cost.load.seconds)


ROWS = [
    Row(
        "stat-large",
        (Figure("login, STAT, 100,000 messages, warm", "ms", 50),),
        _warm(listings=False),
    ),
    Row(
        "list-large",
        (Figure("STAT, LIST, UIDL of 100,000, warm", "ms", 6),),
        _warm(listings=True),
    ),
    Row(
        "list-fresh",
        (Figure("STAT, LIST, UIDL of 100,000, fresh process", "ms", 1),),
        _fresh,
    ),
    Row(
        "memory",
        (
            Figure("memory of an idle TLS session", "KiB", 25),
            Figure("memory of the whole server at 1,000", "MiB", 6),
        ),
        _memory,
        at_most=1,
    ),
    Row(
        "disk",
        (Figure("on disk, a text message of 4 KB", "octets", 1),),
        _disk,
        at_most=1,
    ),
    Row(
        "growth-ingest",
        (Figure("growth: ingest 4 KB, 20 connections", "/s", 0.85),),
        _grown(_grown_ingest),
    ),
    Row("growth-poll", (Figure("growth: poll", "/s", 0.85),), _grown(_grown_poll)),
    Row("growth-page", (Figure("growth: page of 50", "/s", 0.85),), _grown(_grown_page)),
]
