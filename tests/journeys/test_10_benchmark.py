"""The benchmark's own way with our server: it brings letters, fetches them, and polls."""

from pathlib import Path

from bench.ours import Wish, restante
from bench.parties import POLLED


def test_letters_are_brought_and_compared(tmp_path: Path) -> None:
    with restante(tmp_path / "server", Wish(users=POLLED + 2)) as server:
        party = server.party()
        users = party.users(POLLED, POLLED + 2)  # those whose password is cheap to check
        job = {"connections": 2, "messages": 3, "first": 1, "tls": True}
        cost = party.deliver(users, **job)
        party.check(users, **job)
        assert len(cost.load.times) == 6
        assert party.kept == dict.fromkeys(users, 3)
        assert len(party.poll(users, clients=2, polls=2).load.times) == 4
