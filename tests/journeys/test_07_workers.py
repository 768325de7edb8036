"""Several processes on one database: they serve as one server, and outlive each other."""

import itertools
import json
import os
import re
import resource
import signal
import smtplib
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from net.listen import Endpoint
from tests.databases import Database
from tests.kit import CONFIG, PASSWORD, body_of, pop3_client, retrieved, stuffed, trusting
from tests.program import Running, restante, running, succeed
from tests.shapes import message
from tests.waiting import until

ANN = "ann@example.test"
BIG = 100_000
SENDERS = 4

# RESTANTE_SESSIONS=1000 is what is promised; it takes a minute for each number of workers.
SESSIONS = int(os.environ.get("RESTANTE_SESSIONS", "30"))


@dataclass
class Site:
    """A folder whose store, with ann's mailbox, is on PostgreSQL."""

    folder: Path
    url: str

    @contextmanager
    def serving(self, *, workers: int = 2, limits: str = "") -> Iterator[Running]:
        self.configure(workers=workers, limits=limits)
        with running("serve", folder=self.folder) as server:
            yield server

    def configure(self, *, workers: int = 2, limits: str = "") -> None:
        """`limits` takes the place of the limits that tests usually have."""
        usual = CONFIG.format(smtp=0, pop3=0, http=0)
        text = usual.replace("[server]", f"[server]\nworkers = {workers}")
        if limits:
            text = text.partition("[limits]")[0] + f"[limits]\n{limits}"
        (self.folder / "config.toml").write_text(f'{text}\n[store]\nurl = "{self.url}"\n')

    def status(self) -> Any:
        return json.loads(succeed("status", "--json", folder=self.folder))

    def pids(self) -> list[int]:
        return [row["pid"] for row in self.status()["workers"]]


@pytest.fixture(scope="module")
def site(postgresql: Database, tmp_path_factory: pytest.TempPathFactory) -> Site:
    found = Site(tmp_path_factory.mktemp("workers"), postgresql.url("workers"))
    found.configure()
    succeed("domain", "add", "example.test", folder=found.folder)
    add_ann = ("user", "add", "ann", "--address", ANN, "--password-stdin")
    succeed(*add_ann, folder=found.folder, answer=PASSWORD + "\n")
    return found


