"""Certificates of an ACME authority: which are due, when to try again, what to tell.

IN        the server's own name; domains, of which `mta-sts.` and `autoconfig.` may lead here
OUT       pairs in `tls/acme`, each replaced when a third of its time is left; findings
MAY       run `server.acme_order`; look up addresses; take away what cannot be served any more
NEVER     stop the server, or leave it without a certificate; make a key anew; ask again at once
FAILS     in `failed.json` and the log; what is served stays
RFC       8555, 6698 section 3 (the key of TLSA 3 1 1 stays the same)
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from net.tls import BadCertificate, check_pair, make_self_signed
from server import acme_files
from server.acme_files import Failed

LOOK_S = 3600  # between two looks at what is due
RENEW = 3  # when so much of its time is left: one part in three
WARN_DAYS = 21
PAUSE_S, LONGEST_PAUSE_S = 3600, 24 * 3600  # after a failure, doubled with each one more
LONGEST_ASKED_S = 7 * 24 * 3600  # the longest pause that an authority gets by asking for it
PROCESS_S = 900

ROOT = Path(__file__).resolve().parent.parent
_START = (
    "import sys; sys.path.insert(0, {!r}); from server.acme_order import main; sys.exit(main())"
)

Resolve = Callable[[str], Awaitable[frozenset[str]]]

log = structlog.get_logger()


def prepare(data_dir: Path, hostname: str, *, now: datetime) -> None:
    """Takes away what cannot be served, and makes sure of a certificate for `hostname`.

    Until one is issued it is self-signed, over the key that the issued one will have too.
    """
    for cert_file in acme_files.folder(data_dir).glob("*.crt"):
        try:
            check_pair((cert_file, cert_file.with_suffix(".key")), now=now)
        except BadCertificate as error:
            log.error("acme.removed", why=str(error))
            cert_file.unlink()
    cert_file, key_file = acme_files.pair(data_dir, hostname)
    make_self_signed(cert_file, key_file, hostname=hostname, now=now)


def due(data_dir: Path, names: Iterable[str], *, now: datetime) -> list[str]:
    """Names without an issued certificate, or with one in the last third of its time."""
    return [name for name in names if _is_due(acme_files.pair(data_dir, name), now=now)]


def _is_due(pair: acme_files.Pair, *, now: datetime) -> bool:
    try:
        leaf = check_pair(pair, now=now)
    except BadCertificate:
        return True
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.issuer == leaf.subject or leaf.not_valid_after_utc - now < life / RENEW


def waits(failed: Failed | None, *, now: datetime) -> bool:
    """Whether it is too early to ask again."""
    if failed is None:
        return False
    pause_s = min(PAUSE_S * 2 ** (failed.tries - 1), LONGEST_PAUSE_S)
    asked_s = min(failed.wait_s, LONGEST_ASKED_S)
    return now < failed.at + timedelta(seconds=max(pause_s, asked_s))


def findings(data_dir: Path, hostname: str, *, now: datetime) -> list[str]:
    """What a person should know of: in sentences, the server's own name first."""
    failures = acme_files.read_failures(data_dir)
    names = {cert_file.stem for cert_file in acme_files.folder(data_dir).glob("*.crt")}
    found = []
    for name in sorted(names | failures.keys(), key=lambda each: (each != hostname, each)):
        served = _served(acme_files.pair(data_dir, name), now=now)
        failed = failures.get(name)
        if failed:
            found.append(f"{name}: no new certificate ({failed.why}){served and f'; {served}'}")
        elif served:
            found.append(f"{name}: {served}")
    return found


def _served(pair: acme_files.Pair, *, now: datetime) -> str:
    """What is to be said of a certificate; nothing if it is well."""
    try:
        leaf = check_pair(pair, now=now)
    except BadCertificate:
        return "none is served"
    left, life = (
        leaf.not_valid_after_utc - now,
        leaf.not_valid_after_utc - leaf.not_valid_before_utc,
    )
    if leaf.issuer == leaf.subject:
        return "the one that is served is self-signed"
    if left < min(timedelta(days=WARN_DAYS), life / RENEW):
        return f"the one that is served ends in {left.days} days"
    return ""


