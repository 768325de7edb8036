"""The look-ups that one message may cause."""

from __future__ import annotations

from net.resolve import Answer, Kind, Resolver

MOST = 40


class Exhausted(Exception):
    """This message has had as many look-ups as one may have."""


class Lookups:
    def __init__(self, resolver: Resolver, most: int = MOST) -> None:
        self._resolver = resolver
        self._left = most

    async def ask(self, name: str, kind: Kind) -> Answer:
        """Raises NoAnswer, Exhausted."""
        if not self._left:
            raise Exhausted
        self._left -= 1
        return await self._resolver.ask(name, kind)
