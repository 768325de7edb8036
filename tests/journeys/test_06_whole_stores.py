"""A whole store goes through files, through other databases and through a backup, octet for octet.

RESTANTE_MESSAGES=100000 makes it a large one; `pytest -s -o faulthandler_timeout=0` then gives it
the time, and shows what each act took.
"""

import filecmp
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from net.listen import Endpoint
from tests.databases import Database
from tests.kit import CONFIG, pop3_client, retrieved
from tests.program import measured, restante, running
from tests.senders import BIG, SENDERS, Journal, start_senders
from tests.shapes import message
from tests.waiting import until

MESSAGES = int(os.environ.get("RESTANTE_MESSAGES", "300"))
MIB = 300  # of memory, whatever the size of the store

LINE = b"From bob@example.net Thu Jan  1 12:00:00 2015\n"


def configure(folder: Path, url: str = "") -> None:
    (folder / "url").write_text(url or f"sqlite:///{folder}/data/restante.db")
    (folder / "config.toml").write_text(
        CONFIG.format(smtp=0, pop3=0, http=0).replace("[pop3]\n", "[pop3]\nmax_listed = 1000000\n")
        + f'[store]\nurl_file = "{folder}/url"\nquota_mib = 0\nmin_free_mib = 0\n'
    )


@pytest.fixture
def folder(two_users: Path) -> Path:
    configure(two_users)
    return two_users


def fill(folder: Path, number: int) -> list[bytes]:
    """Ada has so many messages; their hashes, sorted."""
    hashes = []
    with (folder / "in.mbox").open("wb") as file:
        for content in (message(n, big=BIG) for n in range(number)):
            file.write(LINE + content.replace(b"\r\n", b"\n") + b"\n")
            hashes.append(hashlib.sha256(content).digest())
    answer = told("import", "--user", "ada", "in.mbox", folder=folder)
    assert (answer["taken"], answer["there"], answer["unfit"]) == (number, 0, 0)
    return sorted(hashes)


def told(*arguments: str | Path, folder: Path) -> dict[str, Any]:
    """The answer of a long act, which must not take more memory where there is more mail."""
    begun = time.monotonic()
    said, mib = measured(*arguments, "--json", folder=folder)
    print(f"{' '.join(map(str, arguments))}: {time.monotonic() - begun:.1f} s, {mib} MiB")
    assert mib < MIB
    answer: dict[str, Any] = json.loads(said)
    return answer


def exported(folder: Path, user: str) -> dict[str, bytes]:
    """The hash of each message of a user by its id, as the command line gives them out."""
    out = folder / f"{user}-{len(list(folder.iterdir()))}"
    told("export", "--user", user, "--format", "eml", "-o", out, folder=folder)
    return {file.stem: hashlib.sha256(file.read_bytes()).digest() for file in out.iterdir()}


def served(pop3: Endpoint, user: str) -> dict[str, bytes]:
    """The hash of each message by its UIDL, as a mail program gets them."""
    client = pop3_client(pop3, user)
    listing = [line.decode().split() for line in client.uidl()[1]]
    found = {
        uid: hashlib.sha256(retrieved(client, int(number))).digest() for number, uid in listing
    }
    client.quit()
    return found


def test_what_came_from_a_file_goes_out_to_one_and_in_again(folder: Path) -> None:
    hashes = fill(folder, MESSAGES)
    told("export", "--user", "ada", "-o", "one.mbox", folder=folder)
    answer = told("import", "--user", "bea", "one.mbox", folder=folder)
    assert (answer["taken"], answer["there"], answer["unfit"]) == (MESSAGES, 0, 0)
    told("export", "--user", "bea", "-o", "two.mbox", folder=folder)
    assert filecmp.cmp(folder / "one.mbox", folder / "two.mbox", shallow=False)
    assert sorted(exported(folder, "bea").values()) == hashes


def test_a_store_moves_from_engine_to_engine_and_back(
    folder: Path, postgresql: Database, mariadb: Database
) -> None:
    hashes = fill(folder, MESSAGES)
    before = exported(folder, "ada")
    assert sorted(before.values()) == hashes
    for url in (postgresql.url("moved"), mariadb.url("moved"), f"sqlite:///{folder}/back.db"):
        answer = told("db", "move", "--to", url, folder=folder)
        assert answer["messages"] == MESSAGES
        configure(folder, url)
        assert exported(folder, "ada") == before
    with running("serve", folder=folder) as server:
        assert served(server.listening()["pop3"], "ada") == before
        refused = restante("db", "move", "--to", f"sqlite:///{folder}/x.db", folder=folder)
        assert (refused.returncode, "is running" in refused.stderr) == (4, True)
    again = restante("db", "move", "--to", f"sqlite:///{folder}/data/restante.db", folder=folder)
    assert (again.returncode, len(again.stderr.splitlines())) == (4, 3)


def test_a_backup_while_20_senders_deliver_has_all_that_was_acknowledged(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hashes = fill(folder, MESSAGES)
    journal = Journal()
    with running("serve", folder=folder) as server:
        senders = start_senders(server.listening()["smtp"], "bea@example.org", journal)
        until(lambda: len(journal.kept) > 10 * SENDERS, "mail arrives")
        before = dict(journal.kept)
        told("backup", "-o", "backup", folder=folder)
        assert len(journal.kept) > len(before)  # they went on all the while
        server.process.kill()
        for sender in senders:
            sender.join()
    other = tmp_path_factory.mktemp("other")
    configure(other)
    answer = told("restore", folder / "backup", folder=other)
    assert (answer["missing"], answer["problems"]) == ([], 0)
    with running("serve", folder=other) as server:
        client = pop3_client(server.listening()["pop3"], "bea")
        listing = [line.decode().split() for line in client.uidl()[1]]
        stored = {uid: retrieved(client, int(number)) for number, uid in listing}
        client.quit()
    journal.check(stored, before)
    assert sorted(exported(other, "ada").values()) == hashes
