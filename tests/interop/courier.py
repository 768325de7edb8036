"""Courier as the provider that mail is collected from: Debian's, unpacked aside, with one maildrop.

Its paths are compiled in, so it runs in a mount namespace (tests/interop/enter) in which its files
are laid over /usr and its settings over /etc.
"""

import hashlib
import poplib
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from net.listen import Endpoint
from net.tls import make_self_signed
from tests.collector.scripted import HOST
from tests.interop.aside import entered, found
from tests.kit import pop3_client, retrieved
from tests.waiting import free_port, until

LOGIN = "ann"
PASSWORD = "remote-secret-7q"
PACKAGES = ("courier-pop", "courier-base", "courier-authlib", "courier-authlib-userdb")

# As its own start scripts do it, but in the foreground and on loopback.
SCRIPT = """\
set -e
cat {folder}/tls.key {folder}/tls.crt >{folder}/tls.pem
mount -t overlay -o lowerdir={packages}:/usr overlay /usr
makeuserdb -f {folder}/etc/courier/userdb
cp {folder}/passwd {folder}/group {folder}/etc
chmod 755 {folder}/etc
mount -t overlay -o lowerdir={folder}/etc:/etc overlay /etc
mkdir -p /run/courier/authdaemon
/usr/lib/courier/courier-authlib/authdaemond &
export TLS_CERTFILE={folder}/tls.pem TLS_VERIFYPEER=NONE COURIERTLS=/usr/bin/couriertls
tcpd='/usr/sbin/couriertcpd -address=127.0.0.1 -nodnslookup -noidentlookup'
programs=/usr/lib/courier/courier
login="$programs/courierpop3login $programs/courierpop3d Maildir"
POP3_STARTTLS=YES POP3_TLS_REQUIRED=1 POP3AUTH_TLS=PLAIN $tcpd {stls} $login &
POP3_TLS=1 POP3_TLS_REQUIRED=0 exec $tcpd {tls} $COURIERTLS -server -tcpd $login
"""


@dataclass
class Courier:
    """`tls` takes USER and PASS, `stls` offers AUTH PLAIN too, behind STLS."""

    folder: Path
    tls: Endpoint
    stls: Endpoint

    @property
    def certificate(self) -> Path:
        """To be trusted by whoever collects."""
        return self.folder / "tls.crt"

    @property
    def box(self) -> Path:
        return self.folder / "Maildir"

    def put(self, contents: Sequence[bytes]) -> None:
        """As messages that have arrived in this order: the octets of their files."""
        for number, content in enumerate(contents, self.messages() + 1):
            file = self.box / "new" / f"{1_400_000_000 + number}.M{number}.example"
            file.write_bytes(content)
            shutil.chown(file, "nobody")

    def messages(self) -> int:
        """How many are there."""
        return len(self.files())

    def files(self) -> list[bytes]:
        return [
            path.read_bytes() for part in ("new", "cur") for path in (self.box / part).iterdir()
        ]

    def forget_names(self) -> None:
        """As when its own list of them is removed or damaged."""
        (self.box / "courierpop3dsizelist").unlink()

    def served(self) -> dict[bytes, bytes]:
        """What it gives to poplib: each message by its name."""
        client = pop3_client(self.tls, LOGIN, PASSWORD)
        listing = [line.split() for line in client.uidl()[1]]
        messages = {name: retrieved(client, int(number)) for number, name in listing}
        client.quit()
        return messages


@contextmanager
def courier(folder: Path, needs: Callable[[str], str]) -> Iterator[Courier]:
    packages = ":".join(str(found(f"{package}/usr")) for package in PACKAGES)
    running = Courier(
        folder, Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port())
    )
    make_self_signed(folder / "tls.crt", folder / "tls.key", hostname=HOST, now=datetime.now(UTC))
    settings = folder / "etc/courier"
    settings.mkdir(parents=True)
    (settings / "authdaemonrc").write_text('authmodulelist="authuserdb"\ndaemons=1\n')
    hashed = b64encode(hashlib.sha256(PASSWORD.encode()).digest()).decode()
    users = settings / "userdb"
    users.touch(0o600)
    users.write_text(f"{LOGIN}\thome={folder}|uid=65534|gid=65534|systempw={{SHA256}}{hashed}\n")
    for part in ("new", "cur", "tmp"):
        (running.box / part).mkdir(parents=True)
    for path in (running.box, *running.box.iterdir()):
        shutil.chown(path, "nobody")
    script = SCRIPT.format(
        packages=packages, folder=folder, tls=running.tls.port, stls=running.stls.port
    )
    # A server of ours that ran in this process has left a narrower umask.
    process = subprocess.Popen([*entered(folder, needs), "sh", "-c", script], umask=0o022)

    def serves() -> bool:
        assert process.poll() is None
        try:
            running.served()
        except (OSError, EOFError, poplib.error_proto):
            return False
        return True

    try:
        until(serves, "Courier serves its maildrop")
        yield running
    finally:
        process.kill()
        process.wait()
