"""The second factor of an account: codes of an authenticator app, each taken once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from auth import totp
from auth.vault import Vault
from mail.ident import new_row_id
from store.records import Account, Totp
from store.store import Store


class SecondFactor:
    """`issuer` is what the app shows the account under."""

    def __init__(
        self, store: Store, vault: Vault, *, issuer: str, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._vault = vault
        self._issuer = issuer
        self._clock = clock

    async def start(self, account: Account) -> tuple[str, str]:
        """A new secret, as people type it and as a URI; `turn_on` follows. Raises AlreadyOn."""
        secret, record = totp.new_secret(), new_row_id()
        sealed = self._vault.seal(secret, record=record)
        await self._store.factors.start_totp(account, sealed, record)
        return totp.shown(secret), totp.uri(secret, account=account.login, issuer=self._issuer)

    async def turn_on(self, account: Account, code: str) -> bool:
        """False when the code is wrong, or nothing waits for one."""
        return await self._take(await self._store.factors.totp(account, waiting=True), code)

    async def accepts(self, account: Account, code: str) -> bool:
        """Whether the code is right, and was not used before."""
        return await self._take(await self._store.factors.totp(account), code)

    async def _take(self, kept: Totp | None, code: str) -> bool:
        if kept is None:
            return False
        secret = self._vault.open(kept.sealed, record=kept.id)
        step = totp.step_of(code, secret, now_s=self._clock().timestamp())
        return step is not None and await self._store.factors.take_step(kept, step)
