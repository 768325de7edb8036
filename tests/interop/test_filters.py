"""rspamd and clamd from Debian's packages: what they find, and what their absence costs."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate, make_msgid
from pathlib import Path

import pytest

from store.records import Folder, OnSpam
from tests.verification.world import Sent, World, world
from tests.waiting import free_port, until

# In two parts, so that no scanner of this machine takes this file for what it is about.
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-" + b"ANTI-UBE-TEST-EMAIL*C.34X"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-" + rb"ANTIVIRUS-TEST-FILE!$H+H*"
LOAD = 60  # messages


@dataclass
class Program:
    """One that can be stopped, frozen and started again."""

    command: list[str]
    ready: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self.ready, self.command[0])

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


@dataclass
class Filters:
    net: World
    rspamd: Program
    clamd: Program


@contextmanager
def started(program: Program) -> Iterator[Program]:
    program.start()
    try:
        yield program
    finally:
        program.signal(signal.SIGKILL)


def rspamd(folder: Path, port: int, path: str) -> Program:
    for name in ("db", "run", "log", "local.d", "override.d"):
        (folder / name).mkdir(parents=True)
    (folder / "tld").write_text("test\n")  # the real list takes it a minute to compile
    override = folder / "override.d"
    (override / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{port}";\ncount = 1;\n')
    for worker in ("controller", "proxy", "fuzzy"):
        (override / f"worker-{worker}.inc").write_text("enabled = false;\n")
    (override / "options.inc").write_text(
        'dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }\n'
        f'disable_hyperscan = true;\nurl_tld = "{folder}/tld";\n'
    )
    # Without DNS a client has no name, which alone is worth six points.
    (override / "actions.conf").write_text("add_header = 12;\nreject = 14;\n")
    variables = {"DBDIR": "db", "RUNDIR": "run", "LOGDIR": "log", "LOCAL_CONFDIR": ""}
    settings = [f"--var={name}={folder / place}" for name, place in variables.items()]

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
                return bool(answer.read().startswith(b"pong"))
        except (urllib.error.URLError, OSError):
            return False

    return Program([path, "-f", "-i", "-c", "/etc/rspamd/rspamd.conf", *settings], ready)


def clamd(folder: Path, port: int, path: str) -> Program:
    (folder / "db").mkdir(parents=True)
    # Anywhere in a file of any kind: the real signatures cannot be fetched by a test.
    (folder / "db/own.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
    (folder / "clamd.conf").write_text(
        f"DatabaseDirectory {folder}/db\nTCPSocket {port}\nTCPAddr 127.0.0.1\n"
        f"Foreground yes\nTemporaryDirectory {folder}\n" + ("User root\n" * (os.geteuid() == 0))
    )

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as asking:
                asking.sendall(b"zPING\0")
                return asking.recv(10) == b"PONG\0"
        except OSError:
            return False

    return Program([path, "-c", str(folder / "clamd.conf")], ready)


@pytest.fixture(scope="module")
def filters(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], str]
) -> Iterator[Filters]:
    paths = needs("rspamd"), needs("clamd")
    folder = tmp_path_factory.mktemp("filters")
    ports = free_port(), free_port()
    (folder / "server").mkdir()
    smtp = f'rspamd = "http://127.0.0.1:{ports[0]}"\nclamd = "127.0.0.1:{ports[1]}"'
    with (
        started(rspamd(folder / "rspamd", ports[0], paths[0])) as spam,
        started(clamd(folder / "clamd", ports[1], paths[1])) as virus,
        world(folder / "server", smtp=smtp) as net,
    ):
        yield Filters(net, spam, virus)


def plain(text: bytes) -> bytes:
    """With all that a message has: rspamd dislikes those without."""
    header = (
        "From: Ann <bob@example.net>\r\nTo: Ann <ann@example.test>\r\nSubject: The minutes\r\n"
        f"Date: {formatdate()}\r\nMessage-ID: {make_msgid(domain='example.net')}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    )
    return header.encode() + b"Here they are, as promised on Monday.\r\n" + text + b"\r\n"


def attached(octets: bytes) -> bytes:
    return (
        b"From: <x@a.test>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        b'--b\r\nContent-Type: application/octet-stream; name="a.com"\r\n\r\n'
        + octets
        + b"\r\n--b--\r\n"
    )


def test_spam_is_marked_held_or_refused(filters: Filters) -> None:
    net = filters.net
    maildrops = net.live.store.maildrops
    try:
        assert not net.row(net.send(plain(b"hello"))).authentication.suspected
        tagged = net.send(plain(GTUBE))
        assert net.row(tagged).authentication.suspected
        assert b"\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes (rspamd, score " in net.fetch(
            tagged.uid
        )
        net.live.run(maildrops.set_on_spam(net.maildrop, OnSpam.HOLD))
        assert net.row(net.send(plain(GTUBE))).folder is Folder.HELD
        net.live.run(maildrops.set_on_spam(net.maildrop, OnSpam.REFUSE))
        assert net.send(plain(GTUBE)).code == 550
    finally:
        net.live.run(maildrops.set_on_spam(net.maildrop, OnSpam.TAG))


def test_a_virus_is_refused_in_the_session(filters: Filters) -> None:
    refused = filters.net.send(attached(EICAR))
    assert (refused.code, refused.reply.split()[0]) == (550, "5.7.1")
    assert filters.net.send(attached(b"hello")).code == 250


@pytest.mark.parametrize("what", ["stopped", "frozen"])
def test_nothing_is_lost_while_the_filters_are_away(filters: Filters, what: str) -> None:
    """Under load they go away, and come back; each message is kept within its time."""
    net, programs = filters.net, (filters.rspamd, filters.clamd)

    def one(number: int) -> tuple[Sent, float, bytes]:
        text = b"message %d of %s" % (number, what.encode())
        started = time.monotonic()
        sent = net.send(plain(text))
        return sent, time.monotonic() - started, text

    with ThreadPoolExecutor(10) as pool:
        sending = [pool.submit(one, number) for number in range(LOAD)]
        sending[LOAD // 6].result()
        for program in programs:
            program.signal(signal.SIGKILL if what == "stopped" else signal.SIGSTOP)
        sending[LOAD // 2].result()
        for program in programs:
            if what == "stopped":
                program.start()
            else:
                program.signal(signal.SIGCONT)
        for each in sending:
            sent, seconds, text = each.result()
            assert sent.code == 250, sent
            assert seconds < 6
            assert net.fetch(sent.uid).endswith(text + b"\r\n")
    until(lambda: net.row(net.send(plain(GTUBE))).authentication.suspected, "rspamd is back")
    until(lambda: net.send(attached(EICAR)).code == 550, "clamd is back")
