"""Each tests/dialogs/smtp/*.dialog against a live listener."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests import dialog
from tests.unit.smtpin.listener import listening

FOLDER = Path(dialog.__file__).parent / "dialogs/smtp"
DIALOGS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.dialog"))}


class Talk:
    """One connection; the dialog reads the greeting itself."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._file = self._connection.makefile("rb")

    def send(self, octets: bytes) -> None:
        self._connection.sendall(octets)

    def line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n")
        return line[:-2]

    def close(self) -> None:
        self._file.close()
        self._connection.close()


@pytest.mark.parametrize("text", DIALOGS.values(), ids=DIALOGS.keys())
async def test_dialog(text: str) -> None:
    async with listening() as listener:
        await asyncio.to_thread(dialog.run, dialog.parse(text), lambda: Talk(listener.port))
