"""Header facts: what a list shows, out of what anybody may write."""

import base64
import encodings
import unicodedata
from datetime import UTC, datetime
from encodings import aliases
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail import facts
from mail.facts import HEADER_OCTETS, Facts
from mail.lines import canonical

CORPUS = Path(__file__).parents[4] / "shared" / "data" / "corpus"


def subject(octets: bytes) -> str:
    return facts.read(b"From: a@example.org\r\nSubject: " + octets + b"\r\n\r\nbody\r\n").subject


def sent_at(date: bytes) -> datetime | None:
    return facts.read(b"Date: " + date + b"\r\n\r\n").sent_at


def test_an_ordinary_message() -> None:
    content = (
        b"Return-Path: <bob@example.net>\r\n"
        b"From: Bob <bob@example.net>\r\n"
        b"To: ann@example.org,\r\n\tEve <eve@example.org>\r\n"
        b"Subject: Minutes\r\n"
        b"Date: Thu, 21 May 1998 05:33:29 -0700\r\n"
        b"Message-ID: <1@example.net>\r\n"
        b"\r\n"
        b"Subject: not this one\r\n"
    )
    assert facts.read(content) == Facts(
        from_text="Bob <bob@example.net>",
        to_text="ann@example.org, Eve <eve@example.org>",
        subject="Minutes",
        sent_at=datetime(1998, 5, 21, 12, 33, 29, tzinfo=UTC),
        message_id="<1@example.net>",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\nSubject: body\r\n",
        b"no field at all\r\n\r\nSubject: body\r\n",
        b"X-Subject: x\r\nSubjects: y\r\nReply-To: z\r\n\r\n",
        b"X: y\r\n Subject: folded into X\r\n\r\n",
        b"From bob@example.net Mon Nov 23 10:00:00 2026\r\n\r\n",  # an mbox line is no field
        b"Subject\r\n\r\n",
        b"Subject:\r\nFrom:\r\nTo: \t \r\nDate:\r\nMessage-ID:\r\n\r\n",
    ],
)
def test_what_is_missing_stays_empty(content: bytes) -> None:
    assert facts.read(content) == Facts()


@pytest.mark.parametrize(
    "field",
    [
        b"Subject: x",
        b"subject:x",
        b"SUBJECT:  x ",
        b"Subject : x",
        b"Subject\t:\tx",
        b"Subject:\r\n x",
    ],
)
def test_names_in_any_case_and_obsolete_spaces(field: bytes) -> None:
    # RFC 5322 sections 2.2, 4.5
    assert facts.read(field + b"\r\n\r\n").subject == "x"


def test_the_first_field_of_a_name_counts() -> None:
    content = b"Subject: first\r\nsubject: second\r\nFrom: a@x\r\nFrom: b@x\r\n\r\n"
    assert facts.read(content).subject == "first"
    assert facts.read(content).from_text == "a@x"
    assert facts.read(b"Subject:\r\nSubject: second\r\n\r\n").subject == ""


