"""Addresses: the grammar of RFC 5321 section 4.1.2 and RFC 6531 section 3.3, and nothing beside."""

import contextlib
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail.address import Address, DomainName, Path, parse_domain, parse_host
from mail.errors import BadAddress

LONGEST_LOCAL = "a" * 64
LONGEST_DOMAIN = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])  # 253 octets
ANN = Address("ann", DomainName("example.org"))

GOOD = [
    # text, local part without quoting, domain
    ("ann@example.org", "ann", "example.org"),
    ("Ann.Lee@Example.ORG", "Ann.Lee", "example.org"),  # the local part stays as written
    ("!#$%&'*+-/=?^_`{|}~@example.org", "!#$%&'*+-/=?^_`{|}~", "example.org"),
    ("1@1.example", "1", "1.example"),
    ("ann@localhost", "ann", "localhost"),
    ("ann@a-b.c--d.example", "ann", "a-b.c--d.example"),
    ("ann@my_host._x.example", "ann", "my_host._x.example"),
    ("ann@XN--BCHER-KVA.example", "ann", "xn--bcher-kva.example"),
    ("ann+tag@example.org", "ann+tag", "example.org"),
    # Relay forms are ordinary local parts: nothing is read into them.
    ("ann%example.net@example.org", "ann%example.net", "example.org"),
    ("example.net!ann@example.org", "example.net!ann", "example.org"),
    ('"ann@example.net"@example.org', "ann@example.net", "example.org"),
    # Quoted: the same address as without, when it can be written without.
    ('"ann"@example.org', "ann", "example.org"),
    (r'"a\nn"@example.org', "ann", "example.org"),
    ('"a b"@example.org', "a b", "example.org"),
    ('"a..b"@example.org', "a..b", "example.org"),
    ('"a>b"@example.org', "a>b", "example.org"),
    (r'"a\"b"@example.org', 'a"b', "example.org"),
    (r'"a\\b"@example.org', r"a\b", "example.org"),
    (r'"a\ b"@example.org', "a b", "example.org"),
    ('""@example.org', "", "example.org"),
    # Literals
    ("ann@[192.0.2.1]", "ann", "[192.0.2.1]"),
    ("ann@[IPv6:2001:db8::1]", "ann", "[IPv6:2001:db8::1]"),
    ("ann@[ipv6:2001:DB8:0:0:0:0:0:1]", "ann", "[IPv6:2001:db8::1]"),
    ("ann@[IPv6:::]", "ann", "[IPv6:::]"),
    # RFC 6531, RFC 5891
    ("ännä@example.org", "ännä", "example.org"),
    ("δοκιμή@παράδειγμα.example", "δοκιμή", "xn--hxajbheg2az3al.example"),
    ("ann@bücher.example", "ann", "xn--bcher-kva.example"),
    ("ann@BÜCHER.example", "ann", "xn--bcher-kva.example"),
    ("ann@bu\u0308cher.example", "ann", "xn--bcher-kva.example"),
    ("ann@bücher\u3002example", "ann", "xn--bcher-kva.example"),  # UTS 46: an ideographic full stop
    ("ann@faß.example", "ann", "xn--fa-hia.example"),
    ('"ä b"@example.org', "ä b", "example.org"),
    # RFC 5321 section 4.5.3.1: 64 octets, and what 255 on the wire leave of a domain
    (f"{LONGEST_LOCAL}@example.org", LONGEST_LOCAL, "example.org"),
    ("é" * 32 + "@example.org", "é" * 32, "example.org"),
    ('"' + " " * 62 + '"@example.org', " " * 62, "example.org"),
    ('"' + r"\"" * 31 + '"@example.org', '"' * 31, "example.org"),
    (f"ann@{LONGEST_DOMAIN}", "ann", LONGEST_DOMAIN),
    (f"{LONGEST_LOCAL}@{LONGEST_DOMAIN}", LONGEST_LOCAL, LONGEST_DOMAIN),
]

