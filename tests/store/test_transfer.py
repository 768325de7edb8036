"""Import and export: octets equal, a repeat changes nothing, what is unfit is named and kept."""

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.errors import NotMail, OverQuota
from mail.lines import canonical
from store.mailfiles import Format, Label, open_sink, open_source, rejected_of
from store.records import Folder
from store.transfer import Exported, Imported, Target
from tests.sessions import remove
from tests.shapes import message
from tests.store.conftest import Filled

LARGEST = 1_000_000
KEPT = [Folder.INBOX, Folder.ARCHIVE, Folder.HELD]
FORMATS = [Format.MBOX, Format.MAILDIR, Format.EML]

HEADER = b"From: Bob <bob@example.net>\r\nDate: Thu, 1 Jan 2015 00:00:00 +0000\r\n"
ODD = [
    HEADER,  # no blank line
    HEADER + b"\r\n",  # no body
    HEADER + b"\r\n\r\n\r\n",
    HEADER + b"\r\n.\r\n..\r\n.dot\r\n",
    HEADER + b"\r\nFrom here on\r\n\r\nFrom bob@example.net Mon Nov 23 10:52:03 2026\r\nx\r\n",
    HEADER + b"\r\n>From a\r\n>>From b\r\n> From c\r\n>>>From: d\r\n",
    b">From: x\r\n" + HEADER + b"\r\nquoted at the top\r\n",
    HEADER + b"\r\n" + bytes(range(14, 256)) * 20 + b"\0\r\n",
    HEADER + b"Subject: " + "Grüße".encode() + b"\r\n\r\n" + "größer\r\n".encode("latin-1"),
    HEADER + b"\r\n" + b"x" * 65_534 + b"\r\n",  # the longest line
    HEADER + b"\r\n" + b"From " + b"y" * 60_000 + b"\r\n\r\n",
    HEADER + b"\r\n" + b"From \r\n" * 80_000,  # several chunks
]


@pytest.fixture
def filled(filled: Filled) -> Filled:
    """With room."""
    filled.sql("UPDATE maildrop SET quota_octets = 0")
    return filled


def nothing(_done: int, _total: int) -> None:
    pass


async def bring(
    filled: Filled,
    path: Path,
    format_: Format = Format.MBOX,
    *,
    maildrop: int | None = None,
    folder: Folder = Folder.INBOX,
    name: str = "mail",
) -> Imported:
    target = Target(maildrop or filled.ann, folder, name)
    source = open_source(format_, path, max_octets=LARGEST)
    return await filled.store.transfers.bring_in(target, source, step=nothing)


async def write(
    filled: Filled, path: Path, format_: Format = Format.MBOX, maildrop: int | None = None
) -> Exported:
    sink = open_sink(format_, path)
    out = filled.store.transfers.write_out
    exported = await out(maildrop or filled.ann, KEPT, sink, step=nothing)
    sink.close(complete=True)
    return exported


async def contents(filled: Filled, maildrop: int) -> list[bytes]:
    found = await filled.page(maildrop)
    return sorted([await filled.octets(maildrop, message.uid) for message in found])


def rows(filled: Filled) -> dict[str, list[object]]:
    return {
        table: filled.sql(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("maildrop", "message", "body")
    }


def mbox(*messages: bytes, blank: bytes = b"\n") -> bytes:
    """Canonical messages as another program would write them, unquoted."""
    line = b"From bob@example.net Thu Jan  1 12:00:00 2015\n"
    return b"".join(line + each.replace(b"\r\n", b"\n") + blank for each in messages)


@pytest.mark.parametrize("format_", FORMATS)
async def test_octets_survive_the_way_out_and_in(
    filled: Filled, tmp_path: Path, format_: Format
) -> None:
    for odd in ODD:
        await filled.keep(odd)
    assert (await write(filled, tmp_path / "out", format_)).written == len(ODD)
    imported = await bring(filled, tmp_path / "out", format_, maildrop=filled.eve)
    there = await contents(filled, filled.ann)  # with the trace lines that each has here
    unfit = 0
    assert (imported.taken, imported.there, imported.unfit) == (len(ODD), 0, unfit)
    assert await contents(filled, filled.eve) == there
    for each in await filled.page(filled.eve):
        octets = await filled.octets(filled.eve, each.uid)
        blank = octets.find(b"\r\n\r\n")
        assert each.size == len(octets)
        assert each.header_size == (blank + 4 if blank >= 0 else len(octets))
        assert each.dotted == (b"\r\n." in octets)
        assert each.prefix == b""

    # What came by import goes out and in the same.
    await write(filled, tmp_path / "again", format_, filled.eve)
    again = await bring(filled, tmp_path / "again", format_, maildrop=filled.eve)
    assert (again.taken, again.there) == (0, len(ODD))


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b".", b"From ", b">From x", b">", b" From a"]),
        st.just(b"From bob@example.net Thu Jan  1 12:00:00 2015"),
        st.binary(max_size=20).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"")),
    ),
    max_size=12,
)


