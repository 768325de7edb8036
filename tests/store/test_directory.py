"""What mail to an address reaches, on each engine, and how soon a change of it counts."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath

import pytest
from sqlalchemy import Connection, create_engine

from mail.address import Address, Path, parse_domain
from mail.errors import BadName, InUse, NameTaken, NotFound, NotPermitted, StorageBusy
from store import directory
from store.directory import FRESH_S, NAMES, Directory, Reach
from store.records import AddressState, Role
from store.store import Store
from tests.databases import Database
from tests.store.conftest import Filled, opened_at, populate
from tests.waiting import until

NOBODY = Reach(ours=True)
ELSEWHERE = Reach(ours=False)
EXAMPLE = parse_domain("example.test")


def address(text: str) -> Address:
    return Address.parse(text)


async def reach(store: Store, text: str) -> tuple[int, ...]:
    found = await store.directory.find(address(text).folded)
    assert found.ours
    return found.maildrops


async def add_admin(store: Store, login: str = "root") -> int:
    return (await store.accounts.add(login, f"hash of {login}", role=Role.ADMIN)).maildrop_id


async def test_only_whole_names_are_found(filled: Filled) -> None:
    store = filled.store
    assert await reach(store, "ann@example.test") == (filled.ann,)
    assert await reach(store, "ANN@Example.TEST") == (filled.ann,)
    assert await reach(store, '"ann"@example.test') == (filled.ann,)
    for text in (
        "an@example.test",
        "annn@example.test",
        '"ann "@example.test',
        "ann%@example.test",
    ):
        assert await reach(store, text) == (), text
    for text in ("ann@example.org", "ann@sub.example.test", "ann@test", "ann@xexample.test"):
        assert await store.directory.find(address(text)) == ELSEWHERE, text


async def test_quoted_and_international_names(filled: Filled) -> None:
    store = filled.store
    await store.domains.add(parse_domain("bücher.test"))
    for text in ('"John Smith"@example.test', "René@bücher.test"):
        await store.domains.add_address(address(text), "ann")
    for text in (
        *('"john smith"@example.test', r'"JOHN\ SMITH"@example.test'),
        *("rené@xn--bcher-kva.test", "RENE\u0301@BÜCHER.test", '"rené"@bücher.test'),
    ):
        assert await reach(store, text) == (filled.ann,), text
    assert await reach(store, "rene@bücher.test") == ()
    with pytest.raises(NameTaken):
        await store.domains.add_address(address("rene\u0301@xn--bcher-kva.test"), "eve")


async def test_a_group_reaches_each_of_its_users(filled: Filled) -> None:
    store = filled.store
    made = await store.domains.add_address(address("Team@example.test"), "eve", "ann", "ann")
    assert made.to == ("ann", "eve")
    both = tuple(sorted((filled.ann, filled.eve)))
    assert await reach(store, "team@example.test") == both
    for login in ("ann", "eve"):
        mine = [str(each.address) for each in await store.domains.addresses(login)]
        assert mine == [f"{login}@example.test", "Team@example.test"]
    # What is nobody's own signs nobody in.
    assert await store.accounts.for_sign_in("team@example.test") is None
    await store.domains.change_address(address("team@example.test"), to=("ann",))
    assert await reach(store, "team@example.test") == (filled.ann,)
    changed = await store.domains.change_address(address("team@example.test"), to=("ann", "eve"))
    assert changed.id == made.id
    assert await reach(store, "team@example.test") == both
    await store.domains.remove_address(address("team@example.test"))
    assert await reach(store, "team@example.test") == ()
    assert not filled.sql("SELECT * FROM address_target")


async def test_who_leaves_leaves_groups_and_catch_alls(filled: Filled) -> None:
    store = filled.store
    await store.domains.add_address(address("team@example.test"), "ann", "eve")
    await store.domains.change(EXAMPLE, catch_all="ann")
    await store.accounts.close("ann")
    assert await reach(store, "team@example.test") == (filled.eve,)
    assert await reach(store, "anything@example.test") == ()
    assert (await store.domains.get(EXAMPLE)).catch_all is None
    await store.accounts.close("eve")
    assert await reach(store, "team@example.test") == ()
    assert await store.domains.addresses() == []
    assert await store.domains.remove(EXAMPLE, force=False) == 0


async def test_sub_addresses(filled: Filled) -> None:
    store = filled.store
    assert await reach(store, "ann+shop@example.test") == (filled.ann,)
    assert await reach(store, "Ann+a+b@example.test") == (filled.ann,)
    assert await reach(store, "ann+@example.test") == (filled.ann,)
    for text in ("+ann@example.test", "ann-shop@example.test", "shop+ann@example.test"):
        assert await reach(store, text) == (), text
    # An address that exists goes first, and of several the longest.
    await store.domains.add_address(address("ann+shop@example.test"), "eve")
    assert await reach(store, "ann+shop@example.test") == (filled.eve,)
    assert await reach(store, "ann+shop+x@example.test") == (filled.eve,)
    assert await reach(store, "ann+shops@example.test") == (filled.ann,)
    await store.domains.change_address(address("ann+shop@example.test"), state=AddressState.CLOSED)
    assert await reach(store, "ann+shop@example.test") == ()
    assert await reach(store, "ann+shop+x@example.test") == ()
    await store.domains.change(EXAMPLE, plus="-_")
    assert await reach(store, "ann-a_b@example.test") == (filled.ann,)
    assert await reach(store, "ann+x@example.test") == ()
    await store.domains.change(EXAMPLE, plus="")
    assert await reach(store, "ann-x@example.test") == ()
    for separators in ("a", "+ ", "++", "@", "%", "!", "\n", "+-_=.+"):
        with pytest.raises(BadName):
            await store.domains.change(EXAMPLE, plus=separators)


async def test_a_closed_address_is_refused_even_under_a_catch_all(filled: Filled) -> None:
    store = filled.store
    await store.domains.change(EXAMPLE, catch_all="eve")
    assert await reach(store, "anything@example.test") == (filled.eve,)
    assert await reach(store, '""@example.test') == (filled.eve,)
    assert await reach(store, "ann@example.test") == (filled.ann,)
    await store.domains.change_address(address("ann@example.test"), state=AddressState.CLOSED)
    for text in ("ann@example.test", "ANN@example.test", "ann+tag@example.test"):
        assert await reach(store, text) == (), text
    assert await reach(store, "ann-tag@example.test") == (filled.eve,)
    await store.domains.change_address(address("ann@example.test"), state=AddressState.OPEN)
    assert await reach(store, "ann@example.test") == (filled.ann,)
    await store.domains.change(EXAMPLE, catch_all=None)
    assert await reach(store, "anything@example.test") == ()


async def test_an_alias_has_the_addresses_of_its_domain(filled: Filled) -> None:
    store, domains = filled.store, filled.store.domains
    alias, other = parse_domain("alias.test"), parse_domain("other.test")
    made = await domains.add(alias, alias_of=EXAMPLE)
    assert (made.alias_of, made.name) == (EXAMPLE, alias)
    for text in ("ann@alias.test", "ann+x@ALIAS.test"):
        assert await reach(store, text) == (filled.ann,), text
    await domains.change(EXAMPLE, catch_all="eve")
    assert await reach(store, "anything@alias.test") == (filled.eve,)
    found = await store.accounts.for_sign_in("ann@alias.test")
    assert found
    assert found[0].maildrop_id == filled.ann
    with pytest.raises(BadName):  # an address of its own would be reached by nothing
        await domains.add_address(address("shop@alias.test"), "ann")
    with pytest.raises(BadName):  # chains
        await domains.add(other, alias_of=alias)
    with pytest.raises(BadName):
        await domains.change(alias, alias_of=alias)
    with pytest.raises(NotFound):
        await domains.add(other, alias_of=parse_domain("missing.test"))
    assert [each.name for each in await domains.all()] == [alias, EXAMPLE]
    await domains.add(other)
    with pytest.raises(InUse):  # it has addresses, and an alias
        await domains.change(EXAMPLE, alias_of=other)
    with pytest.raises(InUse, match="2 addresses and 1 aliases"):
        await domains.remove(EXAMPLE, force=False)
    await domains.change(alias, alias_of=None)
    assert await reach(store, "ann@alias.test") == ()
    await domains.change(alias, alias_of=EXAMPLE)
    await domains.remove(EXAMPLE, force=True)
    assert [each.name for each in await domains.all()] == [other]


async def test_postmaster_and_abuse_reach_an_administrator(filled: Filled) -> None:
    # RFC 5321 section 4.5.1, RFC 2142 section 4
    store = filled.store
    bare = Path.read("<POSTMASTER>")[0].address
    assert bare
    assert await store.directory.find(bare.folded) == NOBODY  # there is no administrator yet
    root = await add_admin(store)
    other = await add_admin(store, "other")
    await store.domains.add(parse_domain("example.org"))
    await store.domains.change(EXAMPLE, catch_all="eve")
    for text in (
        "postmaster@example.test",
        "Abuse@example.test",
        "dmarc@example.org",
        "tlsrpt@example.org",
    ):
        assert await reach(store, text) == (root,), text
    assert (await store.directory.find(bare.folded)).maildrops == (root,)
    # The domain's own comes before the first.
    await store.domains.add_address(address("other@example.org"), "other")
    assert await reach(store, "postmaster@example.org") == (other,)
    assert await reach(store, "postmaster@example.test") == (root,)
    # Made otherwise
    await store.domains.add_address(address("Postmaster@example.test"), "ann", "eve")
    assert await reach(store, "postmaster@example.test") == tuple(sorted((filled.ann, filled.eve)))
    with pytest.raises(NotPermitted):
        await store.domains.change_address(
            address("postmaster@example.test"), state=AddressState.CLOSED
        )
    await store.domains.add_address(address("abuse@example.org"), "ann")
    await store.domains.change_address(address("abuse@example.org"), state=AddressState.CLOSED)
    assert await reach(store, "abuse@example.org") == ()
    await store.accounts.close("root")
    assert (await store.directory.find(bare.folded)).maildrops == (other,)


async def test_what_cannot_be_changes_nothing(filled: Filled) -> None:
    domains = filled.store.domains
    before = await domains.all(), await domains.addresses()
    unknown, new = parse_domain("example.org"), address("new@example.test")
    for attempt, kind in (
        (domains.change(EXAMPLE, catch_all="nobody", plus=""), NotFound),
        (domains.change(unknown, plus=""), NotFound),
        (domains.get(unknown), NotFound),
        (domains.add(unknown, catch_all="nobody"), NotFound),
        (domains.add_address(new), BadName),
        (domains.add_address(new, "ann", "nobody"), NotFound),
        (domains.change_address(new, note="x"), NotFound),
        (domains.change_address(address("ann@example.test"), to=()), BadName),
        (domains.change_address(address("ann@example.test"), note="x", to=("nobody",)), NotFound),
        (domains.remove_address(new), NotFound),
        (domains.address(1), NotFound),
    ):
        with pytest.raises(kind):
            await attempt
    assert (await domains.all(), await domains.addresses()) == before


async def test_settings_not_given_stay(filled: Filled) -> None:
    domains, ann = filled.store.domains, address("ann@example.test")
    await domains.change(EXAMPLE, catch_all="ann", plus="-")
    assert (await domains.change(EXAMPLE)).catch_all == "ann"
    changed = await domains.change(EXAMPLE, catch_all="eve")
    assert (changed.catch_all, changed.plus) == ("eve", "-")
    alias = await domains.change_address(ann, note="hello")
    closed = await domains.change_address(ann, state=AddressState.CLOSED)
    assert closed == replace(alias, state=AddressState.CLOSED)
    assert await domains.address(alias.id) == await domains.address(ann) == closed


class Elapsed:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def two_processes(
    url: str, filled: Filled
) -> AsyncIterator[tuple[Store, Directory, Elapsed]]:
    """A second store on the same database, and a directory of it with a clock of the test's."""
    second = opened_at(url)
    elapsed = Elapsed()
    try:
        yield (
            filled.store,
            Directory(second._database, second._writer, elapsed=elapsed),  # noqa: SLF001
            elapsed,
        )
    finally:
        second.close()


