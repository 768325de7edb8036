"""Codes that people copy: enough bits, easy to type, and one kind never taken for another."""

import re

import pytest

from auth import codes

KEY = bytes(range(32))


def test_recovery_codes_are_ten_and_found_however_they_are_typed() -> None:
    shown, kept = codes.recovery_codes(KEY)
    assert len(set(shown)) == len(set(kept)) == 10
    for code, hashed in zip(shown, kept, strict=True):
        assert re.fullmatch(r"(?:[0-9a-hjkmnp-tv-z]{5}-){2}[0-9a-hjkmnp-tv-z]{5}", code)
        for typed in (code, code.upper(), code.replace("-", " "), code.replace("0", "O")):
            assert codes.recovery_hash(KEY, typed) == hashed
        assert codes.recovery_hash(bytes(32), code) != hashed


@pytest.mark.parametrize("typed", ["", "x", "u" * 15, "0" * 14, "0" * 16, "\udc80" * 15])
def test_what_cannot_be_a_code_is_none_that_was_given(typed: str) -> None:
    assert codes.read(typed, codes.RECOVERY) is None
    assert codes.recovery_hash(KEY, typed) not in codes.recovery_codes(KEY)[1]


def test_kinds_are_apart() -> None:
    hashes = {codes.keyed(KEY, kind, "x") for kind in ("recovery", "invite", "token", "refresh")}
    assert len(hashes) == 4


def test_a_token_has_130_bits() -> None:
    made = {codes.api_token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"rst_[0-9a-hjkmnp-tv-z]{26}", token) for token in made)


def test_the_setup_code_is_the_installations() -> None:
    code = codes.setup_code(KEY)
    assert re.fullmatch(r"(?:[0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}", code)
    assert code == codes.setup_code(KEY) != codes.setup_code(bytes(32))
    assert codes.is_setup_code(KEY, code.upper().replace("-", " "))
    for wrong in ("", "x", code[:-1], code + "0", codes.setup_code(bytes(32))):
        assert not codes.is_setup_code(KEY, wrong)