BAD = [
    *("", "ann", "@", "ann@", "@example.org", '"@example.org', 'ann"@example.org'),
    *("ann@@example.org", "ann@b@example.org", "a@b@c"),
    *(".ann@example.org", "ann.@example.org", "a..b@example.org"),
    *("a b@example.org", " ann@example.org", "ann@example.org ", "ann @example.org"),
    *("ann@ example.org", "ann@exam ple.org", "ann@example.org\t", "a(c)nn@example.org"),
    *('"a"b@example.org', 'a"b"@example.org', '"a".b@example.org', '"a""b"@example.org'),
    *('"ann\\"@example.org', '"ann"', '"ann"example.org', '"a\\é"@example.org'),
    *("a,b@example.org", "a:b@example.org", "a;b@example.org", "a\\b@example.org", "a<b@c.org"),
    *("<ann@example.org>", "Ann <ann@example.org>", "@a.example:ann@example.org"),
    *("ann@.example.org", "ann@example..org", "ann@example.org.", "ann@."),
    *("ann@-example.org", "ann@example-.org", "ann@a.-b", "ann@a/b.example", "ann@a+b.example"),
    *("ann@(c)example.org", "ann@example.org(c)", "ann@exa%mple.org", "ann@example.org:25"),
    *("ann@[]", "ann@[ 192.0.2.1]", "ann@[192.0.2.1", "ann@192.0.2.1]", "ann@[192.0.2.1].org"),
    *("ann@[192.0.2]", "ann@[192.0.2.256]", "ann@[192.0.2.1/24]", "ann@[example.org]"),
    *("ann@[2001:db8::1]", "ann@[IPv6:]", "ann@[IPv6:192.0.2.1]", "ann@[IPv6:1:2]"),
    *("ann@[IPv6:fe80::1%eth0]", "ann@[IPv6:fe80::1%1]", "ann@[tag:text]", "ann@[[192.0.2.1]]"),
    *("ann@bücher.example.", "ann@bücher.example\u3002", "ann@\u3002bücher.example"),
    *("ann@bücher..example", "ann@bücher\u3002\u3002example", "ann@-bücher.example"),
    *("ann@\u00ad.example", "ann@b\u00a0ücher.example", "ann@a\u2028b.example", "ann@a／b.example"),
    *("ann＠example.org", "ann@\U0001f4a9\u200d.example", "ann@xn--ü.example"),
    *("\udc80ann@example.org", "a\ud800@example.org", "ann@\udcff.org", '"\udcc3"@example.org'),
    "a" * 65 + "@example.org",
    "é" * 32 + "a@example.org",
    '"' + " " * 63 + '"@example.org',  # with its quotes: what counts is what stands on the wire
    '"' + r"\"" * 32 + '"@example.org',
    '"' + "a " * 33 + '"@example.org',
    f"ann@{LONGEST_DOMAIN}d",
    "ann@" + "a" * 64 + ".example",
    "ann@" + "ü" * 60 + ".example",
    "ann@" + ".".join(["ü" * 30] * 8),
]

GOOD_IN_PATHS = ("", "@a.example:ann@example.org")  # the null path, and a source route
CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]


@pytest.mark.parametrize(("text", "local", "domain"), GOOD)
def test_addresses(text: str, local: str, domain: str) -> None:
    address = Address.parse(text)
    assert (address.local, address.domain) == (local, domain)
    assert Address.parse(str(address)) == address
    assert Path.read(f"<{text}> SIZE=1") == (Path(address), " SIZE=1")


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text)[:40])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadAddress):
        Address.parse(text)
    if text not in GOOD_IN_PATHS:
        with pytest.raises(BadAddress):
            Path.read(f"<{text}>")


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_controls_stand_nowhere(control: str) -> None:
    for form in (
        "{}ann@b",
        "a{}b@c",
        "ann{}@b",
        '"a{}b"@c',
        r'"a\{}b"@c',
        "a@{}b",
        "a@b{}c",
        "a@b{}",
    ):
        text = form.format(control)
        with pytest.raises(BadAddress):
            Address.parse(text)
        with pytest.raises(BadAddress):
            Path.read(f"<{text}>")


@pytest.mark.parametrize(
    ("text", "address", "rest"),
    [
        ("<>", None, ""),
        ("<> BODY=8BITMIME", None, " BODY=8BITMIME"),
        ("<ann@example.org>", ANN, ""),
        ("<ann@example.org>> x", ANN, "> x"),  # for the caller to judge
        # RFC 5321 section 4.1.1.3: no domain, in any case
        ("<Postmaster>", Address("Postmaster", DomainName("")), ""),
        ("<postMASTER> NOTIFY=NEVER", Address("postMASTER", DomainName("")), " NOTIFY=NEVER"),
        # RFC 5321 appendix C: must be accepted, should be ignored
        ("<@a.example:ann@example.org>", ANN, ""),
        ("<@a.example,@b.example,@c:ann@example.org> x", ANN, " x"),
        ("<@bücher.example:ann@example.org>", ANN, ""),
        ("<@hosta.int,@jkl.org:userc@d.bar.org>", Address("userc", DomainName("d.bar.org")), ""),
    ],
)
def test_paths(text: str, address: Address | None, rest: str) -> None:
    assert Path.read(text) == (Path(address), rest)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "ann@example.org", "ann@example.org>", "<", "<ann@example.org", ">"),
        *("< >", "< ann@example.org>", "<ann@example.org >", " <ann@example.org>", "<<>>"),
        *("<ann>", "<postmaster", "<postmaster@>", "<Postmaster >", "<@:ann@example.org>"),
        *("<@a.example>", "<@a.example:>", "<@a.example ann@example.org>", "<a:ann@example.org>"),
        *("<@a.example,ann@example.org>", "<@a.example,:ann@example.org>", "<,@a:ann@example.org>"),
        *("<@a.example,b.example:ann@example.org>", "<@a:@b:ann@example.org>", "<@a:postmaster>"),
        *("<ann@example.org\r\n>", "\r\n<ann@example.org>", "<ann@example.org\0>"),
    ],
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(BadAddress):
        Path.read(text)


