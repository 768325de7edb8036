"""A real Postfix of its own: one folder, loopback only.

That of the tests relays all it gets to one listener.
"""

import os
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from net.listen import Endpoint
from tests.waiting import free_port, until

COMMON = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
"""

COMMON_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

RELAY = """\
myhostname = sender.example.net
relayhost = [{relay.host}]:{relay.port}
smtp_host_lookup = native
smtp_tls_security_level = {tls}
smtpd_recipient_limit = 1000
message_size_limit = 60000000
# Longer lines are sent as they are; the default breaks them at 998 octets.
smtp_line_length_limit = 0
"""

RELAY_SERVICES = """\
qmgr unix n - n 1 1 qmgr
smtp unix - - n - - smtp
relay unix - - n - - smtp
discard unix - - n - - discard
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    folder: Path
    port: int

    @property
    def smtp(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    def submit(self, contents: list[bytes], recipient: str) -> None:
        submit(self.smtp, contents, recipient)

    def drained(self) -> bool:
        """Whether the queue is empty: all was handed on, or bounced."""
        queue = subprocess.run(
            ["/usr/sbin/postqueue", "-c", self.folder / "etc", "-p"],
            capture_output=True,
            text=True,
            check=True,
        )
        return "Mail queue is empty" in queue.stdout

    def log(self) -> str:
        return (self.folder / "log").read_text()


def submit(relay: Endpoint, contents: list[bytes], recipient: str) -> None:
    """Hands messages to a relay by SMTP, octets as given."""
    with smtplib.SMTP(relay.host, relay.port, timeout=60) as client:
        client.ehlo()
        for content in contents:
            client.mail("bob@example.net", ["BODY=8BITMIME"])
            code, reply = client.rcpt(recipient)
            assert code == 250, reply
            code, reply = client.data(content)
            assert code == 250, reply


@contextmanager
def postfix(needs: Callable[[str], str], relay: Endpoint, *, tls: str = "may") -> Iterator[Postfix]:
    """Starts a Postfix that relays to `relay`, and ends it."""
    needs("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix can be started by root only")
    # Its processes run as another user, who must get in: not below pytest's own folder.
    folder = Path(tempfile.mkdtemp(prefix="restante-postfix-"))
    try:
        with started(folder, RELAY.format(relay=relay, tls=tls), RELAY_SERVICES) as port:
            yield Postfix(folder, port)
    finally:
        shutil.rmtree(folder)


@contextmanager
def started(folder: Path, settings: str, services: str) -> Iterator[int]:
    """A Postfix in `folder`, with these beside the common ones, and the port of its smtpd."""
    folder.chmod(0o755)
    for name in ("etc", "spool", "data"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    shutil.chown(folder / "data", "postfix")
    port = free_port()
    (folder / "etc/main.cf").write_text(COMMON.format(folder=folder) + settings)
    (folder / "etc/master.cf").write_text(COMMON_SERVICES.format(port=port) + services)
    _command(folder, "start")
    try:
        log = folder / "log"
        until(lambda: log.exists() and "daemon started" in log.read_text(), "Postfix has started")
        yield port
    finally:
        _command(folder, "stop")


def _command(folder: Path, what: str) -> None:
    # A quiet machine has no main.cf of its own; some of its programs ask for one all the same.
    environment = os.environ | {"MAIL_CONFIG": str(folder / "etc")}
    command = ["/usr/sbin/postfix", "-c", f"{folder}/etc", what]
    done = subprocess.run(
        command, check=False, capture_output=True, env=environment, umask=0o022, timeout=60
    )
    assert done.returncode == 0, done.stderr
