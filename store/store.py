"""`Store`: opens the database and bundles its parts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from store.accounts import Accounts
from store.database import Database
from store.domains import Domains
from store.maildrops import Maildrops
from store.messages import Messages
from store.records import StoreSettings
from store.sessions import Sessions
from store.writer import Writer


class Store:
    """Opened by its constructor, which raises StoreUnfit; to be closed once.

    One process at a time has an SQLite store open: a second one gets StoreInUse.
    """

    def __init__(self, settings: StoreSettings, *, clock: Callable[[], datetime]) -> None:
        self._database = database = Database(settings.url)
        self._writer = writer = Writer(database.writer)
        self.accounts = Accounts(database, writer, settings, clock=clock)
        self.domains = Domains(database, writer, clock=clock)
        self.messages = Messages(database, writer, settings)
        self.maildrops = Maildrops(database, writer, settings, clock=clock)
        self.sessions = Sessions(database, writer, clock=clock)

    def close(self) -> None:
        """Finishes what is queued, then lets go of the database."""
        self.messages.close()
        self._writer.close()
        self._database.close()