def test_a_header_without_end_is_still_read() -> None:
    assert facts.read(b"Subject: x").subject == "x"
    assert facts.read(b"Subject: x\r\n").subject == "x"
    assert facts.read(b"Subject: x\r\n y\r\n").subject == "x y"


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        # The examples of RFC 2047 section 8, white space as in a Subject
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=\r\n  =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?US-ASCII?Q?Keith_Moore?=", "Keith Moore"),
        (b"=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?=", "Patrik Fältström"),
        (b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
        (b"=?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=", "u understand the example."),
        (b"=?iso-8859-8?b?7eXs+SDv4SDs6Oj08A==?=", "םולש ןב לטטפנ"),
        # Charsets as real mail names them
        (b"=?utf-8?q?=C3=A4=E2=82=AC?=", "ä€"),
        (b"=?UTF8?B?4oKs?=", "€"),
        (b"=?windows-1252?Q?=80_=93x=94?=", "€ “x”"),
        (b"=?windows-1251?B?z/Do4uXy?=", "Привет"),
        (b"=?koi8-r?B?8NLJ18XU?=", "Привет"),
        (b"=?KOI8-U?Q?=A6?=", "і"),
        (b"=?iso-2022-jp?B?GyRCRnxLXDhsGyhC?=", "日本語"),
        (b"=?Shift_JIS?B?k/qWe4zq?=", "日本語"),
        (b"=?gb2312?B?1tDOxA==?=", "中文"),
        (b"=?GB18030?B?1tDOxA==?=", "中文"),
        (b"=?big5?B?pKSk5Q==?=", "中文"),
        (b"=?euc-kr?B?x9GxuQ==?=", "한국"),
        (b"=?ks_c_5601-1987?B?x9GxuQ==?=", "한국"),
        (b"=?tis-620?B?ocM=?=", "กร"),
        (b"=?windows-874?Q?=A1=C3?=", "กร"),
        (b"=?iso-8859-8-i?B?+ezl7Q==?=", "שלום"),  # RFC 1556
        (b"=?cp1251?B?z/Do4uXy?=", "Привет"),
        (b"=?latin1?Q?=E9?=", "é"),
        (b"=?us-ascii*en-us?Q?language?=", "language"),  # RFC 2231 section 5
        # Mended, because real mail has it
        (b"=?utf-8?B?4oKs4oKs4oKsYQ?=", "€€€a"),  # padding missing
        (b"=?utf-8?Q?two words?=", "two words"),
        (b"say =?utf-8?q?=22x=22?=!", 'say "x"!'),
        (b'"=?utf-8?q?quoted?="', '"quoted"'),
        (b"=?utf-8?q?=ff?= x", "\ufffd x"),
        # Not readable: shown as it stands
        (b"=?x-unknown?Q?a?=", "=?x-unknown?Q?a?="),
        (b"=?utf-8?X?a?=", "=?utf-8?X?a?="),
        (b"=?utf-8?B?a?=", "=?utf-8?B?a?="),
        (b"=?utf-8?Q?a", "=?utf-8?Q?a"),
        (b"=??Q?a?=", "=??Q?a?="),
        (b"=?utf-8?Q??= x", "x"),
        (b"2 =? 3 ?= 5", "2 =? 3 ?= 5"),
        # Codecs that are no charsets, or make markup out of innocent letters
        (b"=?utf-7?Q?+ADw-script+AD4-?=", "=?utf-7?Q?+ADw-script+AD4-?="),
        (b"=?unicode_escape?Q?=5Cx3c?=", "=?unicode_escape?Q?=5Cx3c?="),
        (b"=?raw_unicode_escape?Q?=5Cu003c?=", "=?raw_unicode_escape?Q?=5Cu003c?="),
        (b"=?rot13?Q?uryyb?=", "=?rot13?Q?uryyb?="),
        (b"=?zlib?B?eJwDAAAAAAE=?=", "=?zlib?B?eJwDAAAAAAE=?="),
        (b"=?punycode?Q?a-?=", "=?punycode?Q?a-?="),
        (b"=?idna?Q?xn--4ca?=", "=?idna?Q?xn--4ca?="),
        (b"=?hex?Q?3c?=", "=?hex?Q?3c?="),
        # Raw 8-bit: UTF-8 (RFC 6532), else each octet a letter
        ("Grüße €".encode(), "Grüße €"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"caf\xe9 =?utf-8?q?=C3=A9?=", "café é"),
        # Never shown
        (b"a\0b", "a b"),
        (b"a\x07\x08\x1b[31mb\x7f", "a [31mb"),
        (b"a\xc2\x85b", "a b"),
        (b"a\x85\x9b31mb\xe9", "a 31mbé"),
        (b"=?utf-8?q?a=00b=0D=0AX=3A_y=0A?=", "a b X: y"),
        (b"=?utf-8?q?a=E2=80=A8b=E2=80=A9c=C2=85d?=", "a b c d"),
        (b"=?iso-8859-1?q?a=85b?=", "a b"),
        (b"=?utf-8?q?=ED=A0=80x?=", "\ufffd\ufffd\ufffdx"),  # an encoded surrogate is not UTF-8
    ],
)
def test_subjects(octets: bytes, shown: str) -> None:
    assert subject(octets) == shown


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        (b"Thu, 21 May 1998 05:33:29 -0700", datetime(1998, 5, 21, 12, 33, 29, tzinfo=UTC)),
        (b"21 May 98 05:33:29 GMT", datetime(1998, 5, 21, 5, 33, 29, tzinfo=UTC)),
        (b"Thu, 21 May 1998 05:33 +0000 (a comment)", datetime(1998, 5, 21, 5, 33, tzinfo=UTC)),
        # RFC 5322 section 3.3: the time is UTC, the zone unknown
        (b"Thu, 21 May 1998 05:33:29 -0000", datetime(1998, 5, 21, 5, 33, 29, tzinfo=UTC)),
        (b"Thu, 21 May 1998\r\n 05:33:29 EST", datetime(1998, 5, 21, 10, 33, 29, tzinfo=UTC)),
    ],
)
def test_dates(date: bytes, moment: datetime) -> None:
    assert sent_at(date) == moment


