"""Password hashes: every octet counts, and an unknown user costs what a known one does."""

import asyncio
import re
import time
from collections.abc import Iterator

import pytest

from auth.passwords import QUEUE, THREADS, Passwords, generate, refuse_weak
from mail.errors import StorageBusy, WeakPassword

CHEAP = 4  # bcrypt's lowest cost


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    opened = Passwords(cost=CHEAP)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("secret", "other"),
    [
        ("correct horse", "correct horsf"),
        ("correct horse", "Correct horse"),
        ("correct horse", "correct horse "),
        ("correct horse", "correct horse\0"),
        ("a\0b", "a\0c"),
        ("", " "),
        ("x" * 72, "x" * 73),  # bcrypt alone reads 72 octets
        ("x" * 200 + "a", "x" * 200 + "b"),
        ("пароль", "парол"),
        ("\udc80", "\udc81"),
    ],
)
async def test_a_secret_and_its_neighbour(passwords: Passwords, secret: str, other: str) -> None:
    kept = await passwords.hash(secret)
    assert await passwords.check(secret, kept)
    assert not await passwords.check(other, kept)


async def test_a_character_is_the_same_however_a_keyboard_composes_it(passwords: Passwords) -> None:
    kept = await passwords.hash("caf\u00e9 au lait")
    assert await passwords.check("cafe\u0301 au lait", kept)


async def test_a_hash_tells_nothing(passwords: Passwords) -> None:
    one, other = await passwords.hash("correct horse"), await passwords.hash("correct horse")
    assert one != other
    assert "correct" not in one
    assert len(one) <= 200  # the column
    assert re.fullmatch(r"\$2b\$04\$.{53}", one)


async def test_nobody_has_the_secret_of_an_unknown_user(passwords: Passwords) -> None:
    for secret in ("", "x", "correct horse", "." * 31, "\0" * 100, "x" * 5000):
        assert not await passwords.check(secret, None)


async def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    passwords = Passwords(cost=8)
    kept = await passwords.hash("correct horse")

    async def fastest(kept: str | None) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await passwords.check("wrong horse", kept)
            times.append(time.perf_counter() - began)
        return min(times)

    known, unknown = await fastest(kept), await fastest(None)
    passwords.close()
    assert known / 3 < unknown < known * 3


async def test_too_many_at_once_are_told_at_once(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    checks = [passwords.check("correct horse", kept) for _ in range(THREADS + QUEUE + 5)]
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert results[: THREADS + QUEUE] == [True] * (THREADS + QUEUE)
    assert all(isinstance(result, StorageBusy) for result in results[THREADS + QUEUE :])
    assert await passwords.check("correct horse", kept)


async def test_who_gives_up_leaves_the_queue(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    for _ in range(3):
        waiting = [
            asyncio.ensure_future(passwords.check("x", kept)) for _ in range(THREADS + QUEUE)
        ]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    assert await passwords.check("correct horse", kept)


def test_generated_passwords_are_easy_to_type_and_never_the_same() -> None:
    made = {generate() for _ in range(1000)}
    assert len(made) == 1000
    for secret in made:
        assert re.fullmatch(r"(?:[a-z]+-){5}[0-9]{2}", secret)
        refuse_weak(secret)


TEN, LONGEST = "kX9#mQ2$vL", "".join(f"{n * n:x}" for n in range(400))[:1024]


@pytest.mark.parametrize(
    "secret", [TEN, LONGEST, "é" * 3 + TEN, "correct horse battery", "\udc80" * 3 + TEN]
)
def test_passwords_that_will_do(secret: str) -> None:
    refuse_weak(secret)


@pytest.mark.parametrize(
    "secret", ["", TEN[:9], LONGEST + "x", "é" * 508 + TEN, "\udc80" * 342, "e\u0301" * 9]
)
def test_passwords_that_are_too_short_or_too_long(secret: str) -> None:
    with pytest.raises(WeakPassword, match="10 characters to 1024 octets"):
        refuse_weak(secret)


@pytest.mark.parametrize(
    "secret",
    ["password123", "qwertyuiop", "x" * 1024, "P@ssw0rd2024", "ada.lovelace"],
)
def test_passwords_that_are_guessed_first(secret: str) -> None:
    with pytest.raises(WeakPassword, match="too easy"):
        refuse_weak(secret, "ada.lovelace@example.org")


def test_what_others_know_of_the_owner_is_no_secret() -> None:
    secret = "kittiwake-harbour"
    refuse_weak(secret)
    with pytest.raises(WeakPassword, match="too easy"):
        refuse_weak(secret, "ada", "kittiwake-harbour", "example.org")
