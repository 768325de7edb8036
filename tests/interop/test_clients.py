"""Programs that fetch mail by POP3, in TLS from the first octet and by STLS.

Every message is octet-equal; those that are left are left, and those that are deleted are gone.
"""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from net.listen import Endpoint
from tests.kit import CONFIG, PASSWORD, Live, live_server
from tests.shapes import message

ANN = "ann@example.test"
COUNT = 16
CLIENTS = Path(__file__).parent / "clients"

Needs = Callable[[str], str]


@dataclass
class Order:
    """What a client is to do: `mail` is a maildir for its messages, `folder` for its settings."""

    where: Endpoint
    tls: str
    act: str
    folder: Path
    certificate: Path

    @property
    def new(self) -> Path:
        return self.folder / "mail" / "new"

    def settings(self, name: str, text: str, mode: int = 0o600) -> Path:
        file = self.folder / name
        file.write_text(text)
        file.chmod(mode)
        return file

    def keeper(self) -> Path:
        """A program that puts its input into a file of the maildir."""
        return self.settings(
            "keep", f'#!/bin/sh\nexec cat > "$(mktemp {self.new}/XXXXXXXX)"\n', 0o700
        )


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("clients")
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    stls = 'stls_listen = ["127.0.0.1:0"]\n[api]\n'
    (folder / "config.toml").write_text(text.replace("[api]\n", stls))
    with live_server(folder) as live:
        live.add_user("ann", ANN)
        yield live


def mpop(order: Order) -> list[str]:
    settings = order.settings(
        "mpoprc",
        f"account test\nhost {order.where.host}\nport {order.where.port}\nuser {ANN}\n"
        f"password {PASSWORD}\ntls on\ntls_starttls {'on' if order.tls == 'stls' else 'off'}\n"
        f"tls_certcheck off\nkeep {'on' if order.act == 'keep' else 'off'}\n"
        f"delivery maildir {order.folder / 'mail'}\nreceived_header off\n"
        f"uidls_file {order.folder / 'uidls'}\n",
    )
    return ["mpop", f"--file={settings}", "test"]


def getmail(order: Order) -> list[str]:
    order.settings(
        "getmailrc",
        f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = {order.where.host}\n"
        f"port = {order.where.port}\nusername = {ANN}\npassword = {PASSWORD}\n"
        # A program of ours: into a maildir getmail refuses to deliver as root.
        f"[destination]\ntype = MDA_external\npath = {order.keeper()}\n"
        "allow_root_commands = true\n[options]\n"
        f"delete = {order.act == 'delete'}\ndelivered_to = false\nreceived = false\n",
    )
    return ["getmail", f"--getmaildir={order.folder}", "--rcfile=getmailrc"]


def fetchmail(order: Order) -> list[str]:
    ssl = "ssl" if order.tls == "tls" else 'sslproto "TLS1.2+"'
    keep = "keep" if order.act == "keep" else "nokeep"
    settings = order.settings(
        "fetchmailrc",
        f"poll {order.where.host} service {order.where.port} protocol POP3 uidl\n"
        f'  username "{ANN}" password "{PASSWORD}" {ssl} no sslcertck {keep}\n'
        f'  fetchall no rewrite pass8bits mda "{order.keeper()}"\n',
    )
    files = ["--pidfile", str(order.folder / "pid"), "--idfile", str(order.folder / "ids")]
    return ["fetchmail", "--fetchmailrc", str(settings), "--invisible", "--nosyslog", *files]


def neomutt(order: Order) -> list[str]:
    scheme = "pops" if order.tls == "tls" else "pop"
    settings = order.settings(
        "neomuttrc",
        f'set pop_host = "{scheme}://{order.where.host}:{order.where.port}"\n'
        f'set pop_user = "{ANN}"\nset pop_pass = "{PASSWORD}"\n'
        f"set pop_delete = {'yes' if order.act == 'delete' else 'no'}\n"
        f'set ssl_force_tls = yes\nset certificate_file = "{order.certificate}"\n'
        f'set mbox_type = Maildir\nset spoolfile = "{order.folder / "mail"}"\n'
        f'set folder = "{order.folder}"\n'
        "set ssl_verify_host = no\nset quit = yes\n"
        "set move = no\nset wait_key = no\nset sleep_time = 0\n"
        'push "<fetch-mail><exit>"\n',
    )
    # It wants a terminal: script(1) is one.
    return ["script", "-qec", f"neomutt -n -F {settings}", "/dev/null"]


def program(name: str, script: str) -> Callable[[Order], list[str]]:
    def command(order: Order) -> list[str]:
        where, port = order.where.host, str(order.where.port)
        words = [where, port, order.tls, ANN, PASSWORD, order.act, str(order.new)]
        return [name, str(CLIENTS / script), *words]

    command.__name__ = script
    return command


IN_TLS = [
    mpop,
    getmail,
    fetchmail,
    neomutt,
    program("sh", "pop.sh"),
    program("python3", "pop.py"),
    program("perl", "pop.pl"),
    program("ruby", "pop.rb"),
    program("php", "pop.php"),
]
# getmail6 and net-pop have no STLS, and c-client's ends at TLS 1.0 (docs/quirks.md).
BY_STLS = [one for one in IN_TLS if one.__name__ not in ("getmail", "pop.rb", "pop.php")]


@pytest.mark.parametrize("act", ["keep", "delete"])
@pytest.mark.parametrize(
    ("client", "tls"),
    [*((client, "tls") for client in IN_TLS), *((client, "stls") for client in BY_STLS)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_octet_is_fetched_and_left_or_deleted(
    live: Live,
    tmp_path: Path,
    needs: Needs,
    client: Callable[[Order], list[str]],
    tls: str,
    act: str,
) -> None:
    for number in range(COUNT - len(live.fetch(ANN))):
        live.send(message(number, big=300_000), ANN)
    expected = sorted(live.fetch(ANN).values())
    where = live.pop3 if tls == "tls" else live.pop3_stls
    assert where
    certificate = live.server.config.server.data_dir / "tls" / "self-signed.crt"
    order = Order(where, tls, act, tmp_path, certificate)
    for name in ("tmp", "new", "cur"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    words = client(order)
    done = subprocess.run(
        [needs(words[0]), *words[1:]],
        capture_output=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "xterm"},
    )
    assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]
    # Some keep lines as they come, some with LF alone; the messages have CRLF throughout.
    found = [file.read_bytes().replace(b"\r\n", b"\n") for file in order.new.iterdir()]
    assert sorted(octets.replace(b"\n", b"\r\n") for octets in found) == expected
    assert sorted(live.fetch(ANN).values()) == (expected if act == "keep" else [])
