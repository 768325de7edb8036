"""What collecting needs of the store, on all engines: once, whole or not at all, by one holder."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mail import facts
from mail.address import Address
from mail.errors import AlreadyRunning, LeaseLost, NameTaken, NotFound, OverQuota
from mail.ident import UniqueId, new_row_id
from store.collected import Notes
from store.collectors import Outcome
from store.leases import Lease
from store.lists import Span
from store.messages import Copy, NewMessage
from store.records import (
    Collector,
    CollectorRun,
    CollectorState,
    Folder,
    Harvest,
    JobState,
)
from tests.store.conftest import Filled, now

CONTENT = b"From: b@x\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"
KEY, OTHER_KEY = b"k" * 16, b"o" * 16


def collector(filled: Filled, **more: object) -> Collector:
    made = Collector(
        id=new_row_id(),
        maildrop_id=filled.ann,
        name="There",
        address="ann@example.net",
        host="pop.example.net",
        port=995,
        username="ann",
        sealed="sealed",
        keep_days=None,
        every_s=300,
        created_at=now(),
        next_at=now(),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def message(filled: Filled, content: bytes = CONTENT) -> NewMessage:
    copy = Copy(filled.ann, Address.parse("ann@example.net"), b"Delivered-To: ann@example.net\r\n")
    return NewMessage(UniqueId.new(now()), None, content, facts.read(content), [copy])


async def taken(filled: Filled) -> Lease:
    lease = await filled.store.leases.take("collector")
    assert lease
    return lease


async def account_of(filled: Filled) -> int:
    return (await filled.store.accounts.get("ann")).id


async def finished(filled: Filled, source: Collector, **more: object) -> Collector:
    """After a run."""
    run = CollectorRun(now(), 1, 2, 3, None)
    outcome = Outcome(run, CollectorState.OK, 0, 0, 0, now() + timedelta(seconds=300))
    outcome = replace(outcome, **more)  # type: ignore[arg-type]
    harvest = Harvest(new=1, seen=2, octets=3)
    await filled.store.collectors.finish(await taken(filled), source, outcome, harvest)
    return await filled.store.collectors.get(filled.ann, source.id)


async def test_a_message_is_kept_with_its_name_and_only_once(filled: Filled) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    new = message(filled)
    assert await store.collected.keep(lease, source, KEY, new)
    assert await store.collected.keep(lease, source, KEY, new)  # an answer that was lost
    assert not await store.collected.keep(lease, source, KEY, message(filled))
    [kept] = await filled.page(filled.ann)
    assert (kept.origin, kept.uid, kept.recipient) == (
        *(("collector",), new.uid, "ann@example.net"),
    )
    assert await filled.octets(filled.ann, kept.uid) == new.copies[0].prefix + CONTENT
    [remembered] = (await store.collected.memory(source.id)).items()
    assert (remembered[0], remembered[1].kept, remembered[1].missed_at) == (KEY, True, None)
    report = await store.verify()
    assert not report.problems


@pytest.mark.parametrize("folder", list(Folder))
async def test_one_that_is_here_is_marked_in_whatever_folder_it_is(
    filled: Filled, folder: Folder
) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    uid = await filled.keep(CONTENT)
    if folder is not Folder.INBOX:
        await store.messages.move(filled.ann, [uid], folder)
    shown = folder is not Folder.PURGED
    assert await store.collected.keep(lease, source, KEY, message(filled)) is not shown
    origins = {kept.uid: kept.origin for kept in await filled.page(filled.ann, folder)}
    assert set(origins[uid]) == ({"smtp", "collector"} if shown else {"smtp"})
    usage = filled.sql("SELECT count(*) FROM message")
    assert usage == [(1,)] if shown else [(2,)]


async def test_messages_that_say_nothing_of_themselves_are_the_same_only_octet_by_octet(
    filled: Filled,
) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    for number, content in enumerate(
        [b"\r\n", b"\r\nno header\r\n", b"\r\nother\r\n", b"no body\r\n", b"X: 1\r\n", b"X: 2\r\n"]
    ):
        key = bytes([number]) * 16
        assert await store.collected.keep(lease, source, key, message(filled, content))
        again = bytes([number, 1]) * 8
        assert not await store.collected.keep(lease, source, again, message(filled, content))


async def test_without_room_neither_is_written(filled: Filled) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    filled.sql("UPDATE maildrop SET quota_messages = 0")
    with pytest.raises(OverQuota):
        await store.collected.keep(lease, source, KEY, message(filled))
    assert not await store.collected.memory(source.id)
    assert filled.sql("SELECT count(*) FROM body") == [(0,)]


async def test_who_has_lost_the_role_writes_nothing(filled: Filled) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    stale = replace(lease, fence=lease.fence - 1)
    for work in (
        store.collected.keep(stale, source, KEY, message(filled)),
        store.collected.unfit(stale, source, KEY),
        store.collected.note(stale, source, Notes(missed=[KEY])),
        store.collectors.tell(stale, replace(source, job_id=1), Harvest()),
    ):
        with pytest.raises(LeaseLost):
            await work
    assert not await filled.page(filled.ann)


async def test_a_collector_that_was_removed_or_leads_elsewhere_keeps_nothing(
    filled: Filled,
) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    assert await store.collected.keep(lease, source, KEY, message(filled))
    await store.collectors.change(filled.ann, source.id, username="other", sealed="x")
    assert not await store.collected.memory(source.id)  # names mean nothing there
    with pytest.raises(NotFound):
        await store.collected.keep(lease, source, OTHER_KEY, message(filled, b"A: b\r\n\r\n"))
    await store.collectors.remove(filled.ann, source.id)
    with pytest.raises(NotFound):
        await store.collected.keep(lease, source, OTHER_KEY, message(filled, b"A: b\r\n\r\n"))


async def test_what_a_listing_shows_is_noted(filled: Filled) -> None:
    store, lease = filled.store, await taken(filled)
    source = collector(filled)
    await store.collectors.add(source)
    await store.collected.unfit(lease, source, KEY)
    await store.collected.unfit(lease, source, KEY)
    assert not (await store.collected.memory(source.id))[KEY].kept
    await store.collected.note(lease, source, Notes(missed=[KEY]))
    assert (await store.collected.memory(source.id))[KEY].missed_at
    await store.collected.note(lease, source, Notes(back=[KEY]))
    assert not (await store.collected.memory(source.id))[KEY].missed_at
    await store.collected.note(lease, source, Notes(forget=[KEY]))
    assert not await store.collected.memory(source.id)


async def test_collectors_are_their_maildrops(filled: Filled) -> None:
    collectors = filled.store.collectors
    source = collector(filled)
    await collectors.add(source)
    found = await collectors.get(filled.ann, source.id)
    assert (found.host, found.keep_days, found.last, found.state) == (
        *("pop.example.net", None, None, CollectorState.OK),
    )
    assert "sealed" not in repr(found)
    with pytest.raises(NameTaken):
        await collectors.add(replace(source, id=new_row_id()))
    second = replace(source, id=new_row_id(), username="second")
    await collectors.add(second)
    with pytest.raises(NameTaken):
        await collectors.change(filled.ann, second.id, username="ann", sealed="x")
    for maildrop in (filled.eve, 0):
        with pytest.raises(NotFound):
            await collectors.get(maildrop, source.id)
        with pytest.raises(NotFound):
            await collectors.change(maildrop, source.id, name="x")
        with pytest.raises(NotFound):
            await collectors.remove(maildrop, source.id)
        with pytest.raises(NotFound):
            await collectors.ask(await account_of(filled), maildrop, source.id)
    page = await collectors.page(filled.ann, Span(1))
    assert (len(page.rows), page.after) == (1, True)
    assert len(await collectors.of(filled.ann)) == 2
    assert not await collectors.of(filled.eve)


async def test_what_is_due(filled: Filled) -> None:
    collectors = filled.store.collectors
    late, soon = now() - timedelta(hours=1), now() + timedelta(hours=1)
    made = {
        name: collector(filled, username=name, next_at=at, **more)
        for name, at, more in (
            ("second", late, {}),
            ("first", late - timedelta(hours=1), {}),
            ("later", soon, {}),
            ("paused", late, {"paused": True}),
            ("stopped", late, {"state": CollectorState.STOPPED}),
        )
    }
    for each in made.values():
        await collectors.add(each)
    assert [each.username for each in await collectors.due(9)] == ["first", "second"]
    assert [each.username for each in await collectors.due(1)] == ["first"]
    account = await account_of(filled)
    for name in ("paused", "stopped", "later"):
        await collectors.ask(account, filled.ann, made[name].id)
    assert {each.username for each in await collectors.due(9)} == set(made)
    await filled.store.accounts.close("ann")
    assert not await collectors.due(9)


async def test_a_run_that_was_asked_for(filled: Filled) -> None:
    store, account = filled.store, await account_of(filled)
    source = collector(filled)
    await store.collectors.add(source)
    job = await store.collectors.ask(account, filled.ann, None)
    assert (job.state, list(job.harvests)) == (JobState.QUEUED, [source.id])
    with pytest.raises(AlreadyRunning):
        await store.collectors.ask(account, filled.ann, source.id)
    with pytest.raises(NotFound):
        await store.jobs.get(0, job.id)
    [due] = await store.collectors.due(1)
    lease = await taken(filled)
    assert await store.collectors.tell(lease, due, Harvest(done=1, total=4))
    found = await store.jobs.get(account, job.id)
    assert (found.state, found.done, found.total) == (JobState.RUNNING, 1, 4)
    await finished(filled, due)
    found = await store.jobs.get(account, job.id)
    assert (found.state, found.harvests[source.id].new) == (JobState.DONE, 1)
    after = await store.collectors.get(filled.ann, source.id)
    assert after.last
    assert (after.job_id, after.last.new, after.last.octets) == (None, 1, 3)
    assert not await store.collectors.due(1)


async def test_a_job_is_cancelled_before_and_while_it_runs(filled: Filled) -> None:
    store, account = filled.store, await account_of(filled)
    source = collector(filled, next_at=now() + timedelta(hours=1))
    await store.collectors.add(source)
    job = await store.collectors.ask(account, filled.ann, None)
    await store.jobs.cancel(account, job.id)
    assert (await store.jobs.get(account, job.id)).state is JobState.CANCELLED
    job = await store.collectors.ask(account, filled.ann, None)
    [due] = await store.collectors.due(1)
    lease = await taken(filled)
    assert await store.collectors.tell(lease, due, Harvest(total=4))
    await store.jobs.cancel(account, job.id)
    assert not await store.collectors.tell(lease, due, Harvest(total=4))
    await finished(filled, due)
    assert (await store.jobs.get(account, job.id)).state is JobState.CANCELLED
    with pytest.raises(NotFound):
        await store.jobs.cancel(account, new_row_id())


async def test_a_new_password_during_a_run_is_a_new_beginning(filled: Filled) -> None:
    store = filled.store
    source = collector(filled)
    await store.collectors.add(source)
    [due] = await store.collectors.due(1)
    await store.collectors.change(filled.ann, source.id, sealed="new")
    after = await finished(filled, due, state=CollectorState.STOPPED, refused=3)
    assert (after.state, after.refused) == (CollectorState.OK, 0)
    assert [each.id for each in await store.collectors.due(1)] == [source.id]


async def test_a_removed_collector_ends_its_job(filled: Filled) -> None:
    store, account = filled.store, await account_of(filled)
    source = collector(filled)
    await store.collectors.add(source)
    job = await store.collectors.ask(account, filled.ann, None)
    await store.collectors.remove(filled.ann, source.id)
    assert (await store.jobs.get(account, job.id)).state is JobState.FAILED
