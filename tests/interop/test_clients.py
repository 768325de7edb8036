"""Programs that fetch mail by POP3 over TLS: every message octet-equal, and gone when told."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit import PASSWORD, Live, live_server
from tests.shapes import message

ANN = "ann@example.test"
COUNT = 32

Needs = Callable[[str], str]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_server(tmp_path) as live:
        live.add_user("ann", ANN)
        for number in range(COUNT):
            live.send(message(number, big=300_000), ANN)
        yield live


def mpop(live: Live, folder: Path) -> list[str]:
    settings = folder / "mpoprc"
    settings.write_text(
        f"account test\nhost {live.pop3.host}\nport {live.pop3.port}\nuser {ANN}\n"
        f"password {PASSWORD}\ntls on\ntls_starttls off\ntls_certcheck off\nkeep off\n"
        f"delivery maildir {folder / 'mail'}\nreceived_header off\nuidls_file {folder / 'uidls'}\n"
    )
    settings.chmod(0o600)
    return ["mpop", f"--file={settings}", "test"]


def getmail(live: Live, folder: Path) -> list[str]:
    (folder / "getmailrc").write_text(
        f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = {live.pop3.host}\n"
        f"port = {live.pop3.port}\nusername = {ANN}\npassword = {PASSWORD}\n"
        # A program of ours: into a maildir getmail refuses to deliver as root.
        f"[destination]\ntype = MDA_external\npath = {folder / 'keep'}\n"
        "allow_root_commands = true\n"
        "[options]\ndelete = true\ndelivered_to = false\nreceived = false\n"
    )
    return ["getmail", f"--getmaildir={folder}", "--rcfile=getmailrc"]


@pytest.mark.parametrize("command", [mpop, getmail])
def test_every_octet_is_fetched_and_nothing_left(
    live: Live, tmp_path: Path, needs: Needs, command: Callable[[Live, Path], list[str]]
) -> None:
    expected = sorted(live.fetch(ANN).values())
    assert len(expected) == COUNT
    folder = tmp_path / "client"
    for name in ("tmp", "new", "cur"):
        (folder / "mail" / name).mkdir(parents=True)
    (folder / "keep").write_text(f'#!/bin/sh\nexec cat > "$(mktemp {folder}/mail/new/XXXXXXXX)"\n')
    (folder / "keep").chmod(0o700)
    words = command(live, folder)
    done = subprocess.run(
        [needs(words[0]), *words[1:]], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]
    found = [file.read_bytes() for file in (folder / "mail" / "new").iterdir()]
    # In a maildir, lines end in LF alone.
    assert sorted(octets.replace(b"\n", b"\r\n") for octets in found) == expected
    assert not live.fetch(ANN)
