"""One-time codes by the vectors of the RFCs, and the vault that their secrets lie in."""

import pytest

from auth import totp
from auth.vault import Unsealable, Vault

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("counter", "code"),
    list(
        enumerate(
            "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489".split()  # noqa: SIM905 - as the RFC lists them
        )
    ),
)
def test_rfc_4226_appendix_d(counter: int, code: str) -> None:
    assert totp.code(SECRET, counter) == code


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_rfc_6238_appendix_b(at: int, code: str) -> None:
    """It lists eight digits, of which ours are the last six."""
    assert totp.step_of(code[2:], SECRET, now_s=at) == at // 30


def test_a_code_of_the_step_before_or_after_is_taken_and_no_other() -> None:
    now = 1_000_000 * 30 + 10
    taken = [
        step - 1_000_000
        for step in range(999_990, 1_000_011)
        if totp.step_of(totp.code(SECRET, step), SECRET, now_s=now) is not None
    ]
    assert taken == [-1, 0, 1]


@pytest.mark.parametrize("given", ["", "12345", "1234567", "abcdef", "\udc80" * 6, "１２３４５６"])
def test_what_is_no_code(given: str) -> None:
    assert totp.step_of(given, SECRET, now_s=59) is None


def test_a_code_may_be_typed_in_two_groups() -> None:
    assert totp.step_of("287 082", SECRET, now_s=59) == 1


def test_what_the_app_is_given() -> None:
    assert totp.shown(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert totp.uri(SECRET, account="ada", issuer="mail.example.org") == (
        "otpauth://totp/mail.example.org:ada"
        "?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=mail.example.org"
    )


def test_what_is_sealed_opens_for_its_record_and_key_alone() -> None:
    vault = Vault(bytes(32))
    sealed = vault.seal(b"secret", record=7)
    assert len(vault.seal(SECRET, record=7)) <= 200  # the column
    assert sealed != vault.seal(b"secret", record=7)
    assert vault.open(sealed, record=7) == b"secret"
    changed = ("A" if sealed[20] != "A" else "B").join((sealed[:20], sealed[21:]))
    for text, record, key in (
        (sealed, 8, bytes(32)),
        (sealed, 7, bytes(range(32))),
        (changed, 7, bytes(32)),
        (sealed[:8], 7, bytes(32)),
        ("", 7, bytes(32)),
        ("no base64!", 7, bytes(32)),
    ):
        with pytest.raises(Unsealable):
            Vault(key).open(text, record=record)