def test_paths_are_written_as_they_are_read() -> None:
    for text in ["<>", "<ann@example.org>", '<"a b"@example.org>', "<Postmaster>"]:
        assert str(Path.read(text)[0]) == text


ANY_LOCAL = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs"]), max_size=15)


@given(ANY_LOCAL)
@example("")
@example("a.b")
@example(".a")
@example('"\\ "')
def test_any_printable_local_part_comes_back(local: str) -> None:
    address = Address(local, DomainName("example.org"))
    assert Address.parse(str(address)) == address
    assert Path.read(str(Path(address))) == (Path(address), "")


@given(st.text(max_size=70), st.sampled_from(["{}@{}", '"{}"@{}']))
@example(r"\"" * 31, '"{}"@{}')
def test_our_form_fits_wherever_what_was_typed_does(local: str, form: str) -> None:
    # The columns of the store have 320 characters: 64, the @, and more than a domain has.
    with contextlib.suppress(BadAddress):
        assert len(str(Address.parse(form.format(local, LONGEST_DOMAIN)))) <= 64 + 1 + 253


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@EXAMPLE.org", "ann@example.ORG"),
        ("STRASSE@example.org", "straße@example.org"),
        ("ΣΊΣΥΦΟΣ@example.org", "σίσυφος@example.org"),
        ("René@example.org", "rene\u0301@example.org"),  # composed or not
        ("\u03b1\u0345\u0301@example.org", "\u1fb4@example.org"),  # marks in any order
        ('"Ann"@example.org', "ann@example.org"),
        (r'"a\nn"@example.org', "ann@example.org"),
    ],
)
def test_folded_forms_are_equal(one: str, other: str) -> None:
    assert Address.parse(one).folded == Address.parse(other).folded
    assert Address.parse(one) != Address.parse(other) or '"' in one


def test_folding_guesses_nothing() -> None:
    # A dot, a tag or an accent makes another address.
    folded = {
        Address.parse(f"{local}@example.org").folded
        for local in ("ann", "a.nn", "ann+x", "ann-x", "änn", '"ann "', "an")
    }
    assert len(folded) == 7


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8))
@example("\u03b1\u0345\u0301")
@example("\u0345\u0308")
@example("İıſK\u01f0ŉ")
def test_folding_is_one_form_of_a_local_part(local: str) -> None:
    forms = [local, *(unicodedata.normalize(form, local) for form in ("NFC", "NFD"))]
    folded = {Address(form, DomainName("example.org")).folded for form in forms}
    assert len(folded) == 1
    (only,) = folded
    assert only.folded == only


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Example.ORG", "example.org"),
        ("org", "org"),
        ("faß.example", "xn--fa-hia.example"),
        (LONGEST_DOMAIN.upper(), LONGEST_DOMAIN),
    ],
)
def test_domains(text: str, domain: str) -> None:
    assert parse_domain(text) == domain
    assert parse_host(text) == domain


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", "a b", "[192.0.2.1]", "a@b", "a\n", "é\n", "*.example", LONGEST_DOMAIN + "d"],
)
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_domain(text)


def test_hosts_may_be_literals() -> None:
    # RFC 5321 section 4.1.3
    assert parse_host("[192.0.2.1]") == "[192.0.2.1]"
    assert parse_host("[IPv6:2001:DB8::1]") == "[IPv6:2001:db8::1]"
    for text in (
        "[",
        "[]",
        "[192.0.2.1",
        "[192.0.2.11",
        "[192.0.2.1]x",
        "[IPv6:::1]]",
        "[IPv6:::1%]",
    ):
        with pytest.raises(BadAddress):
            parse_host(text)


HOSTILE = [
    *("a", ".", "a.", "a-", "-", "@", "@a,", "@a:", "a@", "[", "<", '"', '\\"', "\\"),
    *("é", "é.", "é-", "\u0300"),
]
FORMS = ["{}", "{}@b", "a@{}", "a@{}!", '"{}"@b', "<{}", "<@{}:a@b>", "<a@{}>"]


@pytest.mark.parametrize("piece", HOSTILE, ids=ascii)
@pytest.mark.parametrize("form", FORMS)
def test_hostile_texts_come_to_an_end(piece: str, form: str) -> None:
    text = form.format(piece * (100_000 // len(piece)))
    with pytest.raises(BadAddress):
        Address.parse(text)
    with contextlib.suppress(BadAddress):  # a route is dropped, however long
        Path.read(text)