@given(bodies=st.lists(LINES, min_size=1, max_size=6))
def test_an_mbox_gives_back_what_was_put_in(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[list[bytes]]
) -> None:
    path = tmp_path_factory.mktemp("mbox") / "out"
    messages = [canonical(HEADER + b"\r\n" + b"\r\n".join(lines)) for lines in bodies]
    sink = open_sink(Format.MBOX, path)
    for each in messages:
        sink.begin(Label("uid", datetime(2026, 1, 1, tzinfo=UTC), "", unread=False, starred=False))
        for at in range(0, len(each), 7):  # blocks end anywhere
            sink.write(each[at : at + 7])
        sink.end()
    sink.close(complete=True)
    source = open_source(Format.MBOX, path, max_octets=LARGEST)
    assert [record.content for record in source.records] == messages


async def test_a_repeat_changes_nothing(filled: Filled, tmp_path: Path) -> None:
    mails = [message(number, big=100_000) for number in range(150)]
    path = tmp_path / "in.mbox"
    # Three equal ones are three messages, and stay three.
    path.write_bytes(mbox(*mails, mails[0], mails[0]))
    first = await bring(filled, path)
    assert (first.taken, first.there, first.unfit) == (152, 0, 0)
    before = rows(filled)
    path.touch()  # the date of the file does not count
    second = await bring(filled, path)
    assert (second.taken, second.there) == (0, 152)
    assert rows(filled) == before
    # A longer file of the same mail brings only what is new.
    path.write_bytes(mbox(message(1000), *mails))
    third = await bring(filled, path)
    assert (third.taken, third.there) == (1, 150)
    other = await bring(filled, path, name="another")
    assert other.taken == 151


async def test_what_was_deleted_does_not_come_back_unless_it_is_gone_for_good(
    filled: Filled, tmp_path: Path
) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(mbox(HEADER + b"\r\none\r\n", HEADER + b"\r\ntwo\r\n"))
    await bring(filled, path)
    one, _ = await filled.page(filled.ann)
    await remove(filled.store, filled.ann, [one.uid])
    assert (await bring(filled, path)).taken == 0
    # As final removal leaves it until the sweep.
    filled.sql("DELETE FROM message WHERE uid = :uid", uid=one.uid.octets)
    filled.sql("UPDATE body SET refs = 0 WHERE uid = :uid", uid=one.uid.octets)
    filled.sql(
        "INSERT INTO body_gone VALUES (:shard, 0, :home, :uid)",
        shard=one.uid.octets[15] % 16,
        home=one.home,
        uid=one.uid.octets,
    )
    again = await bring(filled, path)
    assert (again.taken, again.there) == (1, 1)
    assert filled.sql("SELECT count(*) FROM body_gone") == [(0,)]
    assert filled.sql("SELECT refs FROM body") == [(1,), (1,)]
    assert len(await contents(filled, filled.ann)) == 2


async def test_counters_and_numbers_are_those_of_a_scan(filled: Filled, tmp_path: Path) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(mbox(*[message(number, big=1000) for number in range(200)]))
    await filled.keep(HEADER)
    await bring(filled, path)
    await bring(filled, path, folder=Folder.ARCHIVE, name="archive")
    usage = await filled.store.maildrops.usage(filled.ann)
    [scan] = filled.sql("SELECT count(*), sum(size) FROM message")
    born = filled.sql("SELECT born FROM message ORDER BY born")
    folders = filled.sql("SELECT folder, count(*) FROM message GROUP BY folder")
    assert (usage.messages, usage.octets) == scan
    assert [number for (number,) in born] == list(range(1, 402))
    assert dict(folders) == {Folder.INBOX: 201, Folder.ARCHIVE: 200}


