"""What is measured: a running server with users, ours or another's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import cost, letters
from bench.load_pop3 import Fetch, Listing, Poll
from bench.load_smtp import Delivery
from bench.wire import PATIENCE_S, Load

ROOT = Path(__file__).resolve().parents[1]
DOMAIN = "example.test"
SECRET = "correct horse battery"
USERS = 120  # of each kind: 100 for the connections of deliveries, the others for single rows
POLLED = 4  # the first: those that the rows of polls sign in


@dataclass(frozen=True, slots=True)
class Cost:
    """One measurement. `server_s`: on the processor, until the server was at rest again."""

    load: Load
    server_s: float


@dataclass
class Party:
    """A server, and one kind of its users: `<kind>0` and so on."""

    name: str
    kind: str
    delivery: int  # port
    pop3: int
    roots: Callable[[], list[int]]
    lmtp: bool = False
    maildirs: Path | None = None  # where letters are seen, some time after they were accepted
    kept: dict[str, int] = field(default_factory=dict)  # by user

    def users(self, first: int, last: int) -> list[str]:
        return [f"{self.kind}{n}" for n in range(first, last)]

    def address(self, user: str) -> str:
        return f"{user}@{DOMAIN}"

    def deliver(self, users: list[str], **job: Any) -> Cost:
        """Letters for these users. They are kept, and seen, at the end."""
        delivery = Delivery(
            self.delivery, [self.address(user) for user in users], lmtp=self.lmtp, **job
        )
        found = self.measured(lambda: self._until_seen(delivery))
        for user, spans in self._by_user(delivery).items():
            self.kept[user] = self.kept.get(user, 0) + sum(last - first for first, last in spans)
        return found

    def _until_seen(self, delivery: Delivery) -> Load:
        load = generate("load_smtp", delivery)
        if not self.maildirs:
            return load
        while len(self._files(self.maildirs)) < delivery.count:
            if time.monotonic() > load.began + load.seconds + PATIENCE_S:
                raise SystemExit(f"{self.name} has not delivered all that it accepted")
            time.sleep(0.01)
        return replace(load, seconds=time.monotonic() - load.began)

    def check(self, users: list[str], **job: Any) -> None:
        """What the last `deliver` with these words has brought is there, octet for octet."""
        delivery = Delivery(self.delivery, [self.address(user) for user in users], **job)
        brought = self._by_user(delivery)
        if self.maildirs:
            self._take(self.maildirs, delivery)
            return
        drops = [
            (user, self.kept[user] - sum(last - first for first, last in spans), spans)
            for user, spans in brought.items()
        ]
        for start in range(0, len(drops), 20):
            some = Fetch(self.pop3, SECRET, drops[start : start + 20], octets=delivery.octets)
            generate("load_pop3", some, "fetch")

    def _files(self, maildirs: Path) -> list[Path]:
        return [path for new in maildirs.glob("*/new") for path in new.iterdir()]

    def _take(self, maildirs: Path, delivery: Delivery) -> None:
        """As a client would that looks into maildirs; nothing stays there."""
        found = set()
        for path in self._files(maildirs):
            served = re.sub(rb"(?m)^\.", b"..", path.read_bytes()).replace(b"\n", b"\r\n")
            found.add(letters.check(served + letters.DOT_LINE, delivery.octets))
            path.unlink()
        if found != set(range(delivery.first, delivery.first + delivery.count)):
            raise SystemExit(f"{self.name} lacks letters")
        self.kept.clear()

    def _by_user(self, delivery: Delivery) -> dict[str, list[tuple[int, int]]]:
        found: dict[str, list[tuple[int, int]]] = {}
        for address, first, last in delivery.spans():
            found.setdefault(address.partition("@")[0], []).append((first, last))
        return found

    def fetch(self, maildrops: list[tuple[str, int, list[tuple[int, int]]]], **job: Any) -> Cost:
        return self.measured(
            lambda: generate("load_pop3", Fetch(self.pop3, SECRET, maildrops, **job), "fetch")
        )

    def poll(self, users: list[str], **job: Any) -> Cost:
        known = [(user, self.kept.get(user, 0)) for user in users]
        return self.measured(
            lambda: generate("load_pop3", Poll(self.pop3, SECRET, known, **job), "poll")
        )

    def listing(self, user: str, *, secret: str = SECRET, **job: Any) -> Cost:
        job_ = Listing(self.pop3, user, secret, self.kept[user], **job)
        return self.measured(lambda: generate("load_pop3", job_, "list"))

    def measured(self, work: Callable[[], Load]) -> Cost:
        before = cost.cpu_s(self.roots())
        load = work()
        self.settle()
        return Cost(load, cost.cpu_s(self.roots()) - before)

    def settle(self, at_most_s: float = 120) -> None:
        if not cost.settle(self.roots(), at_most_s=at_most_s):
            print(f"{self.name} is not at rest after {at_most_s:.0f} s", file=sys.stderr)

    @contextmanager
    def idling(self, users: list[str], *, sessions: int) -> Iterator[None]:
        """So many sessions are signed in, and silent."""
        known = [(user, self.kept.get(user, 0)) for user in users]
        job = Poll(self.pop3, SECRET, known, clients=10, polls=sessions // 10)
        with subprocess.Popen(
            _command("load_pop3", job, "idle"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as process:
            assert process.stdin
            assert process.stdout
            if process.stdout.readline() != b"ready\n":
                raise SystemExit(f"{self.name} does not keep {sessions} sessions")
            yield
            process.stdin.close()
        if process.returncode:
            raise SystemExit(f"{self.name} has lost sessions that were silent")


def generate(module: str, job: Any, *kind: str) -> Load:
    """Runs a generator in a process of its own. Ends the run when it found something wrong."""
    done = subprocess.run(
        _command(module, job, *kind), stdout=subprocess.PIPE, cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit(f"the generator has failed: {module} {job}"[:2000])
    return Load(**json.loads(done.stdout))


def _command(module: str, job: Any, *kind: str) -> list[str]:
    return [sys.executable, "-m", f"bench.{module}", *kind, json.dumps(asdict(job))]


def octets_in(folder: Path) -> int:
    """Of all files below, by their length."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
