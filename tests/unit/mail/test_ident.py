"""Ids: what clients keep for years must never change its form."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.ident import UniqueId, new_row_id, parse_row_id, row_id_text, texts

CROCKFORD = set("0123456789abcdefghjkmnpqrstvwxyz")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def test_the_time_of_the_ulid_specification_gives_its_text() -> None:
    at = EPOCH + timedelta(milliseconds=1469918176385)
    assert str(UniqueId.new(at)).startswith("01aryz6s41")
    assert str(UniqueId.first_of(at)) == "01aryz6s41" + "0" * 16


@given(st.integers(0, 2**47), st.integers(0, 999))
def test_the_time_is_exact_to_the_millisecond(milliseconds: int, microseconds: int) -> None:
    at = EPOCH + timedelta(milliseconds=milliseconds, microseconds=microseconds)
    assert int.from_bytes(UniqueId.new(at).octets[:6], "big") == milliseconds


@given(st.binary(min_size=16, max_size=16))
def test_text_and_octets_are_one_to_one(octets: bytes) -> None:
    text = str(UniqueId(octets))
    assert len(text) == 26
    assert set(text) <= CROCKFORD
    assert UniqueId.parse(text) == UniqueId(octets)


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=40))
def test_texts_in_bulk_are_those_of_one_at_a_time(ids: list[bytes]) -> None:
    assert texts(b"".join(ids)) == [str(UniqueId(octets)) for octets in ids]


def test_every_bit_of_an_id_is_in_its_text_in_bulk() -> None:
    ids = [(1 << bit).to_bytes(16, "big") for bit in range(128)]
    ids += [bytes(16), b"\xff" * 16]
    assert [UniqueId.parse(text).octets for text in texts(b"".join(ids))] == ids


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_ids_octets_and_texts_have_one_order(one: bytes, other: bytes) -> None:
    assert (UniqueId(one) < UniqueId(other)) == (one < other)
    assert (str(UniqueId(one)) < str(UniqueId(other))) == (one < other)


@given(MOMENTS, MOMENTS)
def test_ids_are_ordered_by_arrival(one: datetime, other: datetime) -> None:
    earlier, later = sorted([one, other])
    assert UniqueId.first_of(earlier) <= UniqueId.new(earlier)
    if later - earlier > timedelta(milliseconds=1):
        assert UniqueId.new(earlier) < UniqueId.first_of(later)


def test_ids_of_one_moment_differ() -> None:
    assert len({UniqueId.new(EPOCH) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 25,
        "0" * 27,
        "8" + "0" * 25,  # 129 bits
        "z" * 26,
        "01ARYZ6S410000000000000000",  # only the form that is handed out
        "01aryz6s41000000000000000i",
        "01aryz6s41000000000000000l",
        "01aryz6s41000000000000000o",
        "01aryz6s41000000000000000u",
        "01aryz6s4100000000000000-0",
        "01aryz6s410000000000000000\n",
        " 1aryz6s410000000000000000",
        "٠" * 26,
    ],
)
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(ValueError, match="an id"):
        UniqueId.parse(text)


def test_row_ids_have_eleven_characters_and_are_never_zero() -> None:
    ids = {new_row_id() for _ in range(1000)}
    assert len(ids) == 1000
    for row_id in [*ids, 1, 2**52 - 1]:
        assert 0 < row_id < 2**52
        text = row_id_text(row_id)
        assert len(text) == 11
        assert set(text) <= CROCKFORD
        assert parse_row_id(text) == row_id


@pytest.mark.parametrize("text", ["", "1", "0" * 12, "0000000000I", "0000000000\n", "-0000000001"])
def test_other_texts_are_no_row_ids(text: str) -> None:
    with pytest.raises(ValueError, match="an id"):
        parse_row_id(text)
