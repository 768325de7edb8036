"""Mail in and out by files, backups and a move, with the program as its owner runs it."""

import json
from pathlib import Path

import pytest

from mail.address import Address
from net.listen import Endpoint
from server.knock import knock
from tests.kit import pop3_client, retrieved
from tests.program import restante, running, succeed
from tests.shapes import message

LINE = b"From bob@example.net Thu Jan  1 12:00:00 2015\n"


@pytest.fixture
def folder(two_users: Path) -> Path:
    mails = [message(number, big=200_000).replace(b"\r\n", b"\n") for number in range(120)]
    (two_users / "old.mbox").write_bytes(b"".join(LINE + mail + b"\n" for mail in mails))
    return two_users


def transfer(folder: Path) -> None:
    """In, in again, out, and in to somebody else."""
    wanted = ("import", "--user", "ada", "old.mbox", "--json")
    first = json.loads(succeed(*wanted, folder=folder))
    assert (first["taken"], first["there"], first["unfit"]) == (120, 0, 0)
    again = json.loads(succeed(*wanted, folder=folder))
    assert (again["taken"], again["there"]) == (0, 120)
    for format_ in ("mbox", "maildir", "eml"):
        out = f"out-{format_}"
        options = ("--format", format_, "-o", out, "--json")
        answer = json.loads(succeed("export", "--user", "ada", *options, folder=folder))
        assert [row["messages"] for row in answer["exported"]] == [120]
        taken = json.loads(
            succeed("import", "--user", "bea", "--format", format_, out, "--json", folder=folder)
        )
        assert (taken["taken"], taken["there"]) == ((120, 0) if format_ == "mbox" else (0, 120))
    taken_place = restante("export", "--user", "ada", "-o", "out-mbox", folder=folder)
    assert taken_place.returncode == 4
    assert len(taken_place.stderr.splitlines()) == 3
    nobody = restante("import", "--user", "eve", "old.mbox", folder=folder)
    assert nobody.returncode == 4
    assert len(nobody.stderr.splitlines()) == 3
    missing = restante("import", "--user", "ada", "nowhere.mbox", folder=folder)
    assert missing.returncode == 4
    assert "nowhere.mbox" in missing.stderr
    (folder / "bad.mbox").write_bytes(LINE + b"no header\n\n" + LINE + b"Subject: x\n\n\n")
    some = restante("import", "--user", "ada", "bad.mbox", folder=folder)
    assert some.returncode == 1
    assert "octet 0: it has no header" in some.stdout
    assert (folder / "bad.mbox.rejected").read_bytes() == LINE + b"no header\n\n"
    size = json.loads(succeed("db", "size", "--json", folder=folder))
    assert (size["accounts"], size["messages"], size["bodies"]) == (2, 241, 241)
    assert json.loads(succeed("db", "verify", "--json", folder=folder))["found"] == 0


def test_a_stopped_server_is_filled(folder: Path) -> None:
    taken = json.loads(succeed("import", "--user", "ada", "old.mbox", "--json", folder=folder))
    assert taken["taken"] == 120
    succeed("export", "--format", "maildir", "-o", "out", folder=folder)
    assert len(list((folder / "out" / "ada" / "cur").iterdir())) == 120
    assert not list((folder / "out" / "bea" / "cur").iterdir())


def test_a_running_server_is_filled(folder: Path) -> None:
    with running("serve", folder=folder) as server:
        pop3 = server.listening()["pop3"]
        transfer(folder)
        client = pop3_client(pop3, "bea")
        assert len(client.list()[1]) == 120
        client.quit()


def mail_of(pop3: Endpoint, user: str) -> dict[str, bytes]:
    client = pop3_client(pop3, user)
    listing = [line.decode().split() for line in client.uidl()[1]]
    found = {uid: retrieved(client, int(number)) for number, uid in listing}
    client.quit()
    return found


def test_a_backup_of_a_running_server_brings_everything_back(folder: Path) -> None:
    with running("serve", folder=folder) as server:
        listening = server.listening()
        succeed("import", "--user", "ada", "old.mbox", folder=folder)
        succeed("backup", "-o", "backup", folder=folder)
        kept = knock(
            listening["smtp"],
            Address.parse("ada@example.org"),
            b"Subject: late\r\n\r\n",
            say=lambda _line: None,
        )
        second = json.loads(succeed("backup", "-o", "backup", "--json", folder=folder))
        assert (second["messages"], second["bodies"]) == (121, 1)
        before = mail_of(listening["pop3"], "ada")
        assert kept in before
        refused = restante("restore", "backup", "--replace", folder=folder)
        assert refused.returncode == 4
        assert "is running" in refused.stderr
    checked = json.loads(succeed("restore", "backup", "--check", "--json", folder=folder))
    assert (checked["messages"], checked["bodies"], checked["missing"]) == (121, 121, [])
    refused = restante("restore", "backup", folder=folder)
    assert refused.returncode == 4
    assert "--replace" in refused.stderr
    (folder / "data" / "restante.db").unlink()
    for leftover in (folder / "data").glob("restante.db-*"):
        leftover.unlink()
    succeed("restore", "backup", folder=folder)
    with running("serve", folder=folder) as server:
        assert mail_of(server.listening()["pop3"], "ada") == before


def test_the_schema_is_checked_and_upgraded(folder: Path) -> None:
    standing = json.loads(succeed("db", "check", "--json", folder=folder))
    assert standing["found"] == standing["newest"]
    assert standing["missing"] == []
    upgraded = json.loads(succeed("db", "upgrade", "--json", folder=folder))
    assert upgraded["steps"] == []
    assert upgraded["copy"] is None
    (folder / "data" / "restante.db").unlink()
    assert json.loads(succeed("db", "check", "--json", folder=folder))["missing"]
    assert not (folder / "data" / "restante.db").exists()