async def test_the_moment_of_arrival_is_that_of_long_ago(filled: Filled, tmp_path: Path) -> None:
    trace = b"Received: from a by b; Fri, 2 Jan 2015 03:04:05 +0100\r\n"
    future = b"From: x@example.net\r\nDate: Fri, 1 Jan 2100 00:00:00 +0000\r\n\r\nsoon\r\n"
    path = tmp_path / "in.mbox"
    path.write_bytes(mbox(trace + HEADER + b"\r\n", HEADER + b"\r\n", future))
    await bring(filled, path)
    found = await filled.page(filled.ann)
    assert [each.arrived for each in found] == [
        datetime(2015, 1, 2, 2, 4, 5, tzinfo=UTC),
        datetime(2015, 1, 1, 12, tzinfo=UTC),  # of the line between messages
        datetime(2015, 1, 1, tzinfo=UTC),
    ]
    assert {each.mail_from for each in found} == {"bob@example.net"}
    assert {each.recipient for each in found} == {"ann@example.test"}
    assert not any(each.unread for each in found)


async def test_what_is_unfit_is_named_and_kept(filled: Filled, tmp_path: Path) -> None:
    good = HEADER + b"\r\ngood\r\n"
    bad = {
        "it has no header": b"just words\r\n",
        "a NUL in the header": HEADER + b"Subject: \0\r\n\r\nx\r\n",
        "a line of more than 65536 octets": HEADER + b"\r\n" + b"x" * 65_535 + b"\r\n",
        f"larger than {LARGEST} octets": HEADER + b"\r\n" + b"long\r\n" * (LARGEST // 6) + b"\r\n",
    }
    path = tmp_path / "in.mbox"
    path.write_bytes(mbox(*(part for each in bad.values() for part in (good, each)), good))
    imported = await bring(filled, path)
    assert (imported.taken, imported.unfit) == (5, 4)
    assert [why for _, why in imported.listed] == list(bad)
    octets = path.read_bytes()
    for (place, _), each in zip(imported.listed, bad.values(), strict=True):
        start = int(place.removeprefix("octet "))
        text = each.replace(b"\r\n", b"\n")
        assert octets[start:].startswith(b"From bob@")
        assert octets[start:].partition(b"\n")[2].startswith(text)
    assert rejected_of(path).read_bytes() == mbox(*bad.values())

    folder = tmp_path / "eml"
    folder.mkdir()
    for number, each in enumerate(bad.values()):
        (folder / f"{number}.eml").write_bytes(each)
    (folder / "good.EML").write_bytes(good)
    (folder / "notes.txt").write_text("no mail")
    (folder / "link.eml").symlink_to("/etc/passwd")
    imported = await bring(filled, folder, Format.EML, name="eml")
    assert imported.taken == 1
    assert imported.listed == [(f"{n}.eml", why) for n, why in enumerate(bad)]


def test_an_endless_line_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.mbox"
    with path.open("wb") as file:
        file.write(mbox(HEADER) + b"From x Thu Jan  1 12:00:00 2015\n" + HEADER + b"\n")
        file.truncate(400_000_000)  # NULs without an end of line
        file.seek(0, 2)
        file.write(b"\n\n" + mbox(HEADER))
    records = list(open_source(Format.MBOX, path, max_octets=1000).records)
    assert [record.unfit for record in records] == ["", "larger than 1000 octets", ""]
    rejected_of(path).unlink()


@pytest.mark.parametrize("blank", [b"\n", b""])
def test_separators_as_others_write_them(tmp_path: Path, blank: bytes) -> None:
    path = tmp_path / "in.mbox"
    mails = [HEADER + b"\r\n%d\r\n" % number for number in range(3)]
    path.write_bytes(mbox(*mails, blank=blank))
    source = open_source(Format.MBOX, path, max_octets=LARGEST)
    assert [record.content for record in source.records] == mails
    path.write_bytes(mbox(*mails, blank=blank).replace(b"\n", b"\r\n"))
    source = open_source(Format.MBOX, path, max_octets=LARGEST)
    assert [record.content for record in source.records] == mails
    bare = b"".join(b"From nobody\n" + each.replace(b"\r\n", b"\n") + b"\n" for each in mails)
    path.write_bytes(bare)
    source = open_source(Format.MBOX, path, max_octets=LARGEST)
    assert [record.content for record in source.records] == mails


def test_mboxo_is_left_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "in.mbox"
    quoted = HEADER + b"\r\n>From a\r\n>>From b\r\n"
    path.write_bytes(mbox(quoted))
    for format_, expected in (
        (Format.MBOXO, quoted),
        (Format.MBOX, HEADER + b"\r\nFrom a\r\n>From b\r\n"),
    ):
        [record] = open_source(format_, path, max_octets=LARGEST).records
        assert record.content == expected


def test_what_is_no_mbox_and_no_maildir_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(b"Dear diary\n")
    with pytest.raises(NotMail):
        list(open_source(Format.MBOX, path, max_octets=LARGEST).records)
    with pytest.raises(NotMail):
        open_source(Format.MAILDIR, tmp_path, max_octets=LARGEST)
    path.write_bytes(b"")
    assert list(open_source(Format.MBOX, path, max_octets=LARGEST).records) == []


async def test_flags_of_a_maildir(filled: Filled, tmp_path: Path) -> None:
    root = tmp_path / "Maildir"
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    names = ("new/1400000001.a", "cur/1400000002.b:2,S", "cur/1400000003.c:2,FS", "cur/x:2,")
    for name in names:
        (root / name).write_bytes(b"Subject: " + name.encode() + b"\n\nx\n")
    (root / "tmp" / "half").write_bytes(b"Subject: half")
    imported = await bring(filled, root, Format.MAILDIR)
    assert imported.taken == 4
    found = await filled.page(filled.ann)
    flags = {each.subject: (each.unread, each.starred) for each in found}
    assert flags == {
        names[0]: (True, False),
        names[1]: (False, False),
        names[2]: (False, True),
        names[3]: (True, False),
    }
    dates = {each.subject: each.arrived.timestamp() for each in found}
    assert dates[names[1]] == 1400000002
    await write(filled, tmp_path / "out", Format.MAILDIR)
    again = await bring(filled, tmp_path / "out", Format.MAILDIR, maildrop=filled.eve)
    assert again.taken == 4
    there = await filled.page(filled.eve)
    assert {each.subject: (each.unread, each.starred) for each in there} == flags


async def test_a_full_mailbox_ends_an_import_that_goes_on_later(
    filled: Filled, tmp_path: Path
) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(mbox(*[HEADER + b"\r\n%d" % n + b"x" * 60_000 + b"\r\n" for n in range(30)]))
    filled.sql("UPDATE maildrop SET quota_octets = 1000000")
    with pytest.raises(OverQuota):
        await bring(filled, path)
    first = len(await contents(filled, filled.ann))
    assert 0 < first < 30
    filled.sql("UPDATE maildrop SET quota_octets = 0")
    imported = await bring(filled, path)
    assert (imported.taken, imported.there) == (30 - first, first)


async def test_a_damaged_message_is_named_and_leaves_no_octet(
    filled: Filled, tmp_path: Path
) -> None:
    uids = [await filled.keep(HEADER + b"\r\n" + b"%d\r\n" % n * 100_000) for n in range(3)]
    filled.sql("DELETE FROM body_chunk WHERE uid = :uid AND n = 1", uid=uids[1].octets)
    for format_ in FORMATS:
        path = tmp_path / format_.value
        exported = await write(filled, path, format_)
        assert (exported.written, exported.damaged) == (2, [str(uids[1])])
        assert len(list(open_source(format_, path, max_octets=LARGEST).records)) == 2


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(FileExistsError):
        open_sink(Format.MBOX, tmp_path / "out")
    for format_ in (Format.MAILDIR, Format.EML):
        with pytest.raises(FileExistsError):
            open_sink(format_, tmp_path)


async def test_an_import_beside_arriving_mail(filled: Filled, tmp_path: Path) -> None:
    """Neither loses a number or a message of the other."""
    path = tmp_path / "in.mbox"
    chance = random.Random(1)
    mails = [HEADER + b"\r\n%d\r\n" % chance.getrandbits(60) for _ in range(300)]
    path.write_bytes(mbox(*mails))
    arriving = asyncio.gather(*(filled.keep(HEADER) for _ in range(100)))
    imports = await asyncio.gather(bring(filled, path, maildrop=filled.eve), bring(filled, path))
    await arriving
    assert [imported.taken for imported in imports] == [300, 300]
    usage = await filled.store.maildrops.usage(filled.ann)
    assert usage.messages == 400
    query = "SELECT born FROM message WHERE maildrop_id = :ann ORDER BY born"
    born = filled.sql(query, ann=filled.ann)
    assert [number for (number,) in born] == list(range(1, 401))
