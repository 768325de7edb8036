"""A real name server (Knot) with zones of ours, and a real resolver (Unbound) in front of it.

Both listen on one port each of loopback; Unbound looks nowhere else. `signed.test` is signed, and
its parent and Unbound know its key.
"""

import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from net.listen import Endpoint
from tests.waiting import free_port, until

Needs = Callable[[str], str]

SILENT = "127.0.0.2"  # has the port of the name server open, and never answers
BEHIND = "127.0.0.3"  # a second name server, whose zones have the serial before that of the first

KNOT = """\
server:
    rundir: {folder}
    listen: {host}@{port}
log:
  - target: stderr
    any: warning
database:
    storage: {folder}
policy:
  - id: here
    algorithm: ecdsap256sha256
template:
  - id: default
    storage: {folder}
    file: %s.zone
    zonefile-load: difference
    zonefile-sync: -1
    journal-content: all
    dnssec-policy: here
zone:
"""

UNBOUND = """\
server:
    directory: {folder}
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    interface: 127.0.0.1
    port: {port}
    num-threads: 1
    do-ip6: no
    access-control: 127.0.0.0/8 allow_snoop
    do-not-query-localhost: no
    trust-anchor: "{anchor}"
    domain-insecure: "test."
    local-zone: "test." nodefault
remote-control:
    control-enable: no
"""

STUB = """\
stub-zone:
    name: "{name}."
    stub-addr: 127.0.0.1@{port}
"""

HEAD = """\
$TTL 300
@ SOA ns1 hostmaster {serial} 3600 600 86400 60
@ NS ns1
ns1 A 127.0.0.1
"""
NOW = 5  # the serial of every zone


@dataclass(frozen=True)
class Nameservers:
    authority: Endpoint
    resolver: Endpoint
    _folder: Path
    _control: tuple[str, ...]

    def serve(self, name: str, zone: str) -> None:
        """From now on this is in the zone; the resolver remembers what was there."""
        (self._folder / f"{name}.zone").write_text(HEAD.format(serial=NOW) + zone)
        reload = [*self._control, "-b", "zone-reload", f"{name}."]
        subprocess.run(reload, capture_output=True, check=True)


@contextmanager
def nameservers(
    folder: Path, zones: Mapping[str, str], needs: Needs, behind: Mapping[str, str] | None = None
) -> Iterator[Nameservers]:
    """Serves each zone: the name without dot, and what is in it beside its name server.

    Those in `behind` are served as they were one serial ago, by a server of their own.
    """
    port, resolver = free_port(), free_port()
    children = [name.removesuffix(".test") for name in zones if name.endswith(".test")]
    delegations = [f"{child} NS ns1.{child}\n" for child in children]
    delegating = {"test": "".join(delegations)}
    config = _configure(folder, "127.0.0.1", port, delegating | dict(zones), serial=NOW)
    with ExitStack() as opened:
        silent = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind((SILENT, port))
        # They end when we do, in whatever way.
        ends = [needs("setpriv"), "--pdeathsig", "KILL"]
        _start(opened, [*ends, needs("knotd"), "-c", str(config)], folder / "knot.log")
        until(lambda: _answers(port), "the name server answers")
        if behind:
            old = _configure(
                folder / "behind", BEHIND, port, delegating | dict(behind), serial=NOW - 1
            )
            _start(opened, [*ends, needs("knotd"), "-c", str(old)], folder / "behind.log")
            until(lambda: _answers(port, BEHIND), "the second name server answers")
        keys = [needs("keymgr"), "-c", str(config), "signed.test.", "ds"]
        said = subprocess.run(keys, capture_output=True, text=True, check=True).stdout
        [anchor] = [line for line in said.splitlines() if line.split()[4] == "2"]  # SHA-256
        found = Nameservers(
            Endpoint("127.0.0.1", port),
            Endpoint("127.0.0.1", resolver),
            folder,
            (needs("knotc"), "-c", str(config)),
        )
        found.serve("test", "".join([*delegations, anchor, "\n"]))
        conf = folder / "unbound.conf"
        conf.write_text(
            UNBOUND.format(folder=folder, port=resolver, anchor=anchor)
            + "".join(STUB.format(name=name, port=port) for name in ("test", *zones))
        )
        _start(opened, [*ends, needs("unbound"), "-d", "-c", str(conf)], folder / "unbound.log")
        until(lambda: _answers(resolver), "the resolver answers")
        yield found


def _configure(
    folder: Path, host: str, port: int, zones: Mapping[str, str], *, serial: int
) -> Path:
    folder.mkdir(exist_ok=True)
    text = KNOT.format(folder=folder, host=host, port=port)
    for name, zone in zones.items():
        signing = "on" if name == "signed.test" else "off"
        text += f"  - domain: {name}.\n    dnssec-signing: {signing}\n"
        (folder / f"{name}.zone").write_text(HEAD.format(serial=serial) + zone)
    config = folder / "knot.conf"
    config.write_text(text)
    return config


def _start(opened: ExitStack, command: list[str], log: Path) -> None:
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    opened.callback(process.wait)
    opened.callback(process.kill)


_QUESTION = bytes.fromhex("123401000001000000000000") + b"\x04test\x00\x00\x06\x00\x01"


def _answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the server on this port tells of the zone test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.5)
        try:
            asking.connect((host, port))
            asking.send(_QUESTION)
            answer = asking.recv(512)
        except (ConnectionRefusedError, TimeoutError):
            return False
        return answer[:2] == b"\x12\x34" and answer[3] & 0x0F == 0 and answer[7] > 0
