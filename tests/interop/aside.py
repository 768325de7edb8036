"""Mail servers that no machine can have beside each other: Debian's Exim and OpenSMTPD.

tests/interop/fetch unpacks them. They run in a mount namespace of their own (tests/interop/enter),
listen on loopback or nowhere, and relay all they are given to one listener.
"""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from net.listen import Endpoint
from tests.kit import body_of, stuffed
from tests.waiting import free_port, until
from tests.wire import Wire

Needs = Callable[[str], str]

ROOT = Path(__file__).parents[2]
ASIDE = ROOT / ".venv/aside"
ENTER = ROOT / "tests/interop/enter"
NODE = ROOT / "tests/interop/node"


def found(path: str) -> Path:
    """A file that tests/interop/fetch has brought. Without it: skip, or with CI=true fail."""
    if not (ASIDE / path).exists():
        reason = f"{path} was not fetched (make interop)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return ASIDE / path


def entered(folder: Path, needs: Needs) -> list[str]:
    """Before the command of a mail server: all its processes end with it, or with us."""
    if os.geteuid() != 0:
        pytest.skip("mail servers can be started by root only")
    options = ("--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
    return [needs("unshare"), *options, "sh", str(ENTER), str(folder)]


def as_given(stored: bytes) -> bytes:
    """A relayed message without our trace lines and without the relay's field Received."""
    relayed = body_of(stored)
    received = re.match(rb"Received: .*\r\n(?:[\t ].*\r\n)+", relayed)
    assert received, relayed[:300]
    return relayed[received.end() :]


EXIM = """\
primary_hostname = sender.example.net
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
keep_environment =
deliver_drop_privilege = true
acl_smtp_rcpt = accept
smtputf8_advertise_hosts = *
message_size_limit = 60M
queue_only = true
begin routers
relay:
  driver = manualroute
  transport = out
  route_list = * {relay.host}::{relay.port}
  self = send
begin transports
out:
  driver = smtp
  allow_localhost = true
  {tls}
  tls_verify_hosts =
  tls_try_verify_hosts =
  # Longer lines bounce; 998 is the default.
  message_linelength_limit = 100000
begin retry
* * F,1h,1s
"""


def exim(
    folder: Path, relay: Endpoint, needs: Needs, *, tls: bool, dialog: bytes
) -> subprocess.CompletedProcess[bytes]:
    """Gives Exim a dialog of SMTP on its standard input, then has it deliver all it has queued.

    Standard output has its replies, and at the end how many messages are left in the queue.
    """
    program = found("exim4-daemon-light/usr/sbin/exim4")
    settings = folder / "exim.conf"
    switch = "hosts_require_tls = *" if tls else "hosts_avoid_tls = *"
    settings.write_text(EXIM.format(folder=folder, relay=relay, tls=switch))
    for name in ("spool", "log"):
        (folder / name).mkdir()
    run = f"{program} -C {settings}"
    script = (
        f"chown Debian-exim {folder}/spool {folder}/log && {run} -bs && {run} -qff && {run} -bpc"
    )
    return subprocess.run(
        [*entered(folder, needs), "sh", "-c", script],
        input=b"EHLO client.example.net\r\n" + dialog,
        capture_output=True,
        check=False,
        timeout=300,
    )


def dialog(contents: Sequence[bytes], sender: str, recipient: str, parameters: str = "") -> bytes:
    """What a client says after EHLO to hand on messages, without waiting for replies."""
    commands = f"MAIL FROM:<{sender}>{parameters}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
    messages = (commands + stuffed(content) + b".\r\n" for content in contents)
    return b"".join(messages) + b"QUIT\r\n"


OPENSMTPD = """\
listen on 127.0.0.1 port {port}
smtp max-message-size 60M
action "relay" relay host "{scheme}://{relay.host}:{relay.port}" {tls}
match from any for any action "relay"
"""


class OpenSmtpd:
    """A running one. `log` is what it has said."""

    def __init__(self, port: int) -> None:
        self.smtp = Endpoint("127.0.0.1", port)
        self.log: list[str] = []

    def results(self) -> list[str]:
        """What became of each delivery so far, as `Ok 250 2.0.0 kept as ...`."""
        pattern = re.compile(r' mta delivery .* result="(\w+)" stat="(.*)"')
        return [f"{at[1]} {at[2]}" for line in tuple(self.log) for at in pattern.finditer(line)]


@contextmanager
def opensmtpd(folder: Path, relay: Endpoint, needs: Needs, *, tls: bool) -> Iterator[OpenSmtpd]:
    program = found("opensmtpd/usr/sbin/smtpd")
    settings = folder / "smtpd.conf"
    running = OpenSmtpd(free_port())
    settings.write_text(
        OPENSMTPD.format(
            port=running.smtp.port,
            relay=relay,
            scheme="smtp+tls" if tls else "smtp+notls",
            tls="tls no-verify" if tls else "",
        )
    )
    process = subprocess.Popen(
        [*entered(folder, needs), str(program), "-d", "-f", str(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def listen() -> None:
        assert process.stdout is not None
        running.log.extend(process.stdout)

    def answers() -> bool:
        assert process.poll() is None, "".join(running.log)
        try:
            Wire(running.smtp).close()
        except OSError:
            return False
        return True

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        until(answers, "OpenSMTPD answers")
        yield running
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
