"""Dovecot as the provider that mail is collected from: a folder, a port and users of its own."""

import ipaddress
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from collector.dial import Dialer
from net.listen import Endpoint
from net.tls import make_self_signed
from tests.waiting import free_port, until

HOST = "pop.example.net"  # as its certificate names it
PASSWORD = "remote-secret-7q"

CONFIG = """\
base_dir = {folder}/run
log_path = {folder}/log
protocols = pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <{folder}/tls.crt
ssl_key = <{folder}/tls.key
disable_plaintext_auth = yes
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:{folder}/mail/%n
mail_uid = {user}
mail_gid = {user}
first_valid_uid = 1
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={folder}/home/%n
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {stls}
  }}
  inet_listener pop3s {{
    port = {tls}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""


@dataclass
class Dovecot:
    folder: Path
    tls: Endpoint
    stls: Endpoint
    user: str  # of the machine

    @property
    def certificate(self) -> Path:
        """To be trusted by whoever collects."""
        return self.folder / "tls.crt"

    def dialer(self, found: Dialer) -> Dialer:
        """One that finds every host here, and trusts it."""

        async def here(_name: str) -> list[str]:
            return ["127.0.0.1"]

        tls = ssl.create_default_context(cafile=self.certificate)
        loopback = [ipaddress.ip_network("127.0.0.0/8")]
        return replace(found, tls=tls, resolve=here, private=loopback)

    def put(self, login: str, contents: Sequence[bytes]) -> None:
        """Into a maildrop, as messages that have arrived in this order."""
        box = self.folder / "mail" / login
        for part in ("cur", "new", "tmp"):
            (box / part).mkdir(parents=True, exist_ok=True)
        before = len(list((box / "new").iterdir())) + len(list((box / "cur").iterdir()))
        for number, content in enumerate(contents, before + 1):
            (box / "new" / f"{1_400_000_000 + number}.M{number}.example").write_bytes(content)
        for path in (self.folder / "mail", *(self.folder / "mail").rglob("*")):
            shutil.chown(path, self.user)

    def messages(self, login: str) -> int:
        """How many are there."""
        box = self.folder / "mail" / login
        return sum(len(list((box / part).iterdir())) for part in ("new", "cur"))

    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def dovecot(needs: Callable[[str], str], *, host: str = HOST) -> Iterator[Dovecot]:
    program = needs("dovecot")
    needs("/usr/lib/dovecot/pop3")
    # Not below pytest's folder: as root, it works as other users, who may not enter that one.
    folder = Path(tempfile.mkdtemp(prefix="restante-dovecot-"))
    folder.chmod(0o755)
    mine = pwd.getpwuid(os.geteuid()).pw_name
    root = os.geteuid() == 0
    user = "nobody" if root else mine
    group = "nogroup" if root else mine
    make_self_signed(folder / "tls.crt", folder / "tls.key", hostname=host, now=datetime.now(UTC))
    found = Dovecot(
        folder,
        Endpoint("127.0.0.1", free_port()),
        Endpoint("127.0.0.1", free_port()),
        user,
    )
    settings = {
        "folder": folder,
        "user": user,
        "internal": "dovecot" if root else mine,
        "internal_group": "dovecot" if root else mine,
        "login": "dovenull" if root else mine,
        "password": PASSWORD,
        "tls": found.tls.port,
        "stls": found.stls.port,
    }
    text = CONFIG.format(**settings).replace(f"gid={user}", f"gid={group}")
    text = text.replace(f"mail_gid = {user}", f"mail_gid = {group}")
    (folder / "dovecot.conf").write_text(text)
    process = subprocess.Popen([program, "-F", "-c", folder / "dovecot.conf"])
    try:
        until(lambda: _answers(found.tls, process), "Dovecot is ready")
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder)


def _answers(at: Endpoint, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        socket.create_connection((at.host, at.port)).close()
    except ConnectionRefusedError:
        return False
    return True