ANN = Address("ann", EXAMPLE)


async def test_a_change_elsewhere_counts_within_a_second(
    server: Database, tmp_path: FilePath
) -> None:
    url = server.url("directory")
    filled = await populate(opened_at(url), tmp_path, url)
    try:
        async with two_processes(url, filled) as (here, there, elapsed):
            assert (await there.find(ANN)).maildrops == (filled.ann,)
            for number in range(3):
                state = AddressState.OPEN if number % 2 else AddressState.CLOSED
                before = await there.find(ANN)
                await here.domains.change_address(ANN, state=state)
                elapsed.now += FRESH_S * 0.99
                assert await there.find(ANN) == before  # from memory
                elapsed.now += FRESH_S * 0.01
                assert await there.find(ANN) != before
                assert await there.find(ANN) == await here.directory.find(ANN)
            # A look-up of another name tells as well.
            await here.domains.remove(EXAMPLE, force=True)
            await there.find(Address("eve", EXAMPLE))
            assert await there.find(ANN) == ELSEWHERE
    finally:
        filled.store.close()


async def test_while_the_database_is_gone_nobody_is_answered_from_memory(
    server: Database, tmp_path: FilePath
) -> None:
    url = server.url("directory")
    filled = await populate(opened_at(url), tmp_path, url)
    try:
        async with two_processes(url, filled) as (_, there, elapsed):
            known = await there.find(ANN)
            server.stop()
            try:
                elapsed.now += FRESH_S * 0.99
                assert await there.find(ANN) == known
                elapsed.now += FRESH_S * 0.01
                with pytest.raises(StorageBusy):
                    await there.find(ANN)
            finally:
                server.start()
            assert await there.find(ANN) == known
    finally:
        filled.store.close()


