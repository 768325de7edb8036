"""Found is what was written, in one's own mail; the index trails, and neither loses nor harms."""

import asyncio
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mail.errors import StorageBusy
from mail.ident import UniqueId, row_id_text
from mail.query import All, Fact, Field, Query, Words
from mail.text import words as words_in
from store import search
from store.engines import backend
from store.indexer import CHANGES
from store.listing import Selection
from store.moves import SHOWN
from store.records import Folder
from tests.store.conftest import Filled, fill, now, opened_at

BOB = "Bob Builder <bob@example.net>"


def mail(subject: str = "-", sender: str = BOB, text: str = "-", to: str = "ann") -> bytes:
    header = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n"
    return f"{header}\r\n{text}\r\n".encode()


async def indexed(filled: Filled, *contents: bytes) -> list[UniqueId]:
    uids = [await filled.keep(content) for content in contents]
    await filled.store.indexer.catch_up()
    return uids


async def found(
    filled: Filled,
    *words: str,
    maildrop: int = 0,
    folders: frozenset[Folder] = SHOWN,
    from_text: str = "",
    to_text: str = "",
    subject: str = "",
) -> list[UniqueId]:
    """What has all these words, of which the last may be a beginning, and these parts of facts."""
    terms = [word for each in words for word in words_in(each)]
    wanted: list[Query] = [Words((word,)) for word in terms[:-1]]
    wanted += [Words((word,), beginning=True) for word in terms[-1:]]
    facts: dict[Field, str] = {"from": from_text, "to": to_text, "subject": subject}
    wanted += [Fact(field, text) for field, text in facts.items() if text]
    page = await filled.store.listing.page(
        maildrop or filled.ann, Selection(folders, All(tuple(wanted))), limit=10_000
    )
    return [listed.message.uid for listed in page.items]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (mail(subject="Your invoice"), ["invoice"]),
        (mail(subject="Your invoice"), ["INVOICE"]),
        (mail(subject="Your invoice"), ["inv"]),
        (mail(subject="Your invoice"), ["your", "inv"]),
        (mail(subject="=?utf-8?q?=C3=89t=C3=A9_=C3=A0_Z=C3=BCrich?="), ["ete", "zurich"]),
        (mail(subject="Crème brûlée"), ["creme", "BRÛLÉE"]),
        (mail(subject="ete"), ["Été"]),
        (mail(sender="Zoë <zoe@other.example>"), ["zoe@other.example"]),
        (mail(sender="Zoë <zoe@other.example>"), ["other"]),
        (mail(to="sales@example.test"), ["sales"]),
        (mail(text="The quick brown fox"), ["fox", "quick", "the"]),
        (mail(text="chapter 12, page 7"), ["12"]),
        (mail(text="up to or not, and so on"), ["or", "and", "not"]),
        (mail(text="Straße"), ["STRASSE"]),
        (mail(text="Привет, мир"), ["привет", "МИР"]),
        (mail(text="Καλημέρα κόσμε"), ["καλημερα"]),
        (mail(text="مرحبا بالعالم"), ["مرحبا"]),
        (mail(text="नमस्ते दुनिया"), ["नमस्ते", "दुनिया"]),
        (mail(text="日本語 テスト"), ["日本語", "テスト"]),
        (mail(text="한국어 시험"), ["한국어"]),
        (mail(text="x" * 300), ["x" * 300]),
        (mail(text="a@b.example, semi;colon under_score"), ["colon", "score", "under"]),
    ],
)
async def test_words_are_found(filled: Filled, content: bytes, words: Sequence[str]) -> None:
    _, uid, _ = await indexed(filled, mail(), content, mail())
    assert await found(filled, *words) == [uid]


async def test_all_words_are_wanted_and_only_the_last_may_be_a_beginning(filled: Filled) -> None:
    both, _, _ = await indexed(
        filled, mail("red apple"), mail("red pear"), mail("green apple", text="bread")
    )
    assert await found(filled, "red", "apple") == [both]
    assert await found(filled, "apple", "red") == [both]
    assert await found(filled, "re", "apple") == []
    assert await found(filled, "red", "apple", "plum") == []
    assert await found(filled, "red", "app") == [both]
    assert await found(filled, "pple") == []