@pytest.mark.parametrize(
    "date",
    [
        *(
            b"",
            b"yesterday",
            b",",
            b", ",
            b"(",
            b"Mon,",
            b"::",
            b"1 2 3 4 5 6",
            b"- - -",
            b"\xff\xfe",
        ),
        *(b"31 Feb 2026 10:00:00 +0000", b"1 May 2026 25:61:61 +0000", b"0 Jan 0 0:0:0 +0000"),
        *(b"31 Dec 9999 23:59:59 -2359", b"1 May 99999 10:00 +0000"),
        *(b"1 May 2026 10:00:00 +99999999", b"1 May 2026 10:00:00 " + b"+" + b"9" * 800),
        *(b"9" * 900 + b" May 2026 10:00:00", b"1 May " + b"9" * 900, b"Mon, " * 190, b"1-" * 450),
    ],
)
def test_dates_that_are_none(date: bytes) -> None:
    assert sent_at(date) is None


@pytest.mark.parametrize(
    ("octets", "identity"),
    [
        (b"<1@example.net>", "<1@example.net>"),
        (b" (comment) <a$b@[192.0.2.1]> x", "<a$b@[192.0.2.1]>"),
        (b"\r\n <folded@example.net>", "<folded@example.net>"),
        (b"bare@example.net", ""),
        (b"<a b>", ""),
        (b"<>", ""),
        (b"<first@x><second@x>", "<first@x>"),
    ],
)
def test_message_ids(octets: bytes, identity: str) -> None:
    assert facts.read(b"Message-Id: " + octets + b"\r\n\r\n").message_id == identity


def test_long_fields_are_cut_where_a_character_ends() -> None:
    # The columns of the store: 320, 500, 500 and 250 characters.
    for letter in ("a", "é", "€", "😀"):
        for lead in ("", "x", "xx", "xxx"):
            text = (lead + letter * 2000).encode()
            content = b"".join(
                name + b": " + text + b"\r\n" for name in (b"From", b"To", b"Subject")
            )
            found = facts.read(content + b"Message-ID: <" + b"i" * 2000 + b"\r\n\r\n")
            for shown, limit in [
                (found.from_text, 320),
                (found.to_text, 500),
                (found.subject, 500),
            ]:
                assert 200 < len(shown) <= limit
                assert shown == (lead + letter * 2000)[: len(shown)]
    identity = b"Message-ID: <" + b"i" * 900 + b">\r\n\r\n"
    assert len(facts.read(identity).message_id) <= 250


def test_a_long_folded_field_does_not_hide_the_next() -> None:
    content = b"To: a@example.org" + b",\r\n a@example.org" * 5000 + b"\r\nSubject: x\r\n\r\n"
    assert facts.read(content).subject == "x"
    assert facts.read(content).to_text.startswith("a@example.org, a@example.org, ")


