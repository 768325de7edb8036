"""Dovecot and Postfix, from Debian's packages, on folders and ports of their own.

Dovecot is set up as its documentation advises for speed (login processes, performance tuning):
login processes that are shared, POP3 and LMTP processes that are used again, a cache of sign-ins.
Postfix is as it is shipped, with local tables and delivery into maildirs by virtual(8).
What is written is flushed as both are shipped.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.parties import DOMAIN, SECRET, USERS, Party
from net.tls import make_self_signed
from tests.postfix import started
from tests.waiting import free_port, until

DOVECOT = """\
base_dir = {folder}/run
log_path = {folder}/log
protocols = pop3 lmtp
listen = 127.0.0.1
ssl = required
ssl_cert = <{folder}/tls.crt
ssl_key = <{folder}/tls.key
auth_mechanisms = plain
auth_cache_size = 10 M
auth_cache_ttl = 1 hour
auth_username_format = %n
mail_location = mdbox:~/mail
mail_max_userip_connections = 2000
first_valid_uid = 1
pop3_no_flag_updates = yes
default_vsz_limit = 1 G
default_client_limit = 4000
default_process_limit = 2000
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service pop3-login {{
  chroot =
  service_count = 0
  process_min_avail = {cores}
  process_limit = {cores}
  inet_listener pop3 {{
    port = 0
  }}
  inet_listener pop3s {{
    port = {pop3}
    ssl = yes
  }}
}}
service pop3 {{
  service_count = 0
  process_min_avail = 8
}}
service lmtp {{
  service_count = 0
  process_min_avail = 8
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service auth {{
  client_limit = 8000
}}
service anvil {{
  chroot =
  client_limit = 8000
}}
"""

# What each kind of user has of its own; a user of any other kind has what mdbox has.
KINDS = {
    "mdbox": "",
    "maildir": "userdb_mail=maildir:~/Maildir",
    "zstd": "userdb_mail_plugins=zlib userdb_zlib_save=zstd",
    "bcrypt": "",
}


@dataclass
class Dovecot:
    folder: Path
    pop3: int
    lmtp: int
    owner: tuple[int, int]  # of the mail
    _process: subprocess.Popen[bytes] | None = None

    def party(self, kind: str) -> Party:
        def roots() -> list[int]:
            assert self._process
            return [self._process.pid]

        return Party(f"Dovecot {kind}", kind, self.lmtp, self.pop3, roots, lmtp=True)

    def start(self) -> None:
        self._process = subprocess.Popen(["dovecot", "-F", "-c", self.folder / "dovecot.conf"])
        until(lambda: _answers(self.pop3) and _answers(self.lmtp), "Dovecot is ready")

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def fill(self, user: str, messages: int, octets: int) -> None:
        """By its own import, from one mbox file, without a flush for each message."""
        place = self.folder / "mail/fill"
        place.mkdir()
        mbox = place / "inbox"
        with mbox.open("w") as file:
            for number in range(messages):
                head = f"From: bob@example.net\nSubject: Letter {number}\n"
                head += f"Message-ID: <{number}@example.net>\n\n"
                file.write("From bob@example.net Mon Oct  5 09:41:00 2026\n" + head)
                file.write("All work and no play. " * max(1, (octets - len(head)) // 22) + "\n\n")
        for path in (place, mbox):
            shutil.chown(path, *self.owner)
        options = ["-c", f"{self.folder}/dovecot.conf", "-o", "mail_fsync=never"]
        command = ["import", "-u", user, f"mbox:{place}:INBOX={mbox}", "", "ALL"]
        subprocess.run(["doveadm", *options, *command], check=True)
        shutil.rmtree(place)


@contextmanager
def dovecot(folder: Path) -> Iterator[Dovecot]:
    folder.mkdir()
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    ids = pwd.getpwnam(user)
    _certify(folder)
    found = Dovecot(folder, free_port(), free_port(), (ids.pw_uid, ids.pw_gid))
    settings = {"pop3": found.pop3, "lmtp": found.lmtp, "cores": os.cpu_count()}
    text = DOVECOT.format(folder=folder, **settings)
    if os.geteuid() != 0:
        text += f"default_internal_user = {user}\ndefault_login_user = {user}\n"
    (folder / "dovecot.conf").write_text(text)
    secrets = dict.fromkeys(KINDS, "{PLAIN}" + SECRET) | {"bcrypt": _bcrypt12()}
    lines = [
        f"{kind}{n}:{secrets[kind]}:{ids.pw_uid}:{ids.pw_gid}::{folder}/mail/{kind}{n}::{own}"
        for kind, own in KINDS.items()
        for n in range(USERS)
    ]
    (folder / "users").write_text("\n".join(lines) + "\n")
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", ids.pw_uid, ids.pw_gid)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def _bcrypt12() -> str:
    command = ["doveadm", "pw", "-s", "BLF-CRYPT", "-r", "12", "-p", SECRET]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


MAIN = """\
myhostname = mail.example.test
default_transport = error:nothing is relayed
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/tls.key, {folder}/tls.crt
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/users
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
"""

SERVICES = """\
qmgr unix n - n 300 1 qmgr
virtual unix - n n - - virtual
"""


@contextmanager
def postfix(folder: Path) -> Iterator[Party]:
    if os.geteuid() != 0:
        raise SystemExit("Postfix can be started by root only")
    mail = folder / "mail"
    mail.mkdir(parents=True)
    mail.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    shutil.chown(mail, nobody.pw_uid, nobody.pw_gid)
    _certify(folder)
    main = MAIN.format(folder=folder, domain=DOMAIN, uid=nobody.pw_uid, gid=nobody.pw_gid)
    users = [f"postfix{n}" for n in range(USERS)]
    (folder / "users").write_text("".join(f"{user}@{DOMAIN} {user}/\n" for user in users))
    with started(folder, main, SERVICES) as port:
        master = int((folder / "spool/pid/master.pid").read_text())
        yield Party("Postfix", "postfix", port, 0, lambda: [master], maildirs=mail)


def _certify(folder: Path) -> None:
    pair = folder / "tls.crt", folder / "tls.key"
    make_self_signed(*pair, hostname="mail.example.test", now=datetime.now(UTC))


def _answers(port: int) -> bool:
    with suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def missing() -> list[str]:
    """Programs that are not there (bench/packages.txt)."""
    dovecot = ("/usr/sbin/dovecot", "/usr/lib/dovecot/lmtp", "/usr/lib/dovecot/pop3")
    return [path for path in (*dovecot, "/usr/sbin/postfix") if not Path(path).exists()]
