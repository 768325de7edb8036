"""Pebble, the ACME test server of Debian, and the DNS that it asks."""

import http.client
import http.server
import json
import os
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.authority import Authority
from tests.waiting import free_port, until


@dataclass(frozen=True)
class Pebble:
    """`directory` is where it is, `ca_file` whom to trust when asking it."""

    directory: str
    ca_file: Path
    pair: tuple[Path, Path]
    management: str
    names: str

    def root(self) -> str:
        """The certificate at the end of its chains."""
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(f"{self.management}/roots/0", context=context) as answer:
            return str(answer.read().decode())

    def point(self, name: str, address: str) -> None:
        """From now on it looks there for `name`; else all is at 127.0.0.1."""
        body = json.dumps({"host": f"{name}.", "addresses": [address]}).encode()
        urllib.request.urlopen(f"{self.names}/add-a", data=body).close()

    def point_back(self, name: str) -> None:
        body = json.dumps({"host": f"{name}."}).encode()
        urllib.request.urlopen(f"{self.names}/clear-a", data=body).close()


@contextmanager
def pebble(
    needs: Callable[[str], str], folder: Path, *, http_port: int, life_s: int
) -> Iterator[Pebble]:
    """Strict, and refusing every third nonce: a client must be able to take a new one."""
    program, resolver = needs("pebble"), needs("pebble-challtestsrv")
    authority = Authority(folder)
    pair = authority.issue("localhost")
    acme, management, dns, names = (free_port() for _ in range(4))
    config = {
        "listenAddress": f"127.0.0.1:{acme}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(pair[0]),
        "privateKey": str(pair[1]),
        "httpPort": http_port,
        "tlsPort": free_port(),
        "certificateValidityPeriod": life_s,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    nowhere = [f"-{service}=" for service in ("http01", "https01", "tlsalpn01")]
    commands = [
        [
            *(resolver, f"-dns01=127.0.0.1:{dns}", f"-management=127.0.0.1:{names}", *nowhere),
            *("-defaultIPv4=127.0.0.1", "-defaultIPv6="),
        ],
        [program, f"-config={folder}/pebble.json", f"-dnsserver=127.0.0.1:{dns}", "-strict"],
    ]
    settings = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "33", "PEBBLE_AUTHZREUSE": "0"}
    found = Pebble(
        f"https://localhost:{acme}/dir",
        authority.ca_file,
        pair,
        f"https://localhost:{management}",
        f"http://127.0.0.1:{names}",
    )
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "pebble.log").open("wb") as log:
            started += [
                subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | settings)
                for command in commands
            ]

        def answers() -> bool:
            with suppress(OSError):
                found.point_back("localhost")
                return bool(found.root())
            return False

        until(answers, "pebble answers")
        yield found
    finally:
        for process in started:
            process.kill()
            process.wait()


@dataclass
class Answer:
    """What Pebble answers; `body` is the object of a JSON body, None of any other."""

    status: int
    fields: dict[str, str]
    body: Any


Change = Callable[[str, Answer], None]


@contextmanager
def answering(found: Pebble, change: Change) -> Iterator[str]:
    """The directory of a Pebble whose answers `change` has had in its hands, with their path: for
    what Pebble never does. What a client asks comes to Pebble as it is."""
    trusting = ssl.create_default_context(cafile=found.ca_file)
    upstream = found.directory.removeprefix("https://").removesuffix("/dir")

    class PassOn(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            pebble = http.client.HTTPSConnection(upstream, context=trusting, timeout=60)
            try:
                # With its Host: the URLs that Pebble gives lead here, and those signed are ours.
                pebble.request(self.command, self.path, asked, dict(self.headers))
                heard = pebble.getresponse()
                octets = heard.read()
            finally:
                pebble.close()
            answer = Answer(heard.status, dict(heard.getheaders()), None)
            if answer.fields.get("Content-Type", "").partition(";")[0].endswith("json") and octets:
                answer.body = json.loads(octets)
                change(self.path, answer)
                octets = json.dumps(answer.body).encode()
            answer.fields.pop("Transfer-Encoding", None)
            self.send_response(answer.status)
            for name, value in (answer.fields | {"Content-Length": str(len(octets))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(octets)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*found.pair)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), PassOn) as passing:
        passing.socket = context.wrap_socket(passing.socket, server_side=True)
        thread = threading.Thread(target=passing.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{passing.server_address[1]}/dir"
        finally:
            passing.shutdown()
            thread.join()