@pytest.mark.parametrize(
    "words",
    [
        ['" OR ""'],
        ["NOT", "hello"],
        ["hello' | 'nothing"],
        ["hello OR nothing"],
        ["-hello"],
        ["hello -nothing"],
        ["words:hello", "nothing"],
        ["NEAR(hello nothing, 2)"],
        ["hello:*", "& !nothing"],
        ["nothing | !hello"],
        ["hello') OR 1=1 --"],
        ["h_llo"],
        ["hello"] * 40 + ["nothing" * 1000],
    ],
)
async def test_nothing_that_is_sought_is_query_syntax(filled: Filled, words: Sequence[str]) -> None:
    [uid] = await indexed(filled, mail("hello there"))
    expected = []
    if words == ["-hello"]:
        expected = [uid]  # words to be found, whatever stands around them
    assert await found(filled, *words) == expected
    assert await found(filled, subject=" ".join(words)) == []
    assert await found(filled, "hello") == [uid]  # still


@pytest.mark.parametrize(
    "part", ["%", "_", "\\", "*", "'", '"', "\0", "\ud800", "/", "́", "😀", " "]
)
async def test_a_part_of_a_fact_is_not_a_pattern(filled: Filled, part: str) -> None:
    await indexed(filled, mail("hello there"))
    assert await found(filled, subject=part) == []


async def test_header_parts_are_found_wherever_they_stand(filled: Filled) -> None:
    percent, plain = await indexed(
        filled,
        mail("100%_sure/ \\o/", "Zoë <zoe@example.org>", to="Sales <sales@example.test>"),
        mail("100 percent", BOB, text="zoe, sales, sure"),
    )
    assert await found(filled, from_text="zoe@EXAMPLE") == [percent]
    assert await found(filled, from_text="ZOË") == [percent]
    assert await found(filled, to_text="les <SALES@") == [percent]
    assert await found(filled, subject="0%_s") == [percent]
    assert await found(filled, subject="\\o/") == [percent]
    assert await found(filled, subject="100", to_text="sales") == [percent]
    assert await found(filled, "sure", from_text="zo") == [percent]
    assert await found(filled, subject="100") == [plain, percent]
    assert await found(filled, subject="100_") == []
    assert await found(filled, from_text="a%") == []


async def test_another_maildrop_is_not_searched(filled: Filled) -> None:
    mine = await filled.keep(mail("our secret"), filled.ann)
    shared = await filled.keep(mail("our secret"), filled.ann, filled.eve)
    await filled.store.indexer.catch_up()
    assert await found(filled, "secret") == [shared, mine]
    assert await found(filled, "secret", maildrop=filled.eve) == [shared]
    assert await found(filled, subject="secret", maildrop=filled.eve) == [shared]


async def test_the_token_of_another_maildrop_is_a_word_as_any(filled: Filled) -> None:
    await filled.keep(mail("our secret"), filled.eve)
    await filled.store.indexer.catch_up()
    assert await found(filled, "m" + row_id_text(filled.eve), "secret") == []


async def test_folders_and_purge(filled: Filled) -> None:
    kept, trashed, purged = await indexed(filled, *[mail("holiday")] * 3)
    store = filled.store
    await store.messages.move(filled.ann, [trashed], Folder.TRASH)
    await store.messages.move(filled.ann, [purged], Folder.PURGED)
    assert await found(filled, "holiday") == [trashed, kept]
    for folder, expected in (
        (Folder.INBOX, [kept]),
        (Folder.TRASH, [trashed]),
        (Folder.ARCHIVE, []),
    ):
        assert await found(filled, "holiday", folders=frozenset({folder})) == expected


async def test_it_trails_and_catches_up_after_a_restart(filled: Filled) -> None:
    first = await filled.keep(mail("first post"))
    assert await found(filled, "post") == []
    filled.store.close()
    filled.store = opened_at(filled.url)
    filled.store.indexer.start()
    async with asyncio.timeout(30):
        while await found(filled, "post") != [first]:
            pass
        second = await filled.keep(mail("second post"))
        while await found(filled, "post") != [second, first]:
            pass
    await filled.store.indexer.stop()


async def test_what_moved_before_it_was_seen_is_found(filled: Filled) -> None:
    """A change gives a message a number above those that came after it."""
    first = await filled.keep(mail("one"))
    second = await filled.keep(mail("one"))
    await filled.store.messages.move(filled.ann, [first], Folder.ARCHIVE)
    await filled.store.indexer.catch_up()
    assert await found(filled, "one") == [second, first]


