"""What may be done with collectors, for the API and the command line alike.

Secrets are sealed here, and opened where a run or a test begins. None leaves.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from auth.vault import Unsealable
from collector import client, presets
from collector.client import Account
from collector.dial import STLS_PORT, TLS_PORT
from collector.fetch import Tools
from collector.presets import Provider
from mail.address import Address
from mail.errors import (
    BadName,
    Failure,
    PasswordNeeded,
    ProviderHasNoPop3,
    ProviderNeedsOAuth,
    TargetNotAllowed,
    UpstreamTimeout,
)
from mail.ident import new_row_id
from store.lists import Guard, unguarded
from store.records import (
    Collector,
    CollectorOwner,
    CollectorSettings,
    CollectorStep,
    CollectorWish,
    Discovered,
    StepName,
)

TEST_S: Final = 25.0  # all steps together: somebody waits
SECRET_OCTETS: Final = 1024


class Collecting:
    """`every_s`: of a collector that has no pause of its own."""

    def __init__(self, tools: Tools, *, every_s: int) -> None:
        self.tools = tools
        self._every_s = every_s

    def discover(self, address: str) -> Discovered:
        """Raises BadAddress."""
        parsed = Address.parse(address)
        found = presets.discover(parsed)
        return Discovered(found.host, TLS_PORT, str(parsed), found.needs, found.help)

    async def create(
        self, owner: CollectorOwner, wish: CollectorWish, *, test: bool = True
    ) -> Collector:
        """A new one, whose first run is at once. With `test` it is made only if a login succeeds.

        Raises NameTaken, BadAddress, BadName, ProviderNeedsOAuth, ProviderHasNoPop3,
        TargetNotAllowed, PasswordNeeded, and with `test` the Upstream family.
        """
        made = self._described(owner, wish)
        if test:
            await self._try(made, [])
        await self.tools.store.collectors.add(made)
        return made

    async def configure(
        self, owner: CollectorOwner, wish: CollectorWish, *, test: bool = True
    ) -> tuple[Collector, bool]:
        """As `create`, or a change of the one there is of this host and user name; whether new."""
        described = self._described(owner, wish)
        for each in await self.tools.store.collectors.of(owner.maildrop_id):
            if (each.host, each.username) == (described.host, described.username):
                return await self.change(owner, each.id, wish, test=test), False
        return await self.create(owner, wish, test=test), True

    async def change(
        self,
        owner: CollectorOwner,
        source_id: int,
        wish: CollectorWish,
        *,
        guard: Guard[Collector] = unguarded,
        test: bool = False,
    ) -> Collector:
        """Raises as `create`, and NotFound, PasswordNeeded, what `guard` raises."""
        collectors = self.tools.store.collectors
        found = await collectors.get(owner.maildrop_id, source_id)
        guard(found)
        settings = CollectorSettings()
        for name in ("name", "address", "port", "username", "keep_days", "every_s", "paused"):
            if name in wish:
                settings[name] = wish[name]
        if "host" in wish:
            settings["host"] = _host(wish["host"])
        if "address" in settings:
            settings["address"] = str(Address.parse(settings["address"]))
        where = (found.host, found.port, found.username)
        there = (
            settings.get("host", found.host),
            settings.get("port", found.port),
            settings.get("username", found.username),
        )
        self._check_place(owner, there[0], there[1])
        if "password" in wish:
            settings["sealed"] = self._seal(wish["password"], source_id)
        elif where != there:
            raise PasswordNeeded("another host, port or user name needs the password again")
        if test:
            await self._try(replace(found, **settings), [])
        return await collectors.change(owner.maildrop_id, source_id, guard=guard, **settings)

    async def test(self, owner: CollectorOwner, source_id: int) -> list[CollectorStep]:
        """Goes as far as counting the messages, and fetches none. Raises NotFound."""
        found = await self.tools.store.collectors.get(owner.maildrop_id, source_id)
        done: list[str] = []
        failed = ""
        try:
            await self._try(found, done)
        except Failure as failure:
            failed = failure.public
        steps = [
            CollectorStep(step, ok=True, detail=detail)
            for step, detail in zip(_STEPS, done, strict=False)
        ]
        if failed:
            steps.append(CollectorStep(_next(done), False, failed))
        return steps

    async def _try(self, source: Collector, done: list[str]) -> None:
        """Adds a text to `done` for each of _STEPS. Raises the Upstream family; `step` in its facts
        is the one that failed.
        """
        try:
            await self._walk(source, done)
        except Failure as failure:
            failure.facts["step"] = _next(done)
            raise

    async def _walk(self, source: Collector, done: list[str]) -> None:
        tools = self.tools
        try:
            secret = tools.vault.open(source.sealed, record=source.id).decode()
        except Unsealable as error:
            raise PasswordNeeded("the password can be read no more; give it again") from error
        try:
            async with asyncio.timeout(TEST_S):
                target = await tools.dialer.look_up(source.host, source.port)
                done.append(", ".join(map(str, target.addresses)))
                line = await tools.dialer.dial(target, source.port)
                done.append(line.peer_ip)
                async with client.connected(tools.dialer, line, tools.patience) as session:
                    done.append(f"valid for {source.host}")
                    await session.log_in(Account(source.username, secret))
                    done.append(source.username)
                    count = len(await session.listing())
                    done.append(_counted(source, count, session.capable.expire_days))
                    await session.quit()
        except TimeoutError as error:
            raise UpstreamTimeout("the provider is too slow") from error

    def _described(self, owner: CollectorOwner, wish: CollectorWish) -> Collector:
        address = Address.parse(wish["address"])
        provider = presets.discover(address)
        host = _host(wish["host"]) if "host" in wish else provider.host
        if "host" not in wish:
            _refuse(provider)
        port = wish.get("port", TLS_PORT)
        self._check_place(owner, host, port)
        if "password" not in wish:
            raise PasswordNeeded("a password is needed")
        now, made = self.tools.clock(), new_row_id()
        return Collector(
            id=made,
            maildrop_id=owner.maildrop_id,
            name=wish.get("name") or provider.name,
            address=str(address),
            host=host,
            port=port,
            username=wish.get("username") or str(address),
            sealed=self._seal(wish["password"], made),
            keep_days=wish.get("keep_days"),
            every_s=wish.get("every_s", self._every_s),
            created_at=now,
            next_at=now,
            paused=wish.get("paused", False),
        )

    def _check_place(self, owner: CollectorOwner, host: str, port: int) -> None:
        provider = presets.of_host(host)
        if provider:
            _refuse(provider)
        # Whether it is inside one of these networks is seen when the host is looked up.
        known = port == TLS_PORT or (port == STLS_PORT and owner.admin)
        if not known and not self.tools.dialer.private:
            more = "" if owner.admin else f"; {STLS_PORT} is for an administrator to choose"
            raise TargetNotAllowed(f"the port must be {TLS_PORT}{more}")

    def _seal(self, secret: str, record: int) -> str:
        octets = secret.encode()
        if not 0 < len(octets) <= SECRET_OCTETS or not set("\r\n\0").isdisjoint(secret):
            raise BadName(f"a password has 1 to {SECRET_OCTETS} octets, and is one line")
        return self.tools.vault.seal(octets, record=record)


_STEPS: Final[tuple[StepName, ...]] = ("name", "connection", "certificate", "login", "count")


def _next(done: list[str]) -> StepName:
    return _STEPS[min(len(done), len(_STEPS) - 1)]


def _counted(source: Collector, count: int, expire_days: int | None) -> str:
    text = f"{count:,} messages"
    if expire_days is not None and (source.keep_days is None or source.keep_days > expire_days):
        text += f"; the provider keeps them for {expire_days} days only"
    return text


def _host(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _refuse(provider: Provider) -> None:
    if provider.needs == "oauth":
        raise ProviderNeedsOAuth(provider.help)
    if provider.needs == "none":
        raise ProviderHasNoPop3(provider.help)
