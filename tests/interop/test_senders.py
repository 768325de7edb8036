"""Programs that send mail, each with and without STARTTLS: every message octet-equal."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.aside import ASIDE, NODE, found
from tests.interop.conftest import ANN
from tests.kit import Live, body_of
from tests.shapes import message

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


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "starttls"])
def test_every_octet_arrives_from_nodemailer(
    live: Live,
    tmp_path: Path,
    needs: Needs,
    tls: bool,  # noqa: FBT001
) -> None:
    found("node/node_modules/nodemailer")
    files = []
    for number, content in enumerate(MESSAGES):
        files.append(tmp_path / f"{number}.eml")
        files[-1].write_bytes(content)
    mode = "starttls" if tls else "plain"
    endpoints = (live.smtp.host, str(live.smtp.port), mode, "bob@example.net", ANN)
    done = subprocess.run(
        [needs("node"), NODE / "send.mjs", ASIDE / "node", *endpoints, *files],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(b"250 2.0.0 kept as ") == COUNT
    assert sorted(body_of(octets) for octets in live.fetch(ANN).values()) == sorted(MESSAGES)