def test_no_more_than_1000_octets_of_a_field_are_looked_at() -> None:
    for blanks, identity in [(900, "<1@example.net>"), (1000, "")]:
        header = b"Message-ID:" + b" " * blanks + b"<1@example.net>\r\n\r\n"
        assert facts.read(header).message_id == identity


def test_no_more_than_256_kib_of_a_header_are_looked_at() -> None:
    filler = b"X: " + b"y" * 995 + b"\r\n"  # 1,000 octets
    fits = filler * 262 + b"Subject: x\r\n"
    assert len(fits) < HEADER_OCTETS == 262_144
    assert facts.read(fits + filler * 1000).subject == "x"
    assert facts.read(filler * 263 + b"Subject: x\r\n\r\n").subject == ""


def test_no_charset_that_a_stranger_invents_is_remembered() -> None:
    # The standard library keeps a table of every encoding name it was ever asked for.
    before = len(encodings._cache)  # noqa: SLF001 - its only witness
    for number in range(50):
        subject(b"=?utf-8-%d?Q?a?= =?cp%d9999?Q?a?= =?invented%d?Q?a?=" % (number, number, number))
    assert len(encodings._cache) == before  # noqa: SLF001


def check(content: bytes) -> None:
    """What holds for any octets: text that can be shown, stored and sent on, within its limits."""
    found = facts.read(content)
    texts = (found.from_text, found.to_text, found.subject, found.message_id)
    for text, limit in zip(texts, (320, 500, 500, 250), strict=True):
        assert len(text) <= limit
        assert not {unicodedata.category(character) for character in text} & {
            "Cc",
            "Cs",
            "Zl",
            "Zp",
        }
        text.encode()
    if found.sent_at is not None:
        assert found.sent_at.utcoffset() == UTC.utcoffset(None)


DATE_WORDS = [
    *("Mon,", "1", "31", "99", "May", "2026", "0000", "9999", "-", ":", "10:00", "::", "25:99"),
    *("+0000", "-9999", "(", ")", "EST", "1e9", "٣", "-1", ""),
]
NAMES = st.sampled_from([b"From", b"To", b"Subject", b"Date", b"Message-ID", b"X"])
VALUES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=30).map(str.encode),
    st.lists(
        st.sampled_from(
            [*b"=? ?= utf-8 ?q? ?B? =C3 =00 _ \r\n =?x?q?".split(b" "), b" ", b"\0", b"\x85"]
        ),
        max_size=20,
    ).map(b"".join),
    st.tuples(
        st.sampled_from([*aliases.aliases, *aliases.aliases.values()]),
        st.sampled_from(["B", "q"]),
        st.binary(max_size=40).map(base64.b64encode),
    ).map(lambda word: f"=?{word[0]}?{word[1]}?{word[2].decode()}?=".encode()),
    st.lists(st.sampled_from(DATE_WORDS), max_size=8).map(lambda words: " ".join(words).encode()),
)
HEADERS = st.lists(st.tuples(NAMES, VALUES).map(b": ".join), max_size=6).map(b"\r\n".join)


@given(HEADERS)
@example(b"Subject: =?gb18030?B?gTDAMA==?=")
@example(b"Date: 1 May 2026 10:00:00 +2400")
def test_any_header_can_be_read(header: bytes) -> None:
    check(header)
    check(canonical(header) + b"\r\nbody\r\n")


def test_every_message_of_the_corpus_can_be_read() -> None:
    if not CORPUS.is_dir():
        pytest.skip("../shared/data/corpus is not beside this checkout")
    files = sorted(CORPUS.glob("*/*.eml"))
    assert len(files) > 300
    read = 0
    for file in files:
        octets = file.read_bytes()
        check(octets)
        check(canonical(octets))
        read += facts.read(canonical(octets)).from_text != ""
    # Most are ordinary mail: a reader that finds nothing would pass the rest of this test.
    assert read > len(files) / 2
