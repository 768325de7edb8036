"""What an honest sender and the machine notice while a flood goes on, seen from outside.

The server is the installed program with its limits per client on, so everybody comes from an
address of its own. A flood of a test is small; RESTANTE_FLOOD makes it so many times as large.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from net.listen import Endpoint
from tests.kit import PASSWORD
from tests.program import Running, running, succeed
from tests.shapes import message
from tests.wire import Wire

FLOOD = int(os.environ.get("RESTANTE_FLOOD", "1"))
MIB = 1024 * 1024
ANN = "ann@example.test"

PATIENCE_S = 5  # from connecting to 250
LAG_S = 0.5  # from a command to its reply
MARGIN_MIB = 64  # of memory, above the budget of messages

CONFIG = """\
[server]
hostname = "mail.example.test"
[smtp]
listen = ["127.0.0.1:0"]
max_message_mib = {message_mib}
[pop3]
listen = ["127.0.0.1:0"]
refuser_listen = ["127.0.0.1:0"]
[api]
http_listen = ["127.0.0.1:0"]
[limits]
memory_mib = {memory_mib}
"""


@dataclass
class Target:
    """A server process, and what is known of it."""

    process: Running
    smtp: Endpoint
    pop3: Endpoint
    message_octets: int
    memory_octets: int

    def memory(self, name: str) -> int:
        """VmRSS or VmHWM, in octets."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """VmHWM counts from now on (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.process.pid}/clear_refs").write_text("5")

    def stopwatch(self) -> Callable[[], float]:
        """Gives the seconds since, less those in which a processor was all that was missing.

        Others on this machine take them from the server's event loop and from this thread.
        """
        begun = time.monotonic() - self._waited_s()
        return lambda: time.monotonic() - self._waited_s() - begun

    def _waited_s(self) -> float:
        # Of three numbers the second is nanoseconds in a run queue (the kernel's sched-stats.rst).
        pid = self.process.process.pid
        files = (f"/proc/{pid}/task/{pid}/schedstat", "/proc/thread-self/schedstat")
        return sum(int(Path(file).read_text().split()[1]) for file in files) / 1e9


@contextmanager
def target(folder: Path, *, message_mib: int, memory_mib: int) -> Iterator[Target]:
    """One user, ann; one message has come in already, so that all code has run once."""
    (folder / "config.toml").write_text(
        CONFIG.format(message_mib=message_mib, memory_mib=memory_mib)
    )
    succeed("domain", "add", "example.test", folder=folder)
    succeed(
        *("user", "add", "ann", "--address", ANN, "--password-stdin"),
        folder=folder,
        answer=PASSWORD + "\n",
    )
    with running("serve", folder=folder) as process:
        listening = process.listening()
        found = Target(
            process, listening["smtp"], listening["pop3"], message_mib * MIB, memory_mib * MIB
        )
        assert deliver(found.smtp, "127.0.9.1").startswith("250 ")
        yield found
        assert process.process.poll() is None


def deliver(smtp: Endpoint, source: str) -> str:
    """A whole session of an honest sender; the reply to its message."""
    with Wire(smtp, source=source) as wire:
        wire.begin(ANN)
        wire.send(message(0) + b".\r\n")
        reply = wire.hear()
        wire.say("QUIT")
        return reply


@dataclass
class Noticed:
    """`deliveries`: how long each took and the reply. `lags`: of a command that costs nothing."""

    deliveries: list[tuple[float, str]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)


@contextmanager
def beside(server: Target) -> Iterator[Noticed]:
    """Others are served meanwhile, at once, and memory stays within its bounds."""
    noticed = Noticed()
    over = threading.Event()
    watchers = [
        threading.Thread(target=watch, args=(server, noticed, over)) for watch in (_send, _ask)
    ]
    server.forget_peak()
    before = server.memory("VmRSS")
    for watcher in watchers:
        watcher.start()
    try:
        yield noticed
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    grown = server.memory("VmHWM") - before
    slowest, slow = max(noticed.deliveries), max(noticed.lags)
    print(
        f"{len(noticed.deliveries)} deliveries, the slowest in {slowest[0]:.2f} s; "
        f"lag {slow:.3f} s; {grown / MIB:.0f} MiB more"
    )
    refused = [reply for _, reply in noticed.deliveries if not reply.startswith("250 ")]
    assert not refused, f"{len(refused)} of {len(noticed.deliveries)}: {refused[0]}"
    assert slowest[0] < PATIENCE_S
    assert slow < LAG_S
    assert grown < server.memory_octets + MARGIN_MIB * MIB, f"{grown / MIB:.0f} MiB"


def _addresses(net: int) -> Iterator[str]:
    while True:
        yield from (f"127.0.{net}.{host}" for host in range(1, 255))


def _send(server: Target, noticed: Noticed, over: threading.Event) -> None:
    for source in _addresses(2):
        elapsed = server.stopwatch()
        try:
            reply = deliver(server.smtp, source)
        except (AssertionError, EOFError, OSError) as error:
            reply = repr(error)
        noticed.deliveries.append((elapsed(), reply))
        # Not a flood itself.
        if over.wait(0.1):
            return


def _ask(server: Target, noticed: Noticed, over: threading.Event) -> None:
    for source in _addresses(3):
        with Wire(server.smtp, source=source) as wire:
            for _ in range(30):
                elapsed = server.stopwatch()
                assert wire.say("NOOP").startswith("250 ")
                noticed.lags.append(elapsed())
                if over.wait(0.02):
                    return
