"""App passwords: enough bits, easy to type, and found however they are written."""

import re

import pytest

from auth.app_passwords import generate, keyed

KEY = bytes(range(32))
SHOWN = "0a1b2-c3d4e-5f6g7-h8j9k-mnpqrs"


def test_a_new_one_has_130_bits_in_groups() -> None:
    made = {generate() for _ in range(1000)}
    assert len(made) == 1000
    characters = "[0-9a-hjkmnp-tv-z]"  # Crockford's 32
    for secret in made:
        assert re.fullmatch(rf"(?:{characters}{{5}}-){{4}}{characters}{{6}}", secret)
        assert keyed(secret, KEY)


@pytest.mark.parametrize(
    "typed",
    [
        SHOWN.replace("-", ""),
        SHOWN.upper(),
        SHOWN.replace("-", " "),
        " " + SHOWN + " ",
        SHOWN.replace("0", "o").replace("1", "l"),
        SHOWN.replace("0", "O").replace("1", "I"),
    ],
)
def test_case_spaces_and_look_alikes_do_not_count(typed: str) -> None:
    assert keyed(typed, KEY) == keyed(SHOWN, KEY)


@pytest.mark.parametrize(
    "typed", ["", SHOWN[:-1], SHOWN + "0", SHOWN[:-1] + "u", SHOWN[:-1] + "é", "\udc80" * 26, "x"]
)
def test_what_cannot_be_one(typed: str) -> None:
    assert keyed(typed, KEY) is None


def test_the_form_that_is_kept_tells_nothing_without_the_key() -> None:
    kept = keyed(SHOWN, KEY)
    assert kept
    assert len(kept) <= 200  # the column
    assert kept != keyed(SHOWN, bytes(32))
    assert kept != keyed(SHOWN[:-1] + "t", KEY)