async def test_each_change_raises_the_row_in_its_own_transaction(filled: Filled) -> None:
    domains, accounts = filled.store.domains, filled.store.accounts
    seen = set()

    def value() -> str:
        [(found,)] = filled.sql("SELECT value FROM store_fact WHERE name = 'directory'")
        return str(found)

    seen.add(value())
    new = parse_domain("example.org")
    for change in (
        domains.add(new),
        domains.change(new, plus="-"),
        domains.add_address(address("ann@example.org"), "ann"),
        domains.change_address(address("ann@example.org"), state=AddressState.CLOSED),
        domains.remove_address(address("ann@example.org")),
        domains.remove(new, force=False),
        accounts.add("root", "hash", role=Role.USER),
        accounts.close("root"),
    ):
        await change
        assert value() not in seen
        seen.add(value())
    before = value()
    with pytest.raises(NotFound):
        await domains.remove(new, force=False)
    assert value() == before


async def test_two_processes_may_make_the_row_at_one_moment(
    postgresql: Database, tmp_path: FilePath
) -> None:
    url = postgresql.url("directory")
    filled = await populate(opened_at(url), tmp_path, url)
    engine = create_engine(url)
    try:
        filled.sql("DELETE FROM store_fact WHERE name = 'directory'")
        with engine.begin() as other:
            other.exec_driver_sql("INSERT INTO store_fact VALUES ('directory', 'x')")
            changing = asyncio.create_task(filled.store.domains.change(EXAMPLE, plus="-"))
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            waits = partial(postgresql.execute, waiting)
            await asyncio.to_thread(until, lambda: bool(waits()), "it waits for the other")
        assert (await changing).plus == "-"
        assert filled.sql("SELECT value FROM store_fact WHERE name = 'directory'") != [("x",)]
    finally:
        engine.dispose()
        filled.store.close()


async def test_names_remembered_are_bounded_and_unknown_ones_too(filled: Filled) -> None:
    find = filled.store.directory.find
    known = filled.store.directory._names  # noqa: SLF001 - what a stranger could make grow
    await find(ANN)
    known.update((Address(f"x{number}", EXAMPLE), NOBODY) for number in range(1, NAMES))
    for number in range(10):
        await find(Address(f"y{number}", EXAMPLE))
        assert len(known) == NAMES
    assert ANN not in known


async def test_an_answer_on_its_way_while_something_changes_is_not_remembered(
    filled: Filled,
) -> None:
    store = filled.store
    looked, changed = threading.Event(), threading.Event()

    def slow(connection: Connection) -> Reach:
        found = directory._find(ANN, connection)  # noqa: SLF001 - its thread is held up here
        looked.set()
        changed.wait()
        return found

    finding = asyncio.create_task(store.directory._look_up(ANN, slow))  # noqa: SLF001
    await asyncio.to_thread(looked.wait)
    await store.domains.change_address(ANN, state=AddressState.CLOSED)
    changed.set()
    assert (await finding).maildrops == (filled.ann,)  # as it was when it was asked
    assert await store.directory.find(ANN) == NOBODY
