"""A Redis of a test's own, on a socket in its folder."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import until


@dataclass
class Redis:
    program: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'socket'}"

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no")
        self.process = subprocess.Popen(
            [self.program, *options], cwd=self.folder, stdout=subprocess.DEVNULL
        )
        until((self.folder / "socket").exists, "redis listens")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


@contextmanager
def redis(needs: Callable[[str], str]) -> Iterator[Redis]:
    with tempfile.TemporaryDirectory() as folder:  # of a short name, for the socket
        found = Redis(needs("redis-server"), Path(folder))
        found.start()
        try:
            yield found
        finally:
            found.stop()
