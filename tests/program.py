"""The installed program as its owner runs it: the command line, and a server in a process."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from net.listen import Endpoint

RESTANTE = Path(sys.executable).with_name("restante")


def restante(
    *arguments: str | Path, folder: Path, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs one command in `folder`; `answer` is what stands on its standard input."""
    return subprocess.run(
        [RESTANTE, *arguments],
        cwd=folder,
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        env=_environment(),
        check=False,
    )


def succeed(*arguments: str | Path, folder: Path, answer: str = "") -> str:
    done = restante(*arguments, folder=folder, answer=answer)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Between the two, because a process is charged with the memory of the one that starts it.
_MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(status)
"""


def measured(*arguments: str | Path, folder: Path) -> tuple[str, int]:
    """What a command says, and the most memory that it took, in MiB."""
    done = subprocess.run(
        [sys.executable, "-ISc", _MEASURE, RESTANTE, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout
    said, _, mib = done.stdout.removesuffix("\n").rpartition("\n")
    return said, int(mib)


@dataclass
class Running:
    """A server process. `lines` is what it has said so far, standard error and output."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _said: threading.Condition = field(default_factory=threading.Condition)
    _over: bool = False

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._over = True
            self._said.notify_all()

    def line(self, pattern: str, *, seconds: float = 60) -> re.Match[str]:
        """Waits for a line in which `pattern` is found."""
        found: re.Match[str] | None = None
        seen = 0

        def said() -> bool:
            nonlocal found, seen
            while seen < len(self.lines) and not found:
                found = re.search(pattern, self.lines[seen])
                seen += 1
            return found is not None or self._over

        with self._said:
            assert self._said.wait_for(said, seconds), f"never said: {pattern}"
        assert found, "\n".join(self.lines[-40:])
        return found

    def listening(self) -> dict[str, Endpoint]:
        """Where a server with a log in JSON says that it listens."""
        ready = json.loads(self.line('"event": "server.ready"').string)
        return {name: Endpoint.parse(ready[name]) for name in ("smtp", "pop3", "http")}

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and gives the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(*arguments: str | Path, folder: Path) -> Iterator[Running]:
    """Starts a command that goes on, and kills it at the end if it still runs."""
    process = subprocess.Popen(
        [RESTANTE, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
        start_new_session=True,
    )
    with heard(process) as found:
        yield found


@contextmanager
def heard(process: subprocess.Popen[str]) -> Iterator[Running]:
    """Listens to the leader of a session, and kills that at the end if it still runs."""
    found = Running(process)
    reader = threading.Thread(target=found.listen)
    reader.start()
    try:
        yield found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has forked too
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def _environment() -> dict[str, str]:
    """Without settings of the person who runs the tests, and with plain, wide output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESTANTE_")}
    # DNS is asked in tests/verification alone.
    ours = {"RESTANTE_SMTP__VERIFY": "off", "NO_COLOR": "1", "COLUMNS": "200"}
    return kept | ours | {"PYTHONUNBUFFERED": "1"}
