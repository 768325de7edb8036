"""DATA: only CRLF.CRLF ends a message, wherever the network cuts it."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mail.data import LINE_OCTETS, DataReader, Finding, content, finding

LARGE = 1_000_000

# Pieces from which look-alikes of the end mark and of stuffed lines arise often.
PIECES = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"a", b"\0", b"\xe9"])
WIRES = st.lists(PIECES, max_size=40).map(b"".join)


def by_lines(wire: bytes) -> tuple[bytes, bytes] | None:
    """RFC 5321 sections 4.1.1.4 and 4.5.2 read line by line: content and what comes after it."""
    lines: list[bytes] = []
    while True:
        line, crlf, wire = wire.partition(b"\r\n")
        if not crlf:
            return None
        if line == b".":
            return b"".join(lines), wire
        lines.append((line[1:] if line.startswith(b".") else line) + crlf)


def only_crlf(octets: bytes) -> bytes:
    """Each CR, LF or CRLF as one CRLF; the last line ended too."""
    out = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return out if not out or out.endswith(b"\r\n") else out + b"\r\n"


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    return [wire[start:stop] for start, stop in pairwise(edges)]


def fed(wire: bytes, places: list[int], limit: int = LARGE) -> tuple[DataReader, bytes]:
    """The reader after these blocks, and all that came behind the end."""
    reader = DataReader(limit)
    behind = b""
    for block in cut(wire, places):
        if reader.ended:
            behind += block
        else:
            reader.feed(block)
    return reader, reader.rest + behind


@given(WIRES, st.lists(st.integers(0, 200), max_size=8))
@example(b".\r\nQUIT\r\n", [1, 2])
@example(b"a\r\n.\r\n", [1, 2, 3, 4, 5])
def test_agrees_with_reading_line_by_line_wherever_it_is_cut(
    wire: bytes, places: list[int]
) -> None:
    expected = by_lines(wire)
    reader, behind = fed(wire, places)
    assert reader.ended == (expected is not None)
    if expected is not None:
        octets, after = expected
        assert reader.size == len(octets)
        assert behind == after
        assert content(reader.wire()) == only_crlf(octets)


@given(WIRES, st.lists(st.integers(0, 200), max_size=8), st.integers(0, 30))
def test_limit_is_exact_and_independent_of_the_cuts(
    wire: bytes, places: list[int], limit: int
) -> None:
    expected = by_lines(wire)
    reader, behind = fed(wire, places, limit)
    assert reader.ended == (expected is not None)
    if expected is not None:
        octets, after = expected
        assert reader.too_large == (len(octets) > limit)
        assert reader.hopeless == (len(octets) > 2 * limit)
        assert reader.keeping == (not reader.too_large)
        assert behind == after


def test_every_pair_of_line_ends_around_a_dot_but_one_is_content() -> None:
    ends = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\r", b"\n\n", b"\0\r\n", b"\r\0\n"]
    for before in ends:
        for after in ends:
            mark = before + b"." + after
            if b"\r\n.\r\n" in mark:
                continue
            reader, behind = fed(b"Subject: one\r\n\r\nx" + mark + b"MAIL\r\n.\r\n", [])
            assert behind == b"", mark
            assert b"MAIL\r\n" in content(reader.wire()), mark


def test_empty_message_ends_with_the_line_after_data() -> None:
    reader, behind = fed(b".\r\nNOOP\r\n", [])
    assert (reader.ended, reader.size, content(reader.wire()), behind) == (
        True,
        0,
        b"",
        b"NOOP\r\n",
    )


def test_dots_are_undone_before_bare_line_ends_become_crlf() -> None:
    # RFC 5321 section 4.5.2 speaks of lines, and only CRLF ends one: "..x" behind LF stays.
    reader, _ = fed(b"..a\r\n..b\n..c\r..d\r\n.\r\n", [])
    assert content(reader.wire()) == b".a\r\n.b\r\n..c\r\n..d\r\n"


def test_stuffed_dots_do_not_count_against_the_limit() -> None:
    reader, _ = fed(b"..\r\n" * 10 + b".\r\n", [7, 8, 9], limit=30)
    assert reader.size == 30
    assert not reader.too_large


def test_a_message_past_the_limit_is_no_longer_held() -> None:
    reader = DataReader(1000)
    for _ in range(3000):
        reader.feed(b"x")
    assert reader.too_large
    assert reader.hopeless
    assert len(reader._octets) < 8  # noqa: SLF001 - what is held is the point here


def test_discarding_still_finds_the_end() -> None:
    reader = DataReader(1000)
    reader.feed(b"Subject: x\r\n")
    reader.discard()
    reader.feed(b"y\r\n.")
    reader.feed(b"\r\nQUIT\r\n")
    assert reader.ended
    assert not reader.too_large
    assert reader.rest == b"QUIT\r\n"


def test_nul_is_found_in_the_header_only() -> None:
    assert finding(b"Subject: a\0b\r\n\r\nbody\r\n") is Finding.NUL_IN_HEADER
    assert finding(b"Subject: a\0b\r\n") is Finding.NUL_IN_HEADER
    assert finding(b"Subject: a\r\n\r\nbo\0dy\r\n") is None
    assert finding(b"\r\nbo\0dy\r\n\r\n") is None
    assert finding(b"") is None


def test_lines_up_to_64_kib_with_their_crlf_are_kept() -> None:
    longest = b"x" * (LINE_OCTETS - 2) + b"\r\n"
    short = b"y\r\n"
    assert finding(b"\r\n" + longest * 3 + short + longest + short) is None
    assert finding(b"\r\n" + short + b"x" + longest + short) is Finding.LINE_TOO_LONG
    assert finding(b"\r\n" + longest * 2 + b"x" + longest) is Finding.LINE_TOO_LONG
    assert finding(b"\r\n" + (b"z" * 70_000 + b"\r\n")) is Finding.LINE_TOO_LONG


@given(WIRES, st.lists(st.integers(0, 200), max_size=8))
def test_what_is_spilled_and_what_is_left_are_the_message(wire: bytes, places: list[int]) -> None:
    expected = by_lines(wire)
    reader = DataReader(LARGE)
    spilled = b""
    for block in cut(wire, places):
        if not reader.ended:
            reader.feed(block)
        if not reader.ended:
            spilled += reader.spill()
            assert reader.held <= 4  # CRLF.CR may be the beginning of the end
    assert reader.ended == (expected is not None)
    if expected is not None:
        octets, _ = expected
        assert reader.size == len(octets)
        assert content(spilled + reader.wire()) == only_crlf(octets)
