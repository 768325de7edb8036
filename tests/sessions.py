"""What a POP3 session does to a maildrop, for tests that need no POP3 to do it."""

from collections.abc import Sequence

from mail.ident import UniqueId
from store.records import Entries
from store.store import Store

NOBODY = 0  # a credential that nothing is kept for


async def listed(store: Store, maildrop_id: int) -> Entries:
    """The inbox at this moment, oldest first."""
    return (await store.windows.open(maildrop_id, NOBODY)).entries


async def remove(store: Store, maildrop_id: int, uids: Sequence[UniqueId]) -> int:
    """Deletes them; returns how many there were."""
    window = await store.windows.open(maildrop_id, NOBODY)
    return await store.windows.update(window, uids)
