"""A disk of 64 MB that fills up: mail is put off, deletes are committed, and service comes back."""

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit import CONFIG, Live, body_of, live_server, stuffed
from tests.shapes import message
from tests.waiting import until

ANN = "ann@example.test"
MIB = 1024 * 1024
ROUNDS = 2


@pytest.fixture
def disk(tmp_path: Path, needs: Callable[[str], str]) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run([needs("mkfs.ext4"), "-q", "-m", "0", image], check=True)
    subprocess.run([needs("mount"), "-o", "loop", image, folder], check=True)
    try:
        folder.chmod(0o700)
        yield folder
    finally:
        subprocess.run([needs("umount"), folder], check=True)


def offer(live: Live, content: bytes) -> int:
    """The code of the reply to a message."""
    with smtplib.SMTP(live.smtp.host, live.smtp.port, timeout=60) as client:
        client.ehlo("client.example.net")
        client.mail("bob@example.net")
        client.rcpt(ANN)
        client.docmd("DATA")
        client.send(stuffed(content) + b".\r\n")
        return client.getreply()[0]


def test_full_and_back_twice(disk: Path) -> None:
    config = CONFIG.format(smtp=0, pop3=0, http=0).replace(
        "[smtp]\n", "[smtp]\nmax_message_mib = 1\n"
    )
    (disk / "config.toml").write_text(config + "[store]\nmin_free_mib = 8\n")
    with live_server(disk) as live:
        live.add_user("ann", ANN)
        number = 7  # these carry attachments that do not compress
        for _ in range(ROUNDS):
            kept: dict[int, bytes] = {}
            refused = 0
            while refused < 2:
                code = offer(live, message(number, big=600_000))
                if code == 250:
                    kept[number] = message(number, big=600_000)
                    number += 100
                else:
                    assert code == 452
                    refused += 1
                    # Every minute of itself: below the floor the trash goes before its time.
                    live.run(live.store.upkeep.run_once())
            assert len(kept) >= 10
            # Now somebody else takes the rest: not one octet is left.
            with (disk / "other").open("wb", buffering=0) as other, suppress(OSError):
                while True:
                    other.write(bytes(4096))
            assert offer(live, message(0)) == 452
            stored = [body_of(octets) for octets in live.fetch(ANN).values()]
            assert sorted(stored) == sorted(kept.values())
            client = live.pop3_client(ANN)
            for n in range(1, len(kept) + 1):
                client.dele(n)
            client.quit()
            assert not live.fetch(ANN)
            (disk / "other").unlink()
            again = message(number, big=600_000)
            until(lambda again=again: offer(live, again) == 250, "mail is taken again")  # type: ignore[misc]
            client = live.pop3_client(ANN)
            client.dele(1)
            client.quit()
            number += 100