@dataclass
class Senders:
    """Clients that deliver, over one connection after the other, until they are told to stop."""

    smtp: Endpoint
    kept: dict[str, int] = field(default_factory=dict)  # number of the message, by id of its 250
    refused: list[bytes] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _told: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def sending(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._told.set()
            for thread in threads:
                thread.join()

    def _send(self) -> None:
        while not self._told.is_set():
            try:
                with smtplib.SMTP(self.smtp.host, self.smtp.port, timeout=30) as client:
                    client.ehlo("client.example.net")
                    for number in itertools.islice(self._numbers, 5):
                        client.mail("bob@example.net")
                        client.rcpt(ANN)
                        client.docmd("DATA")
                        client.send(stuffed(message(number, big=BIG)) + b".\r\n")
                        code, reply = client.getreply()
                        if code == 250:
                            self.kept[reply.decode().split()[-1]] = number
                        else:
                            self.refused.append(reply)
            except (ConnectionError, smtplib.SMTPServerDisconnected):
                continue  # what was not acknowledged is another one's to send again

    def more(self, count: int) -> None:
        """Waits until this many more are kept."""
        enough = len(self.kept) + count
        until(lambda: len(self.kept) >= enough, f"{count} more messages are kept")


def ended(pid: int) -> bool:
    """Also if nobody has asked for its exit status, as its parent would."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def events(server: Running, name: str) -> list[Any]:
    said = [json.loads(line) for line in tuple(server.lines) if line.startswith("{")]
    return [event for event in said if event["event"] == name]


def keepers(server: Running) -> set[int]:
    """The processes that have kept mail."""
    return {event["worker"] for event in events(server, "smtp.kept")}


def kill(server: Running, pid: int) -> None:
    """Ends a worker at once, and waits until another serves in its place."""
    ready = len(events(server, "worker.ready"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(events(server, "worker.ready")) > ready, "another worker is ready")


def test_a_worker_is_killed_and_no_acknowledged_mail_is_lost(site: Site) -> None:
    with site.serving() as server:
        listening = server.listening()
        senders = Senders(listening["smtp"])
        first, second = site.pids()
        with senders.sending():
            until(lambda: keepers(server) == {first, second}, "each has kept some")
            for victim in (first, second):  # the first one has the control socket
                senders.more(50)
                kill(server, victim)
            senders.more(50)
            now = site.pids()
            # Which of them takes a connection is the kernel's to say.
            until(lambda: keepers(server) == {first, second, *now}, "each has kept some")
        assert not senders.refused
        assert len({first, second, *now}) == 4
        status = site.status()
        assert status["pid"] == server.process.pid
        assert "***" in status["store"]  # it has a password in it

        client = pop3_client(listening["pop3"], "ann")
        listing = [line.decode().split() for line in client.uidl()[1]]
        stored = {uid: retrieved(client, int(number)) for number, uid in listing}
        client.quit()
        assert not senders.kept.keys() - stored.keys()
        for uid, number in senders.kept.items():
            assert body_of(stored[uid]) == message(number, big=BIG)
        for uid, octets in read_by_api(listening["http"]).items():
            assert stored[uid] == octets
        # A process that forks must have no thread which might hold a lock at that moment.
        assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1
        assert server.end() == 0

    assert [event["how"] for event in events(server, "worker.ended")][:2] == ["signal 9"] * 2
    log = [json.loads(line) for line in server.lines if line.startswith("{")]
    for victim in (first, second):
        death = next(n for n, event in enumerate(log) if event.get("pid") == victim)
        served = itertools.takewhile(lambda event: event["event"] != "worker.ready", log[death:])
        assert any(event["event"] == "smtp.kept" for event in served), "the other one went on"


def read_by_api(http: Endpoint) -> dict[str, bytes]:
    """Some of ann's mail, each message over a connection of its own."""

    def ask(path: str, *, token: str = "", body: bytes | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"http://{http}{path}", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: bytes = answer.read()
            return found

    credentials = json.dumps({"login": "ann", "password": PASSWORD}).encode()
    token = json.loads(ask("/api/auth/login", body=credentials))["access_token"]
    page = json.loads(ask("/api/emails?limit=20", token=token))["items"]
    assert len(page) == 20
    return {row["id"]: ask(f"/api/emails/{row['id']}/raw", token=token) for row in page}


def test_a_worker_that_does_not_live_long_is_replaced_later_and_later(site: Site) -> None:
    with site.serving() as server:
        server.listening()
        for _ in range(2):
            kill(server, site.pids()[1])
        assert server.end() == 0
    assert [event["in_s"] for event in events(server, "worker.replaced")] == [1, 2]


def test_signals_reach_every_worker_and_a_stop_lets_it_finish(site: Site) -> None:
    with site.serving() as server, ExitStack() as opened:
        listening = server.listening()
        pids = site.pids()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(events(server, "server.reloaded")) >= 2, "both have read again")
        assert {event["worker"] for event in events(server, "server.reloaded")} == set(pids)
        senders = []
        for number in range(20):
            client = smtplib.SMTP(listening["smtp"].host, listening["smtp"].port, timeout=60)
            opened.callback(client.close)
            senders.append(client)
            client.ehlo("client.example.net")
            client.mail("bob@example.net")
            client.rcpt(ANN)
            assert client.docmd("DATA")[0] == 354
            client.send(b"Subject: in hand when it stops\r\n\r\n%d\r\n" % number)
        reader = pop3_client(listening["pop3"], "ann")
        server.process.send_signal(signal.SIGTERM)
        for endpoint in listening.values():
            until(lambda at=endpoint: refuses(at), f"{endpoint} is closed")  # type: ignore[misc]
        for client in senders:
            client.send(b".\r\n")
            code, reply = client.getreply()
            assert (code, reply[:10]) == (250, b"2.0.0 kept")
        assert reader.file.readline() == b""  # who says nothing is not waited for
        reader.close()
        assert server.process.wait(60) == 0
        assert all(map(ended, pids))


def refuses(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection((endpoint.host, endpoint.port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_workers_end_with_their_parent_and_let_the_folder_go(site: Site) -> None:
    with site.serving() as server:
        listening = server.listening()
        pids = site.pids()
        session = pop3_client(listening["pop3"], "ann")
        with closing(session.sock):
            os.kill(server.process.pid, signal.SIGKILL)
            until(lambda: refuses(listening["pop3"]), "no worker takes connections")
            with ThreadPoolExecutor(1) as other:  # beside workers that still serve
                second = other.submit(restante, "serve", folder=site.folder)
                # A silent session would be ended by the worker that winds up.
                until(lambda: bool(session.noop()) and second.done(), "the second one has answered")
            session.quit()
            refused = second.result()
            assert refused.returncode == 3
            assert "is in use" in refused.stderr
        until(lambda: all(map(ended, pids)), "the workers have ended")
    with site.serving() as server:
        server.listening()
        assert server.end() == 0


def test_what_keeps_workers_from_starting_is_told(site: Site) -> None:
    site.configure()
    config = site.folder / "config.toml"
    config.write_text(config.read_text().replace(site.url, f"{site.url}_not_there"))
    refused = restante("serve", folder=site.folder)
    assert refused.returncode == 3
    assert "The mail store cannot keep its promises." in refused.stderr
    assert "_not_there" in refused.stderr
    url_file = site.folder / "store.url"
    url_file.write_text("sqlite:////nowhere/restante.db\n")
    config.write_text(f'[server]\nworkers = 2\n[store]\nurl_file = "{url_file}"\n')
    refused = restante("serve", folder=site.folder)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 3
    assert "SQLite" in refused.stderr


def pop3_socket(pop3: Endpoint, source: str) -> tuple[ssl.SSLSocket, bytes]:
    """A connection from an address of this machine, and its greeting."""
    plain = socket.create_connection((pop3.host, pop3.port), 60, source_address=(source, 0))
    secure = trusting().wrap_socket(plain)
    return secure, secure.recv(512)


def sign_in(client: ssl.SSLSocket) -> None:
    for line in (b"USER ann\r\n", f"PASS {PASSWORD}\r\n".encode()):
        client.sendall(line)
        assert client.recv(512).startswith(b"+OK")


@pytest.mark.parametrize("workers", [1, 2])
def test_so_many_sessions_are_held_and_one_more_is_told_why(site: Site, workers: int) -> None:
    limits = f'pop3_total = {SESSIONS}\nexempt = ["127.0.1.0/24"]\n'
    with ExitStack() as opened:
        with few_descriptors():
            server = opened.enter_context(site.serving(workers=workers, limits=limits))
        pop3 = server.listening()["pop3"]

        # First the rate, which is counted for each address that is not exempt.
        for _ in range(10):
            client, greeting = pop3_socket(pop3, "127.0.0.9")
            assert greeting.startswith(b"+OK")
            client.sendall(b"QUIT\r\n")
            assert client.recv(512).startswith(b"+OK")
            client.close()
        client, greeting = pop3_socket(pop3, "127.0.0.9")
        told = re.fullmatch(rb"-ERR \[SYS/TEMP\].* (\d+) seconds\r\n", greeting)
        assert told
        assert 1 <= int(told[1]) <= 60
        client.close()

        allowed = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert int(re.findall(r"Max open files +(\d+)", allowed)[0]) > SESSIONS + 300 + 500
        before = memory(server)
        held = []
        for number in range(SESSIONS):
            client, greeting = pop3_socket(pop3, f"127.0.1.{1 + number % 250}")
            opened.callback(client.close)
            assert greeting.startswith(b"+OK"), (number, greeting)
            sign_in(client)
            held.append(client)
        for address in ("127.0.1.1", "127.0.0.8"):
            client, greeting = pop3_socket(pop3, address)
            assert re.fullmatch(rb"-ERR \[SYS/TEMP\].* \d+ seconds\r\n", greeting)
            client.close()
        print(f"{workers=}, {SESSIONS} sessions: {before} MiB before, {memory(server)} MiB now")
        for client in held:
            client.sendall(b"NOOP\r\n")
            assert client.recv(512).startswith(b"+OK")

        # A place that becomes free can be taken, whichever process it was in.
        held[0].sendall(b"QUIT\r\n")
        assert held[0].recv(512).startswith(b"+OK")
        held[0].close()
        until(lambda: comes_in(pop3, opened), "there is room for one more")
        if workers > 1:
            # What a worker held is free again after its end.
            os.kill(site.pids()[1], signal.SIGKILL)
            until(lambda: comes_in(pop3, opened), "there is room again")


@contextmanager
def few_descriptors() -> Iterator[None]:
    """A program started here finds the limit that systems usually have, or less."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def comes_in(pop3: Endpoint, opened: ExitStack) -> bool:
    client, greeting = pop3_socket(pop3, "127.0.1.1")
    opened.callback(client.close)
    return greeting.startswith(b"+OK")


def memory(server: Running) -> list[int]:
    """Of the parent and of each worker, in MiB; what they share is divided among them."""
    parent = server.process.pid
    tree = [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]
    return [
        int(re.findall(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[0])
        // 1024
        for pid in tree
    ]
