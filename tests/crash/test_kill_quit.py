"""Only what a QUIT asked for is gone: kill -9 while clients delete, two of them in one maildrop.

RESTANTE_KILLS=5000 makes it that many kills.
"""

import asyncio
import os
import poplib
import random
import smtplib
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from auth.passwords import Passwords
from mail.address import parse_domain
from net.listen import Endpoint
from server import admin
from server.config import load
from server.folder import prepare
from server.parts import app_password_key, open_store
from tests.kit import CHEAP, CONFIG, DOMAIN, PASSWORD, body_of, pop3_client, retrieved, stuffed
from tests.program import running, succeed
from tests.shapes import message

KILLS = int(os.environ.get("RESTANTE_KILLS", "3"))
USERS = ("ann", "bea", "cleo", "dora")
CLIENTS = ("ann", *USERS)  # two in one maildrop
FRESH = 20  # messages for each user before each kill
MOST_QUITS = 12  # before a kill


@dataclass
class Client:
    """One mail app, and what it knows of its QUITs."""

    user: str
    seed: int
    quits: threading.Semaphore  # released before each QUIT that deletes
    answered: set[bytes] = field(default_factory=set)  # UIDLs deleted by a QUIT that said +OK
    unanswered: set[bytes] = field(default_factory=set)  # by one that said nothing

    def poll_until_it_breaks(self, pop3: Endpoint) -> None:
        chance = random.Random(self.seed)
        try:
            while True:
                with closing(pop3_client(pop3, self.user)) as client:
                    self._session(client, chance)
        except (OSError, EOFError, poplib.error_proto):
            return

    def _session(self, client: poplib.POP3_SSL, chance: random.Random) -> None:
        listing = [line.split() for line in client.uidl()[1]]
        chosen = chance.sample(listing, min(len(listing), chance.randint(0, 4)))
        for number, _ in chosen:
            client.retr(int(number))
            client.dele(int(number))
        match chance.choice(("quit", "quit", "rset", "drop")):
            case "rset":
                client.rset()
                client.quit()
            case "drop":
                client.close()  # a connection that is lost removes nothing
            case "quit":
                self.unanswered = {uid for _, uid in chosen}
                if chosen:
                    self.quits.release()
                client.quit()
                self.answered |= self.unanswered
                self.unanswered = set()


async def add_users(folder: Path) -> None:
    config = load(folder / "config.toml", {})
    prepare(config.server.data_dir)
    store = open_store(config)
    passwords = Passwords(cost=CHEAP)
    desk = admin.Desk(store, passwords, app_password_key(config))
    await store.domains.add(parse_domain(DOMAIN))
    for user in USERS:
        await admin.user_add(desk, login=user, address=f"{user}@{DOMAIN}", password=PASSWORD)
    passwords.close()
    store.close()


Maildrops = dict[str, dict[bytes, bytes]]  # content by UIDL, of each user


def fetch(pop3: Endpoint) -> Maildrops:
    found: Maildrops = {}
    for user in USERS:
        client = pop3_client(pop3, user)
        lines = [line.split() for line in client.uidl()[1]]
        found[user] = {uid: body_of(retrieved(client, int(number))) for number, uid in lines}
        client.quit()
    return found


def send_fresh(smtp: Endpoint, numbers: range) -> dict[bytes, bytes]:
    """One copy of each for every user."""
    sent = {}
    with smtplib.SMTP(smtp.host, smtp.port, timeout=60) as client:
        client.ehlo("client.example.net")
        for number in numbers:
            client.mail("bob@example.net")
            for user in USERS:
                client.rcpt(f"{user}@{DOMAIN}")
            client.docmd("DATA")
            client.send(stuffed(message(number, big=2000)) + b".\r\n")
            code, reply = client.getreply()
            assert code == 250, reply
            sent[reply.split()[-1]] = message(number, big=2000)
    return sent


def check(
    user: str, before: dict[bytes, bytes], after: dict[bytes, bytes], of: list[Client]
) -> int:
    """Returns how many of its messages are gone."""
    gone = before.keys() - after.keys()
    answered = set[bytes]().union(*(client.answered for client in of))
    asked = answered.union(*(client.unanswered for client in of))
    assert after.items() <= before.items(), f"{user}: another UIDL, or other octets"
    assert gone <= asked, f"{user}: nobody asked for that"
    assert answered <= gone, f"{user}: what was removed is back"
    for client in of:
        others = answered.union(*(other.unanswered for other in of if other is not client))
        alone = client.unanswered - others
        assert alone <= gone or not alone & gone, f"{user}: half a QUIT"
    return len(gone)


# poplib leaves its socket open when the server dies before the greeting.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_only_what_a_quit_asked_for_is_gone(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    asyncio.run(add_users(tmp_path))
    chance = random.Random(2)
    maildrops: Maildrops = {user: {} for user in USERS}
    clients: list[Client] = []
    removed = 0
    for kill in range(KILLS + 1):
        with running("serve", folder=tmp_path) as server:
            listening = server.listening()
            found = fetch(listening["pop3"])
            for user in USERS:
                own = [client for client in clients if client.user == user]
                removed += check(user, maildrops[user], found[user], own)
            maildrops = found
            if kill == KILLS:
                break
            fresh = send_fresh(listening["smtp"], range(kill * FRESH, (kill + 1) * FRESH))
            maildrops = {user: found[user] | fresh for user in USERS}
            quits = threading.Semaphore(0)
            clients = [Client(user, chance.randrange(2**32), quits) for user in CLIENTS]
            threads = [
                threading.Thread(target=client.poll_until_it_breaks, args=(listening["pop3"],))
                for client in clients
            ]
            for thread in threads:
                thread.start()
            for _ in range(chance.randint(1, MOST_QUITS)):
                assert quits.acquire(timeout=60)
            # The instant is what is random here: nothing is waited for.
            threading.Event().wait(chance.choice((0, 0.001, 0.003, 0.01)))
            server.process.kill()
            for thread in threads:
                thread.join()
    assert removed >= KILLS  # the kills did meet deletions
    keeps_its_uidls(tmp_path, maildrops)


def keeps_its_uidls(folder: Path, before: Maildrops) -> None:
    """Through a backup and its restore, and a move to another database."""
    succeed("backup", "-o", "backup", folder=folder)
    succeed("restore", "backup", "--replace", folder=folder)
    moved = f"sqlite:///{folder}/moved.db"
    succeed("db", "move", "--to", moved, folder=folder)
    with (folder / "config.toml").open("a") as config:
        config.write(f'[store]\nurl = "{moved}"\n')
    with running("serve", folder=folder) as server:
        assert fetch(server.listening()["pop3"]) == before
