"""kill -9 of a server that collects, at random moments: K4 of the test programme.

RESTANTE_KILLS is how often. A provider is Dovecot, and what was fetched is deleted there at once,
so whatever is neither there nor here is lost.
"""

import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.dovecot import PASSWORD, Dovecot, dovecot
from tests.kit import CONFIG
from tests.program import running, succeed
from tests.waiting import until

KILLS = int(os.environ.get("RESTANTE_KILLS", "3"))
BATCH = 40
WITHIN_S = 0.4  # of being ready: what a batch takes is less


def test_nothing_is_lost_and_nothing_comes_twice(
    needs: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = random.Random(int(os.environ.get("RESTANTE_SEED", "1")))
    (tmp_path / "config.toml").write_text(
        CONFIG.format(smtp=0, pop3=0, http=0).replace(
            "[smtp]", 'private_targets = ["127.0.0.0/8", "::1/128"]\n[smtp]', 1
        )
    )
    with dovecot(needs, host="localhost") as remote:
        monkeypatch.setenv("SSL_CERT_FILE", str(remote.certificate))
        remote.put("ann", [])
        succeed("user", "add", "ann", folder=tmp_path)
        wanted = ("--host", "localhost", "--port", str(remote.tls.port), "--username", "ann")
        add = ("collect", "add", "ann@example.net", "--keep-days", "0", "--password-stdin")
        succeed(*add, *wanted, folder=tmp_path, answer=f"{PASSWORD}\n")
        arrived: set[str] = set()
        cut = 0
        for kill in range(KILLS):
            names = {f"<{kill}.{number}@x>" for number in range(BATCH)}
            remote.put("ann", [message(name) for name in sorted(names)])
            arrived |= names
            before = here(tmp_path)
            make_due(tmp_path)
            with running("serve", folder=tmp_path) as server:
                server.line("server.ready")
                threading.Event().wait(chosen.uniform(0, WITHIN_S))
                server.end(signal.SIGKILL)
            kept = here(tmp_path)
            until(partial(whole, remote, kept, arrived), "all is there or here")
            assert max(kept.values(), default=1) == 1
            cut += 0 < len(kept) - len(before) < len(arrived) - len(before)
        succeed("collect", "run", "--json", folder=tmp_path)
        assert here(tmp_path) == Counter(arrived)
        assert not there(remote)
        print(f"{KILLS} kills, {cut} of them in the middle of a batch")
        assert cut or KILLS < 10


def whole(remote: Dovecot, kept: Counter[str], arrived: set[str]) -> bool:
    return there(remote) | set(kept) >= arrived


def make_due(folder: Path) -> None:
    """No server runs: the collector is the first thing the next one does."""
    with closing(sqlite3.connect(folder / "data" / "restante.db")) as database, database:
        database.execute("UPDATE source SET next_at = 0")


def message(name: str) -> bytes:
    return f"Message-ID: {name}\r\n\r\n{'text ' * 400}\r\n".encode()


def there(remote: Dovecot) -> set[str]:
    box = remote.folder / "mail" / "ann"
    found = set()
    for path in (path for part in ("new", "cur") for path in (box / part).iterdir()):
        with suppress(FileNotFoundError):  # Dovecot is about to move it
            first = path.read_bytes().partition(b"\r\n")[0].decode()
            found.add(first.removeprefix("Message-ID: "))
    return found


def here(folder: Path) -> Counter[str]:
    """How often each is in the maildrop."""
    with closing(sqlite3.connect(folder / "data" / "restante.db")) as database:
        return Counter(name for (name,) in database.execute("SELECT message_id FROM message"))
