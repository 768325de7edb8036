"""Password hashes: base64(SHA-256(secret)), then bcrypt, in threads of their own.

SHA-256 first, because bcrypt takes 72 octets at most; before it NFC, as keyboards compose a
character in different ways. Two threads and a short queue, so that a storm of sign-ins can neither
starve the store nor pile up.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import bcrypt
from zxcvbn_rs_py import zxcvbn

from mail.errors import StorageBusy, WeakPassword

T = TypeVar("T")

COST = 12
THREADS = 2
QUEUE = 32
SHORTEST = 10
LONGEST_OCTETS = 1024
LEAST_SCORE = 3  # of zxcvbn's 0 to 4
JUDGED_CHARACTERS = 72  # the first: its time grows faster than their number

_WORDS = """
    amber basil birch bronze candle cedar cobalt copper coral cotton crystal dahlia ember fern
    flint garnet ginger harbor hazel indigo island ivory jasmine juniper ladder lantern laurel
    lemon linen lotus maple marble meadow mint mosaic nectar oak olive onyx opal orchid pebble
    pepper pine plum pollen quartz raven reed river saffron sage sand silver slate spruce sun
    thistle timber topaz tulip velvet walnut willow winter yarrow zinc
""".split()  # noqa: SIM905 - seventy lines otherwise


def generate() -> str:
    """A random password that is easy to type: five words and two digits, 37 bits."""
    words = [secrets.choice(_WORDS) for _ in range(5)]
    return "-".join([*words, f"{secrets.randbelow(100):02}"])


def refuse_weak(secret: str, *known: str) -> None:
    """For a new password. `known`: words that others know of its owner. Raises WeakPassword."""
    secret = unicodedata.normalize("NFC", secret)
    octets = secret.encode("utf-8", "surrogatepass")
    if len(secret) < SHORTEST or len(octets) > LONGEST_OCTETS:
        raise WeakPassword(f"a password has {SHORTEST} characters to {LONGEST_OCTETS} octets")
    judged = secret[:JUDGED_CHARACTERS].encode("utf-8", "replace").decode()
    if int(zxcvbn(judged, [word for word in known if word]).score) < LEAST_SCORE:
        raise WeakPassword("this password is too easy to guess; four or five words are not")


class Passwords:
    """`cost` is bcrypt's: each step doubles the work of a check."""

    def __init__(self, *, cost: int = COST) -> None:
        self._cost = cost
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bcrypt")
        self._waiting = 0
        # Checked for users who do not exist, so that they cost the same as a wrong password: a
        # salt of this cost, and in place of a hash what no secret gives.
        self._decoy = bcrypt.gensalt(cost).decode("ascii") + "." * 31

    async def hash(self, secret: str) -> str:
        """The form to keep. Raises StorageBusy when too many wait."""
        return await self._run(partial(_hash, secret, self._cost))

    async def check(self, secret: str, kept: str | None) -> bool:
        """Whether `secret` belongs to `kept`; None, for no such user, costs the same.

        Raises StorageBusy when too many wait.
        """
        matches = await self._run(partial(_matches, secret, kept or self._decoy))
        return matches and kept is not None

    async def refuse_weak(self, secret: str, *known: str) -> None:
        """As the function, which can take a twentieth of a second. Raises StorageBusy too."""
        await self._run(partial(refuse_weak, secret, *known))

    def close(self) -> None:
        self._threads.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= THREADS + QUEUE:
            raise StorageBusy("too many sign-ins at the moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _digest(secret: str) -> bytes:
    octets = unicodedata.normalize("NFC", secret).encode("utf-8", "surrogatepass")
    return base64.b64encode(hashlib.sha256(octets).digest())


def _hash(secret: str, cost: int) -> str:
    return bcrypt.hashpw(_digest(secret), bcrypt.gensalt(cost)).decode("ascii")


def _matches(secret: str, kept: str) -> bool:
    return bcrypt.checkpw(_digest(secret), kept.encode("ascii"))
