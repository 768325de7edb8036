"""Lists show what was asked for, once each and in order, on every engine and whatever arrives."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import facts, query
from mail.address import Address
from mail.errors import BadQuery
from mail.ident import UniqueId
from store.changes import Wanted
from store.listing import Place, Selection
from store.messages import Copy, NewMessage
from store.moves import SHOWN
from store.records import Folder, Role
from tests.store.conftest import PREFIX, Filled, fill, now

START = now() - timedelta(days=10)
FILE = (
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nsee the file\r\n'
    b"--b\r\nContent-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\nx\r\n--b--\r\n'
)


async def keep(
    filled: Filled, day: int, content: bytes, *, drop: int = 0, to: str = "ann@example.test"
) -> UniqueId:
    """A message that came on a day after START."""
    uid = UniqueId.new(START + timedelta(days=day))
    copies = [Copy(drop or filled.ann, Address.parse(to), PREFIX)]
    await filled.store.messages.append(NewMessage(uid, None, content, facts.read(content), copies))
    return uid


def day(number: int) -> str:
    """The first day that is wholly behind day `number`."""
    return (START + timedelta(days=number + 1)).strftime("%Y-%m-%d")


async def messages(filled: Filled) -> list[UniqueId]:
    """Six messages, in the order of their arrival."""
    bob, carol = b"From: Bob <bob@example.net>\r\n", b"From: Carol <carol@example.com>\r\n"
    uids = [
        await keep(filled, 0, bob + b"Subject: Invoice 12\r\n\r\nthe quick brown fox\r\n"),
        await keep(filled, 1, carol + b"Subject: Lunch\r\n\r\nthe brown quick fox\r\n"),
        await keep(filled, 2, bob + b"Subject: Invoice 13\r\n" + FILE),
        await keep(filled, 3, carol + b"Subject: draft\r\n\r\n" + b"y" * 30_000 + b"\r\n"),
        await keep(filled, 4, bob + b"Subject: trip\r\n\r\nfox\r\n", to="Shop@example.test"),
        await keep(filled, 5, carol + b"Subject: old\r\n\r\ninvoice\r\n", to="ann@other.test"),
    ]
    change = filled.store.messages.change
    await change(filled.ann, uids[0], Wanted(unread=False))
    await change(filled.ann, uids[1], Wanted(unread=False, starred=True))
    await change(filled.ann, uids[4], Wanted(starred=True))
    await change(filled.ann, uids[5], Wanted(folder=Folder.TRASH))
    await filled.store.indexer.catch_up()
    return uids


SEARCHES = {
    "": [0, 1, 2, 3, 4, 5],
    "invoice": [0, 2, 5],
    "INV": [0, 2, 5],
    '"inv"': [],
    "inv fox": [],
    '"quick brown"': [0],
    '"quick brow"': [],
    '"brown quick" fox': [1],
    "quick-brown": [0],
    "-invoice": [1, 3, 4],
    "fox -lunch": [0, 4],
    "lunch OR trip": [1, 4],
    "fox (lunch OR trip)": [1, 4],
    "fox -(lunch OR trip)": [0],
    "from:bob": [0, 2, 4],
    "from:bob -subject:invoice": [4],
    "from:BOB@EXAMPLE": [0, 2, 4],
    'subject:"ice 1"': [0, 2],
    "from:bob OR subject:draft": [0, 2, 3, 4],
    "to:ann": [],
    "address:shop": [4],
    "address:shop@example.test": [4],
    "address:@other.test": [5],
    "address:@example.test invoice": [0, 2],
    "-address:ann": [4],
    "address:nn@example.test": [],
    "is:unread": [2, 3, 4, 5],
    "-is:unread": [0, 1],
    "is:starred": [1, 4],
    "is:unread is:starred": [4],
    "is:unread OR is:starred": [1, 2, 3, 4, 5],
    "has:attachment": [2],
    "-has:attachment from:bob": [0, 4],
    "has:attachment OR trip": [2, 4],
    "larger:20K": [3],
    "smaller:20K from:carol": [1, 5],
    "in:trash": [5],
    "in:inbox invoice": [0, 2],
    "in:all is:unread": [2, 3, 4, 5],
    "in:held OR in:trash": [5],
    f"after:{day(2)}": [3, 4, 5],
    f"before:{day(2)}": [0, 1, 2],
    f"after:{day(0)} before:{day(2)}": [1, 2],
    "-(-invoice)": [0, 2, 5],
    "%": None,
    "from:%": [],
    "subject:_": [],
}


async def test_searches_find_what_they_say(filled: Filled) -> None:
    uids = await messages(filled)
    listing = filled.store.listing
    for text, expected in SEARCHES.items():
        if expected is None:
            with pytest.raises(BadQuery):
                query.parse(text)
            continue
        selection = Selection(query=query.parse(text))
        found = await everything(filled, selection, limit=2)
        assert [uids.index(uid) for uid in found] == expected[::-1], text
        assert await listing.count(filled.ann, selection) == len(expected), text
        assert await everything(filled, selection, limit=50, looked_at=2) == found, text
        upwards = Selection(query=query.parse(text), ascending=True)
        assert await everything(filled, upwards, limit=3, looked_at=2) == found[::-1], text
        by_size = Selection(query=query.parse(text), by_size=True)
        assert sorted(await everything(filled, by_size, limit=1)) == sorted(found), text


async def everything(
    filled: Filled, selection: Selection, *, limit: int, looked_at: int = 5000, drop: int = 0
) -> list[UniqueId]:
    """All pages of a list."""
    found: list[UniqueId] = []
    after: Place | None = None
    while True:
        page = await filled.store.listing.page(
            drop or filled.ann, selection, after=after, limit=limit, looked_at=looked_at
        )
        found += [listed.message.uid for listed in page.items]
        if page.next is None:
            return found
        after = page.next


async def test_another_maildrop_is_not_looked_at(filled: Filled) -> None:
    await messages(filled)
    for text in SEARCHES:
        if text != "%":
            selection = Selection(query=query.parse(text))
            assert await everything(filled, selection, limit=50, drop=filled.eve) == [], text
            assert await filled.store.listing.count(filled.eve, selection) == 0


async def test_only_mail_to_these_addresses(filled: Filled) -> None:
    uids = await messages(filled)
    for addresses, expected in (
        ({"shop@example.test"}, [4]),
        ({"shop@example.test", "ann@other.test"}, [5, 4]),
        (set(), []),
        ({"%"}, []),
    ):
        selection = Selection(addresses=frozenset(addresses))
        found = await everything(filled, selection, limit=1, looked_at=2)
        assert [uids.index(uid) for uid in found] == expected
        assert await filled.store.listing.count(filled.ann, selection) == len(expected)


async def test_a_row_tells_what_was_looked_into(filled: Filled) -> None:
    uid = await keep(filled, 0, b"Subject: x\r\n" + FILE)
    before = await filled.store.listing.message(filled.ann, uid)
    assert (before.snippet, before.attachments) == (None, None)
    await filled.store.indexer.catch_up()
    after = await filled.store.listing.message(filled.ann, uid)
    assert (after.snippet, after.attachments) == ("see the file", 1)
    assert after.message == before.message  # no new modseq
    filled.sql("DELETE FROM digest")
    filled.store.indexer.hint(filled.ann)
    await filled.store.indexer.catch_up()  # what is lost is made again
    assert await filled.store.listing.message(filled.ann, uid) == after


async def test_one_body_is_looked_into_once(filled: Filled) -> None:
    uid = UniqueId.new(now())
    to = Address.parse("ann@example.test")
    copies = [Copy(drop, to, PREFIX) for drop in (filled.ann, filled.eve)]
    content = b"Subject: x\r\n\r\nshared\r\n"
    await filled.store.messages.append(NewMessage(uid, None, content, facts.read(content), copies))
    await filled.store.indexer.catch_up()
    for drop in (filled.ann, filled.eve):
        assert (await filled.store.listing.message(drop, uid)).snippet == "shared"
    assert filled.sql("SELECT count(*) FROM digest") == [(1,)]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, loop: asyncio.Runner) -> Iterator[Filled]:
    path: Path = tmp_path_factory.mktemp("listing") / "restante.db"
    filled = loop.run(fill(path))
    yield filled
    filled.store.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.integers(-3, 12), st.integers(1, 3)),
        st.tuples(st.just("move"), st.integers(0, 30), st.sampled_from(sorted(SHOWN))),
        st.tuples(st.just("page"), st.integers(1, 3), st.just(0)),
    ),
    max_size=25,
)


KINDS = st.tuples(st.booleans(), st.booleans(), st.booleans())


@given(st.lists(st.integers(1, 3), max_size=8), STEPS, KINDS)
def test_pages_neither_repeat_nor_leave_out(
    loop: asyncio.Runner,
    store: Filled,
    first: list[int],
    steps: list[tuple[str, int, int]],
    kind: tuple[bool, bool, bool],
) -> None:
    """What is in a list from the first page to the last is shown once, in order, whatever comes."""
    by_size, ascending, slow = kind
    wanted = query.parse("-has:attachment") if slow else query.All()
    selection = Selection(
        frozenset({Folder.INBOX, Folder.ARCHIVE}), wanted, by_size=by_size, ascending=ascending
    )
    loop.run(_walk(store, selection, first, steps))


async def _walk(
    store: Filled, selection: Selection, first: list[int], steps: list[tuple[str, int, int]]
) -> None:
    login = f"u{UniqueId.new(now())}"
    account = await store.store.accounts.add(login, login, role=Role.USER, address=None)
    drop = account.maildrop_id
    known: list[UniqueId] = []

    async def arrive(at: int, size: int) -> None:
        known.append(await keep(store, at, b"\r\n" + b"x" * size * 100 + b"\r\n", drop=drop))

    for number, size in enumerate(first):
        await arrive(number, size)
    steady = set(known)
    seen: list[UniqueId] = []
    after: Place | None = None
    for kind, number, value in [*steps, *[("page", 2, 0)] * 60]:
        if kind == "keep":
            await arrive(number, value)
        elif kind == "move" and known:
            uid = known[number % len(known)]
            await store.store.messages.move(drop, [uid], Folder(value))
            if Folder(value) not in selection.folders:
                steady.discard(uid)
        elif kind == "page":
            page = await store.store.listing.page(
                drop, selection, after=after, limit=number, looked_at=3
            )
            seen += [listed.message.uid for listed in page.items]
            after = page.next
            if after is None:
                break
    assert after is None
    assert len(set(seen)) == len(seen)
    assert steady <= set(seen)
    sizes = dict(store.sql("SELECT uid, size FROM message WHERE maildrop_id = :drop", drop=drop))
    keys = [(sizes[uid.octets] if selection.by_size else 0, uid) for uid in seen]
    assert keys == sorted(keys, reverse=not selection.ascending)
