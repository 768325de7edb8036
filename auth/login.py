"""Who is it, and is the secret right.

IN        a user name (login or own address), a secret, the peer
OUT       SignedIn; a good check is remembered for REMEMBERED_S under a keyed hash
MAY       read accounts from the store; write there, later, when a credential was used
NEVER     tell an unknown user from a wrong secret, by text, work or time; lock an account
FAILS     BadCredentials, TooMany, StorageBusy
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

import structlog

from auth import app_passwords
from auth.passwords import LONGEST_OCTETS, Passwords
from mail.errors import BadCredentials, Failure, TooMany
from net.limits import FailureCounts, Peer, Refused
from store.records import Account, Credential, CredentialKind
from store.store import Store

REMEMBERED_S = 300
REMEMBERED = 10_000  # checks; the oldest is forgotten
SLOWEST_FAILURE_S = 0.3  # no failure is answered sooner
_IN_NO_NAME = re.compile(r"[\0\ud800-\udfff]")  # and no database takes them all


@dataclass(frozen=True, slots=True)
class SignedIn:
    account: Account
    credential: Credential


class Login:
    """`key` is that of the app passwords."""

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        failures: FailureCounts,
        *,
        key: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._failures = failures
        self._app_key = key
        self._clock = clock  # monotonic seconds
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._notes: set[asyncio.Task[None]] = set()

    async def check(
        self, user: str, secret: str, peer: Peer, *, app_passwords_too: bool = False
    ) -> SignedIn:
        """Raises BadCredentials, no sooner than SLOWEST_FAILURE_S after the call; TooMany at once;
        StorageBusy. A wrong secret costs one slow check, whoever it is for.
        """
        began = self._clock()
        # The delay of a known and of an unknown name is one: the table is keyed by what was typed.
        name = user.casefold()
        wait = await self._failures.next_try(name, peer)
        if isinstance(wait, Refused):
            raise TooMany(wait.reason, retry_after_s=wait.retry_after_s)
        await asyncio.sleep(wait)
        keyed = app_passwords.keyed(secret, self._app_key) if app_passwords_too else None
        found = await self._find(user, keyed)
        if not await self._proves(found.credential if found else None, secret):
            self._failures.add(name, peer, secret_hash=self._secret_hash(name, secret))
            await asyncio.sleep(SLOWEST_FAILURE_S - (self._clock() - began))
            raise BadCredentials("wrong user name or password")
        assert found
        self._failures.forget(name, peer)
        if self._store.credentials.use_is_due(found.credential):
            note = asyncio.create_task(self._note_use(found.credential, peer))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)
        return found

    async def _find(self, user: str, keyed: str | None) -> SignedIn | None:
        if _IN_NO_NAME.search(user):
            return None
        found = await self._store.accounts.for_sign_in(user, keyed=keyed)
        return SignedIn(*found) if found else None

    async def _proves(self, credential: Credential | None, secret: str) -> bool:
        if credential and credential.kind is CredentialKind.APP_PASSWORD:
            return True  # the secret is what found it
        if len(secret.encode("utf-8", "surrogatepass")) > LONGEST_OCTETS:
            credential = None
        proof = self._proof(credential, secret)
        if self._remembers(proof):
            return True
        if not await self._passwords.check(secret, credential.secret if credential else None):
            return False
        self._remember(proof)
        return True

    async def _note_use(self, credential: Credential, peer: Peer) -> None:
        try:
            await self._store.credentials.note_use(credential, peer.ip)
        except Failure as failure:  # nobody's sign-in or mail depends on it
            structlog.get_logger().warning("login.use_unwritten", why=type(failure).__name__)

    def _secret_hash(self, name: str, secret: str) -> int:
        message = f"{name}\0{secret}".encode("utf-8", "surrogatepass")
        # Not by the key of this process: counts may be those of several.
        return int.from_bytes(hmac.digest(self._app_key, message, "sha256")[:4], "big")

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
