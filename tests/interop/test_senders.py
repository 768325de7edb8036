"""Programs that send mail, each with and without STARTTLS: every message octet-equal."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit import Live, body_of, live_server
from tests.shapes import message

ANN = "ann@example.test"
COUNT = 16
MESSAGES = [message(number, big=300_000) for number in range(COUNT)]

Needs = Callable[[str], str]
Command = Callable[[Live, Path, bool], list[str]]


def swaks(live: Live, file: Path, tls: bool) -> list[str]:  # noqa: FBT001
    return [
        *("swaks", "--server", live.smtp.host, "--port", str(live.smtp.port), "--silent", "2"),
        *("--from", "bob@example.net", "--to", ANN, "--ehlo", "client.example.net"),
        *("--data", f"@{file}", *(("--tls",) if tls else ())),
    ]


def msmtp(live: Live, file: Path, tls: bool) -> list[str]:  # noqa: FBT001
    switch = "on" if tls else "off"
    return [
        *("msmtp", "--file=/dev/null", f"--host={live.smtp.host}", f"--port={live.smtp.port}"),
        *(f"--tls={switch}", f"--tls-starttls={switch}", "--tls-certcheck=off"),
        *("--from=bob@example.net", "--set-date-header=off", "--set-msgid-header=off", ANN),
    ]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_server(tmp_path) as live:
        live.add_user("ann", ANN)
        yield live


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "starttls"])
@pytest.mark.parametrize("command", [swaks, msmtp])
def test_every_octet_arrives(
    live: Live,
    tmp_path: Path,
    needs: Needs,
    command: Command,
    tls: bool,  # noqa: FBT001
) -> None:
    # swaks takes a last line of one dot for its own end mark (docs/quirks.md).
    messages = [m for m in MESSAGES if command is not swaks or not m.endswith(b"\n.\r\n")]
    for number, content in enumerate(messages):
        file = tmp_path / f"{number}.eml"
        # Programs on this machine write lines with LF alone.
        file.write_bytes(content.replace(b"\r\n", b"\n"))
        words = command(live, file, tls)
        with file.open("rb") as stdin:
            done = subprocess.run(
                [needs(words[0]), *words[1:]], stdin=stdin, capture_output=True, check=False
            )
        assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]
    # And it ends each message with an empty line.
    end = b"\r\n" if command is swaks else b""
    stored = [body_of(octets) for octets in live.fetch(ANN).values()]
    assert sorted(stored) == sorted(content + end for content in messages)
