"""The servers of a run, each started when a row first asks for it, and the sizes of the rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.fill import fill
from bench.ours import Restante, Wish, restante
from bench.parties import Party
from bench.peers import Dovecot, dovecot, postfix

T = TypeVar("T")


NewStore = Callable[[str], Wish]
"""A store of this name that is new, as our server is to be told."""


@dataclass(frozen=True, slots=True)
class Sizes:
    many: int = 50  # letters on each of 20 connections; a number is a fifth with --quick
    maildrop: int = 100_000
    sessions: int = 1000
    small: int = 1000  # messages stored, for what must not grow
    large: int = 1_000_000


QUICK = Sizes(many=10, maildrop=5000, sessions=100, large=20_000)


class World:
    def __init__(self, folder: Path, stack: ExitStack, sizes: Sizes, store: NewStore) -> None:
        self.folder = folder
        self.sizes = sizes
        self._stack = stack
        self._store = store
        self._servers: dict[str, object] = {}
        self._parties: dict[str, Party] = {}
        self._made: dict[str, Any] = {}
        self._numbers = 1

    def numbers(self, count: int) -> int:
        """The first of so many new numbers of letters."""
        first = self._numbers
        self._numbers += count
        return first

    def ours(self, name: str = "ours", wish: Callable[[Wish], Wish] | None = None) -> Restante:
        if name not in self._servers:
            wished = self._store(name)
            made = restante(self.folder / name, wish(wished) if wish else wished)
            self._servers[name] = self._stack.enter_context(made)
        found = self._servers[name]
        assert isinstance(found, Restante)
        return found

    def filled(self, name: str, messages: int, wish: Callable[[Wish], Wish]) -> Restante:
        """One of ours with a large maildrop."""
        if name not in self._servers:
            server = self.ours(name, wish)
            server.stop()
            fill(server, messages)
            server.start()
        return self.ours(name)

    def keep(self, made: AbstractContextManager[T]) -> T:
        """Until the end of the run."""
        return self._stack.enter_context(made)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` has made when it was first asked for by this name."""
        if name not in self._made:
            self._made[name] = make()
        found: T = self._made[name]
        return found

    def dovecot(self, name: str = "dovecot") -> Dovecot:
        if name not in self._servers:
            self._servers[name] = self._stack.enter_context(dovecot(self.folder / name))
        found = self._servers[name]
        assert isinstance(found, Dovecot)
        return found

    def party(self, kind: str) -> Party:
        """Of the servers that most rows share: `ours`, `postfix`, or a kind of Dovecot's users."""
        if kind not in self._parties:
            self._parties[kind] = self._party(kind)
        return self._parties[kind]

    def _party(self, kind: str) -> Party:
        if kind == "ours":
            return self.ours().party()
        if kind == "postfix":
            return self._stack.enter_context(postfix(self.folder / "postfix"))
        return self.dovecot().party(kind)
