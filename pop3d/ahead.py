"""Messages that are likely to be retrieved next, read together with the one that is.

Most clients retrieve one message after the other, and to read a short one costs little beside going
to the database for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mail.ident import UniqueId

if TYPE_CHECKING:
    from store.messages import Messages, OpenMessage
    from store.windows import Window

MESSAGES = 16  # at a time
OCTETS = 64 * 1024  # of them: what a session may hold that its client has not asked for


class Ahead:
    """Of one session."""

    __slots__ = ("_expected", "_here", "_messages", "_window")

    def __init__(self, messages: Messages, window: Window) -> None:
        self._messages = messages
        self._window = window
        self._expected = -1  # the place of the next one, where they go in order
        self._here: dict[UniqueId, OpenMessage] = {}

    def at_hand(self, uid: UniqueId) -> OpenMessage | None:
        """One that has been read already and is not to be read again."""
        if (found := self._here.pop(uid, None)) is not None:
            self._expected = self._window.place(uid) + 1
        return found

    async def open(self, uid: UniqueId) -> OpenMessage:
        """As `Messages.open`."""
        if (found := self.at_hand(uid)) is not None:
            return found
        place = self._window.place(uid)
        in_order, self._expected = place == self._expected, place + 1
        self._here = {}
        drop = self._window.maildrop_id
        uids = self._from(place) if in_order else []
        if len(uids) > 1:
            self._here = await self._messages.open_some(drop, uids)
            if (found := self._here.pop(uid, None)) is not None:
                return found
        return await self._messages.open(drop, uid)

    def _from(self, place: int) -> list[UniqueId]:
        entries = self._window.entries
        uids: list[UniqueId] = []
        octets = 0
        for at in range(place, min(place + MESSAGES, len(entries))):
            octets += entries.sizes[at]
            if octets > OCTETS:
                break
            uids.append(UniqueId(entries.uid(at)))
        return uids
