"""Who is it, and is the secret right.

IN        a user name (login or own address), a secret, the peer
OUT       SignedIn; a good check is remembered for REMEMBERED_S under a keyed hash
MAY       read accounts from the store
NEVER     tell an unknown user from a wrong secret, by text, work or time; lock an account
FAILS     BadCredentials, StorageBusy
RFC       3206 (what a POP3 client is told), 4616 (the secret is compared as given)
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from auth.passwords import LONGEST_OCTETS, Passwords
from mail.errors import BadCredentials
from net.limits import Failures, Peer
from store.records import Account, Credential
from store.store import Store

REMEMBERED_S = 300
REMEMBERED = 10_000  # checks; the oldest is forgotten
SLOWEST_FAILURE_S = 0.3  # no failure is answered sooner
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # in no name, and no database takes one


@dataclass(frozen=True, slots=True)
class SignedIn:
    account: Account
    credential: Credential


class Login:
    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        failures: Failures,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._failures = failures
        self._clock = clock  # monotonic seconds
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()

    async def check(self, user: str, secret: str, peer: Peer) -> SignedIn:
        """Raises BadCredentials, no sooner than SLOWEST_FAILURE_S after the call; StorageBusy."""
        began = self._clock()
        name = user.casefold()
        # The delay of a known and of an unknown name is one: the table is keyed by what was typed.
        await asyncio.sleep(self._failures.delay_s(name, peer))
        found = None if _SURROGATE.search(user) else await self._store.accounts.for_sign_in(user)
        credential = found[1] if found else None
        if len(secret.encode("utf-8", "surrogatepass")) > LONGEST_OCTETS:
            credential = None
        proof = self._proof(credential, secret)
        if not self._remembers(proof):
            kept = credential.secret if credential else None
            if not await self._passwords.check(secret, kept):
                self._failures.add(name, peer)
                await asyncio.sleep(SLOWEST_FAILURE_S - (self._clock() - began))
                raise BadCredentials("wrong user name or password")
            self._remember(proof)
        if found is None:
            raise BadCredentials("wrong user name or password")
        self._failures.forget(name, peer)
        return SignedIn(*found)

    def _proof(self, credential: Credential | None, secret: str) -> bytes:
        """Tied to the credential's version: a changed password is never remembered."""
        tie = f"{credential.id}:{credential.version}:" if credential else "-:"
        message = (tie + secret).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, message, "sha256")

    def _remembers(self, proof: bytes) -> bool:
        until = self._good.get(proof)
        return until is not None and self._clock() < until

    def _remember(self, proof: bytes) -> None:
        self._good[proof] = self._clock() + REMEMBERED_S
        self._good.move_to_end(proof)
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)