async def test_many_with_one_number_are_all_found(filled: Filled) -> None:
    """A bulk change gives all its messages one number: more of them than are read at once."""
    number = CHANGES + 20
    uids = await asyncio.gather(*(filled.keep(mail("bulk")) for _ in range(number)))
    await filled.store.messages.move(filled.ann, uids[10:], Folder.ARCHIVE)
    await filled.store.indexer.catch_up()
    assert await found(filled, "bulk") == sorted(uids, reverse=True)
    usage = filled.sql("SELECT modseq FROM maildrop WHERE id = :drop", drop=filled.ann)
    assert followed(filled) == usage


def followed(filled: Filled) -> list[Any]:
    return filled.sql("SELECT modseq FROM follower WHERE maildrop_id = :drop", drop=filled.ann)


async def test_dropped_documents_are_made_again(filled: Filled) -> None:
    old = await indexed(filled, mail("alpha"), mail("beta"))
    filled.sql("DELETE FROM search_doc")
    assert await found(filled, "alpha") == []
    [new] = await indexed(filled, mail("gamma"))
    for word, uid in zip(["alpha", "beta", "gamma"], [*old, new], strict=True):
        assert await found(filled, word) == [uid]


async def test_forgotten_documents_leave_no_trace(filled: Filled) -> None:
    gone, kept = await indexed(filled, mail("alpha"), mail("beta"))
    engine = backend(filled.url).connect(writes=True, connections=1)
    with engine.begin() as connection:
        uids = [gone.octets, UniqueId.new(now()).octets]  # of the second, nothing is there
        search.forget(connection, backend(filled.url), filled.ann, uids)
    engine.dispose()
    assert await found(filled, "alpha") == []
    assert await found(filled, "beta") == [kept]
    new = await indexed(filled, mail("gamma"), mail("delta"))
    assert await found(filled, "alpha") == []
    assert await found(filled, "gamma") + await found(filled, "delta") == new


@pytest.mark.parametrize("packed", [True, False])
async def test_the_index_of_sqlite_is_told_the_words_that_go(
    tmp_path: Path, *, packed: bool
) -> None:
    """As text where an older program has kept the document."""
    filled = await fill(tmp_path / "restante.db")
    content = mail("alpha", text=" ".join(f"word{n}" for n in range(500)))
    gone, _kept = await indexed(filled, content, mail("beta"))
    [(words, octets)] = filled.sql(
        "SELECT words, length(words) FROM search_doc WHERE uid = :uid", uid=gone.octets
    )
    assert octets < len(content) / 2
    if not packed:
        plain = zlib.decompress(words).decode()
        filled.sql("UPDATE search_doc SET words = :w WHERE uid = :uid", w=plain, uid=gone.octets)
    engine = backend(filled.url).connect(writes=True, connections=1)
    with engine.begin() as connection:
        search.forget(connection, backend(filled.url), filled.ann, [gone.octets])
    engine.dispose()
    left = "SELECT count(*) FROM search_index WHERE search_index MATCH :word"
    for word, times in (("walpha", 0), ("wword0", 0), ("wword499", 0), ("wbeta", 1)):
        assert filled.sql(left, word=word) == [(times,)]
    filled.store.close()


async def test_a_removed_message_gets_no_document_behind_its_back(filled: Filled) -> None:
    uid = await filled.keep(mail("alpha"))
    filled.sql("DELETE FROM message WHERE uid = :uid", uid=uid.octets)
    await filled.store.indexer.catch_up()
    assert filled.sql("SELECT * FROM search_doc") == []


async def test_a_damaged_index_is_made_again_and_mail_goes_on(tmp_path: Path) -> None:
    filled = await fill(tmp_path / "restante.db")
    first, second = await indexed(filled, mail("alpha"), mail("beta"))
    filled.sql("UPDATE search_index_data SET block = X'FFFFFFFFFFFF' WHERE id >= 10")
    third = await filled.keep(mail("gamma"))
    with pytest.raises(StorageBusy):
        await found(filled, "alpha")
    for _ in range(2):  # the first notices
        await filled.store.indexer.catch_up()
    for word, uid in (("alpha", first), ("beta", second), ("gamma", third)):
        assert await found(filled, word) == [uid]
    filled.store.close()


async def test_a_damaged_body_is_found_by_its_header(filled: Filled) -> None:
    uid = await filled.keep(mail("broken glass", text="shards"))
    filled.sql("UPDATE body_chunk SET frame = :frame", frame=b"\0" * 20)
    await filled.store.indexer.catch_up()
    assert await found(filled, "glass") == [uid]
    assert await found(filled, "shards") == []
