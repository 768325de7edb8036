"""Thunderbird without a window: it checks the certificate, signs in, and fetches at its start."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kit import CONFIG, PASSWORD, Live, live_server
from tests.shapes import message
from tests.waiting import until

ANN = "ann@example.test"
COUNT = 16

Needs = Callable[[str], str]

# Passwords are kept encrypted, and only NSS can do that: run in a process of its own.
ENCRYPT = """
import base64, ctypes, json, sys
class Item(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint), ("data", ctypes.c_void_p), ("len", ctypes.c_uint)]
nss = ctypes.CDLL("libnss3.so")
assert nss.NSS_InitReadWrite(b"sql:" + sys.argv[1].encode()) == 0
found = []
for text in (word.encode() for word in sys.argv[2:]):
    plain = Item(0, ctypes.cast(ctypes.create_string_buffer(text), ctypes.c_void_p), len(text))
    key, sealed = Item(), Item()
    assert nss.PK11SDR_Encrypt(*map(ctypes.byref, (key, plain, sealed)), None) == 0
    found.append(base64.b64encode(ctypes.string_at(sealed.data, sealed.len)).decode())
nss.NSS_Shutdown()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the configuration and of certificates for `localhost`: `ca.pem` and the server's."""
    folder = tmp_path_factory.mktemp("thunderbird")
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    for file, name, public in (("ca.pem", "test", authority), ("server.crt", "localhost", key)):
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]))
            .public_key(public.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(name == "test", None), critical=True)
            .sign(authority, hashes.SHA256())
        )
        (folder / file).write_bytes(made.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(secret)
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    text = text.replace("[api]\n", 'stls_listen = ["127.0.0.1:0"]\n[api]\n')
    pair = f'cert_file = "{folder}/server.crt"\nkey_file = "{folder}/server.key"\n'
    (folder / "config.toml").write_text(f'{text}[tls]\nmode = "files"\n{pair}')
    return folder


@pytest.fixture(scope="module")
def live(place: Path) -> Iterator[Live]:
    with live_server(place) as live:
        live.add_user("ann", ANN)
        yield live


def profile(folder: Path, *, authority: Path, port: int, tls: str, act: str) -> Path:
    """One account that is fetched from at the start, with its password known."""
    made = folder / "profile"
    made.mkdir()
    database = f"sql:{made}"
    subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
    trust = ["-n", "test", "-t", "CT,,", "-i", str(authority)]
    subprocess.run(["certutil", "-A", "-d", database, *trust], check=True)
    words = [sys.executable, "-c", ENCRYPT, str(made), ANN, PASSWORD]
    user, password = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    login = {
        "id": 1,
        "hostname": "mailbox://localhost",
        "httpRealm": "mailbox://localhost",
        "formSubmitURL": None,
        "usernameField": "",
        "passwordField": "",
        "encryptedUsername": user,
        "encryptedPassword": password,
        "guid": "{11111111-1111-1111-1111-111111111111}",
        "encType": 1,
    }
    (made / "logins.json").write_text(json.dumps({"nextId": 2, "logins": [login], "version": 3}))
    server: dict[str, object] = {
        "type": "pop3",
        "hostname": "localhost",
        "port": port,
        "userName": ANN,
        "socketType": 3 if tls == "tls" else 2,
        "authMethod": 3,
        "login_at_startup": True,
        "download_on_biff": True,
        "leave_on_server": act == "keep",
        "directory": f"{made}/Mail/pop",
        "storeContractID": "@mozilla.org/msgstore/berkeleystore;1",
    }
    preferences: dict[str, object] = {
        "mail.accountmanager.accounts": "account1,account2",
        "mail.accountmanager.localfoldersserver": "server2",
        "mail.account.account1.server": "server1",
        "mail.account.account1.identities": "id1",
        "mail.identity.id1.useremail": ANN,
        "mail.account.account2.server": "server2",
        "mail.server.server2.type": "none",
        "mail.server.server2.hostname": "Local Folders",
        "mail.server.server2.userName": "nobody",
        "mail.server.server2.directory": f"{made}/Mail/Local Folders",
        "mail.provider.suppress_dialog_on_startup": True,
        "mailnews.start_page.enabled": False,
        "network.dns.disableIPv6": True,
        "app.update.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
    } | {f"mail.server.server1.{name}": value for name, value in server.items()}
    lines = (
        f"user_pref({json.dumps(key)}, {json.dumps(preferences[key])});" for key in preferences
    )
    (made / "user.js").write_text("\n".join(lines))
    return made


@pytest.mark.parametrize("act", ["keep", "delete"])
@pytest.mark.parametrize("tls", ["tls", "stls"])
def test_every_octet_is_fetched_and_left_or_deleted(
    live: Live, place: Path, tmp_path: Path, needs: Needs, tls: str, act: str
) -> None:
    program = needs("thunderbird")
    needs("certutil")
    for number in range(COUNT - len(live.fetch(ANN))):
        live.send(message(number, big=300_000), ANN)
    expected = [text.replace(b"\r\n", b"\n") for text in live.fetch(ANN).values()]
    where = live.pop3 if tls == "tls" else live.pop3_stls
    assert where
    made = profile(tmp_path, authority=place / "ca.pem", port=where.port, tls=tls, act=act)
    inbox = made / "Mail" / "pop" / "Inbox"
    running = subprocess.Popen(
        [program, "--headless", "--no-remote", "--profile", made],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: inbox.exists() and found(inbox, expected) == COUNT, "all messages")
        if act == "delete":
            until(lambda: not live.fetch(ANN), "an empty maildrop")
    finally:
        os.killpg(running.pid, signal.SIGTERM)  # a group of its own, with all its processes
        running.wait(60)
    assert len(live.fetch(ANN)) == (COUNT if act == "keep" else 0)


def found(inbox: Path, messages: list[bytes]) -> int:
    """How many of the messages stand in an mbox, which has lines with LF or CRLF."""
    octets = inbox.read_bytes().replace(b"\r\n", b"\n")
    return sum(message in octets for message in messages)
