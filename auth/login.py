"""Who is it, and is the secret right.

IN        a user name (login or own address), a secret, the peer
OUT       SignedIn; a good check is remembered for REMEMBERED_S under a keyed hash
MAY       read accounts from the store; write there, later, when a credential was used
NEVER     tell an unknown user from a wrong secret, by text, work or time; lock an account
FAILS     BadCredentials, CodeNeeded, AccountDisabled, TooMany, StorageBusy
RFC       3206 (what a POP3 client is told), 4616 (section 2: the secret is prepared; ours by NFC)
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TypeVar

import structlog

from auth import app_passwords, codes
from auth.passwords import LONGEST_OCTETS, Passwords
from mail.errors import AccountDisabled, BadCredentials, CodeNeeded, Failure, TooMany
from net.limits import FailureCounts, Peer, Refused
from store.records import Account, AccountState, ApiToken, Credential, CredentialKind
from store.store import Store

T = TypeVar("T")
Second = Callable[[Account], Awaitable[bool]]
"""Whether the second factor of an account was shown too."""

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
        self,
        user: str,
        secret: str,
        peer: Peer,
        *,
        app_passwords_too: bool = False,
        second: Second | None = None,
    ) -> SignedIn:
        """Raises BadCredentials, no sooner than SLOWEST_FAILURE_S after the call; TooMany at once;
        StorageBusy. A wrong secret costs one slow check, whoever it is for.

        With `app_passwords_too` it is a mail app: it has no codes, so that the password of an
        account with TOTP opens nothing. Else `second` is asked about it, CodeNeeded without one;
        and after the right secret AccountDisabled.
        """

        async def prove() -> SignedIn | None:
            keyed = app_passwords.keyed(secret, self._app_key) if app_passwords_too else None
            found = await self._find(user, keyed)
            if found and app_passwords_too and not _opens_mail(found, peer):
                found = None
            if not await self._proves(found.credential if found else None, secret):
                return None
            assert found
            if app_passwords_too:
                return found
            if not found.account.totp:
                return found
            if second is None:
                raise CodeNeeded("send the code of the authenticator app too")
            return found if await second(found.account) else None

        found = await self.attempt(user, secret, peer, prove)
        if found.account.state is AccountState.DISABLED:
            raise AccountDisabled("this account is disabled; ask the administrator")
        if self._store.credentials.use_is_due(found.credential):
            self.note_use(found.credential, peer)
        return found

    async def confirm(self, account: Account, secret: str, peer: Peer) -> Credential:
        """The password of somebody who is signed in, typed once more. Raises as `check`."""

        async def prove() -> Credential | None:
            found = await self._find(account.login, None)
            proved = found and await self._proves(found.credential, secret)
            return found.credential if found and proved else None

        return await self.attempt(account.login, secret, peer, prove)

    async def recover(self, user: str, code: str, new: str, peer: Peer) -> int:
        """Spends a recovery code for a new password, and says how many are left.

        Sessions end and TOTP is off. Raises as `check`.
        """

        async def prove() -> int | None:
            hashed = await self._passwords.hash(new)  # first: an unknown user costs as much
            found = await self._find(user, None)
            if found is None:
                return None
            keyed = codes.recovery_hash(self._app_key, code)
            return await self._store.factors.recover(found.account, keyed, hashed)

        return await self.attempt(user, code, peer, prove)

    async def attempt(
        self, user: str, secret: str, peer: Peer, prove: Callable[[], Awaitable[T | None]]
    ) -> T:
        """What `prove` gives, held to the limits of wrong secrets; None is one.

        What it raises is neither a failure nor a success.
        """
        began = self._clock()
        # The delay of a known and of an unknown name is one: the table is keyed by what was typed.
        name = user.casefold()
        wait = await self._failures.next_try(name, peer)
        if isinstance(wait, Refused):
            raise TooMany(wait.reason, retry_after_s=wait.retry_after_s)
        await asyncio.sleep(wait)
        secret_hash = self._secret_hash(name, secret)
        try:
            found = await prove()
        except asyncio.CancelledError:
            # Who leaves before the answer has had the work done all the same.
            self._failures.add(name, peer, secret_hash=secret_hash)
            raise
        if found is None:
            self._failures.add(name, peer, secret_hash=secret_hash)
            await asyncio.sleep(SLOWEST_FAILURE_S - (self._clock() - began))
            raise BadCredentials("wrong user name or password")
        self._failures.forget(name, peer)
        return found

    def forgive(self, peer: Peer) -> None:
        """Forgets the wrong secrets of a client."""
        self._failures.forgive(peer)

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

    def note_use(self, credential: Credential | ApiToken, peer: Peer) -> None:
        """Writes it down later; nobody waits for that."""
        note = asyncio.create_task(self._note_use(credential, peer))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _note_use(self, credential: Credential | ApiToken, peer: Peer) -> None:
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


def allowed(peer: Peer, networks: Sequence[str]) -> bool:
    """Whether a credential may be used from there; none named: from anywhere."""
    return not networks or peer.within([ip_network(each) for each in networks])


def _opens_mail(found: SignedIn, peer: Peer) -> bool:
    """Whether this credential would let a mail app in, if the secret is right."""
    if found.account.state is not AccountState.OPEN:
        return False
    if found.credential.kind is CredentialKind.APP_PASSWORD:
        return allowed(peer, found.credential.ip_allow)
    return not found.account.totp
