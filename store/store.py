"""`Store`: opens the database and bundles its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import select

from mail.errors import Failure
from store.accounts import Accounts
from store.backup import Saved, Step, save
from store.collected import Collected
from store.collectors import Collectors
from store.condition import Size, size
from store.content import Content
from store.credentials import Credentials
from store.database import Database
from store.directory import Directory
from store.domains import Domains
from store.factors import Factors
from store.held import HeldMail
from store.indexer import Indexer
from store.invites import Invites
from store.jobs import Jobs
from store.leases import Leases
from store.listing import Listing
from store.maildrops import Maildrops
from store.messages import Messages
from store.nightly import Nightly
from store.profiles import Profiles
from store.records import StoreSettings
from store.sessions import Sessions
from store.space import Space
from store.tokens import ApiTokens
from store.transfer import Transfers
from store.upkeep import Calendar, Upkeep, since_boot
from store.verify import Progress, Report, verify
from store.windows import Windows
from store.writer import Writer


class Store:
    """Opened by its constructor, which raises StoreUnfit; to be closed once.

    One process at a time has an SQLite store open: a second one gets StoreInUse.
    """

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = since_boot,
    ) -> None:
        self.url = settings.url  # with its password
        self._database = database = Database(settings.url)
        path = database.backend.path
        self._space = Space(path, settings.floor_octets) if path else None
        self._clock = clock
        self._writer = writer = Writer(database, self._space)
        self.directory = Directory(database, writer, elapsed=elapsed)
        self.accounts = Accounts(database, writer, self.directory, settings, clock=clock)
        self.profiles = Profiles(database, self.directory, settings, clock=clock)
        self.credentials = Credentials(database, writer, self.directory, clock=clock)
        self.domains = Domains(database, self.directory, clock=clock)
        self.messages = Messages(database, writer, settings, space=self._space, clock=clock)
        self.listing = Listing(database)
        self.content = Content()
        self.indexer = Indexer(database, writer, self.content)
        self.messages.fresh = self.indexer.hint
        self.collectors = Collectors(database, writer, clock=clock)
        self.collected = Collected(database, writer, settings, space=self._space, clock=clock)
        self.collected.fresh = self.indexer.hint
        self.jobs = Jobs(database, writer)
        self.maildrops = Maildrops(database, writer, settings, clock=clock)
        self.held = HeldMail(database, writer)
        self.windows = Windows(database, writer, settings, self.maildrops, clock=clock)
        self.sessions = Sessions(database, writer, clock=clock)
        self.tokens = ApiTokens(database, writer, clock=clock)
        self.factors = Factors(database, self.directory, clock=clock)
        self.invites = Invites(database, writer, clock=clock)
        self.leases = Leases(database, writer)
        self.upkeep = Upkeep(
            database,
            writer,
            self.leases,
            settings,
            calendar=Calendar(clock, elapsed),
        )
        self.nightly = Nightly(self.save, self.leases, settings.backup_dir, clock=clock)
        self.transfers = Transfers(database, writer, settings, space=self._space, clock=clock)

    async def verify(
        self, *, bodies: float = 100, fix: bool = False, progress: Progress | None = None
    ) -> Report:
        """Checks what is kept; `bodies` per cent of the bodies are read. See `verify`."""
        return await verify(
            self._database,
            self._writer,
            bodies=bodies,
            fix=fix,
            progress=progress,
        )

    async def save(self, folder: Path, *, step: Step) -> Saved:
        """Adds a backup to a folder. See `store.backup`."""
        async with self.upkeep.bodies:
            now = self._clock()
            return await asyncio.to_thread(save, self._database, folder, now=now, step=step)

    async def writable(self) -> bool:
        """Whether it can be read, and the last write went well. Writes nothing."""
        try:
            await self._database.read(lambda connection: connection.execute(select(1)).one())
        except Failure:
            return False
        return self._writer.is_well

    def short_of_space(self) -> bool:
        """Whether mail is put off because the disk of a database that is a file is nearly full."""
        return self._space is not None and self._space.short()

    def queued(self) -> int:
        """Writes that wait in this process."""
        return self._writer.queued

    async def size(self) -> Size:
        return await self._database.read(partial(size, self._database.backend.path))

    def close(self) -> None:
        """Finishes what is queued, then lets go of the database."""
        self.messages.close()
        self.content.close()
        self._writer.close()
        self._database.close()