async def wanted(hostname: str, domains: Iterable[str], resolve: Resolve) -> list[str]:
    """The names to have a certificate for: those that lead to where the hostname does."""
    ours = await resolve(hostname)
    others = [f"{prefix}.{domain}" for domain in domains for prefix in ("mta-sts", "autoconfig")]
    return [hostname, *[name for name in others if ours & await resolve(name)]]


async def resolve(name: str) -> frozenset[str]:
    """Its addresses; none if it has none or nobody answers."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None)
    except OSError:
        return frozenset()
    return frozenset(str(each[4][0]) for each in found)


@dataclass(frozen=True, slots=True)
class Place:
    """Where certificates are for `hostname`, and the URL of the authority that issues them."""

    data_dir: Path
    hostname: str
    directory: str


class Renewal:
    """Looks every hour, in one process of a data folder. `start`, then `stop`, once each."""

    def __init__(
        self,
        place: Place,
        *,
        domains: Callable[[], Awaitable[Iterable[str]]],
        changed: Callable[[], None],
        resolve: Resolve = resolve,
        clock: Callable[[], datetime],
    ) -> None:
        """`changed` is called when there are new certificates."""
        self._data_dir = place.data_dir
        self._hostname = place.hostname
        self._directory = place.directory
        self._domains = domains
        self._changed = changed
        self._resolve = resolve
        self._clock = clock
        self._busy = asyncio.Lock()

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look(), name="acme")

    async def stop(self) -> None:
        self._looking.cancel()
        await asyncio.wait([self._looking])

    async def _look(self) -> None:
        while True:
            await self.run()
            await asyncio.sleep(LOOK_S)

    async def run(self, *, waiting: bool = True) -> list[str]:
        """Asks for what is due, and gives the findings after. `waiting`: not for what failed just
        now."""
        async with self._busy:
            now = self._clock()
            prepare(self._data_dir, self._hostname, now=now)
            failures = acme_files.read_failures(self._data_dir)
            names = await wanted(self._hostname, await self._domains(), self._resolve)
            asked = [
                name
                for name in due(self._data_dir, names, now=now)
                if not (waiting and waits(failures.get(name), now=now))
            ]
            results = await self._order(asked) if asked else {}
            failures = {name: failed for name, failed in failures.items() if name in names}
            for name, (why, wait_s) in results.items():
                tries = failures[name].tries + 1 if name in failures else 1
                if why:
                    failures[name] = Failed(tries, self._clock(), why, wait_s)
                    log.error("acme.failed", name=name, tries=tries, why=why)
                else:
                    failures.pop(name, None)
                    log.info("acme.issued", name=name)
            acme_files.write_failures(self._data_dir, failures)
            if not all(why for why, _ in results.values()):
                self._changed()
        return findings(self._data_dir, self._hostname, now=self._clock())

    async def _order(self, names: list[str]) -> dict[str, tuple[str, int]]:
        """What the process says of each name: "" or why not, and for how long not to ask again."""
        results = dict.fromkeys(names, ("the process that asks for it ended early; see the log", 0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _START.format(str(ROOT))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd="/",
        )
        assert process.stdin
        assert process.stdout
        wish = {"directory": self._directory, "data_dir": str(self._data_dir), "names": names}
        try:
            async with asyncio.timeout(PROCESS_S):
                process.stdin.write(json.dumps(wish).encode())
                process.stdin.close()
                while line := await process.stdout.readline():
                    told = json.loads(line)
                    results[told["name"]] = told["why"], told["wait_s"]
        except TimeoutError:
            log.error("acme.too_long", seconds=PROCESS_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return results
