"""Asks the name servers of a zone, and the resolver in use, for the records of a domain.

Every question is asked at once. A server that does not answer a first question is named and not
asked further, so it costs one wait in all; what others say does not depend on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from net.listen import Endpoint
from net.lookup import Kind, Said, Silent, Unreachable, look
from net.resolve import PORT, NoAnswer, system_servers
from server.zone import Checked, Found, Record, Source, check

SOURCES: Final[tuple[Source, ...]] = ("authoritative", "configured")
SERVERS_ASKED: Final = 8  # of one zone


@dataclass(frozen=True, slots=True)
class Zone:
    """`servers`: those that answer, with the newest zone. `behind`: others have an older one."""

    name: str
    servers: tuple[Endpoint, ...] = ()
    problems: tuple[str, ...] = ()
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """`problems`: what is wrong with name servers, whatever they say. `behind`: as of a zone."""

    checked: tuple[Checked, ...]
    problems: tuple[str, ...]
    behind: bool


@dataclass(slots=True)
class Surveyor:
    """`resolvers` empty: those of the system. `port`: of the zones' name servers."""

    resolvers: Sequence[Endpoint] = ()
    port: int = PORT
    _living: tuple[Endpoint, ...] = ()
    _zones: dict[str, asyncio.Task[Zone]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.resolvers = tuple(self.resolvers) or system_servers()

    async def survey(
        self, records: Sequence[Record], host: str, sources: Collection[Source] = SOURCES
    ) -> Survey:
        """Of the records of one domain, whose mail goes to `host`."""
        self._zones = {}
        problems = dict.fromkeys(await self._find_living(host))
        asked: dict[tuple[Record, Source], Coroutine[Any, Any, Found]] = {}
        for record in records:
            if "authoritative" in sources:
                asked[record, "authoritative"] = self._at_its_zone(record)
            if "configured" in sources:
                asked[record, "configured"] = self._by_resolver(record)
        said, home = await asyncio.gather(asyncio.gather(*asked.values()), self._signed_home(host))
        tasks = self._zones.values()
        zones = [task.result() for task in tasks if not task.exception()]
        problems |= dict.fromkeys(problem for zone in zones for problem in zone.problems)
        found = dict(zip(asked, said, strict=True))
        behind = any(zone.behind for zone in zones)
        return Survey(check(records, found, host_signed=home), tuple(problems), behind)

    async def _find_living(self, name: str) -> list[str]:
        """Asks each resolver once; what is wrong with those that are not asked further."""
        failed = await asyncio.gather(*(self._failed(name, each) for each in self.resolvers))
        told = zip(self.resolvers, failed, strict=True)
        self._living = tuple(
            each for each, why in zip(self.resolvers, failed, strict=True) if not why
        )
        return [f"the resolver {each} {why}" for each, why in told if why]

    async def _failed(self, name: str, resolver: Endpoint) -> str:
        try:
            await look(name, "SOA", [resolver], recursive=True)
        except Silent as error:
            return str(error)
        except NoAnswer:
            pass  # it is there; what it says of each record is told there
        return ""

    async def _signed_home(self, host: str) -> bool:
        try:
            apex = await self._apex(host)
            return bool((await self._ask(apex, "DS")).records)
        except NoAnswer:
            return False

    async def _ask(self, name: str, kind: Kind) -> Said:
        return await look(name, kind, self._living, recursive=True)

    async def _by_resolver(self, record: Record) -> Found:
        return await _found(record, partial(look, servers=self._living, recursive=True))

    async def _at_its_zone(self, record: Record) -> Found:
        try:
            apex = await self._apex(record.name)
            if apex not in self._zones:
                self._zones[apex] = asyncio.create_task(self._zone(apex))
            zone = await self._zones[apex]
        except NoAnswer as error:
            return Found(problem=f"its name servers are not known: {error}")
        if not zone.servers:
            return Found(problem=f"no name server of {apex} answers")
        return await _found(record, partial(look, servers=zone.servers, recursive=False))

    async def _apex(self, name: str) -> str:
        """The zone that a name is in. Raises NoAnswer."""
        while name:
            zone = (await self._ask(name, "SOA")).zone
            if zone and (name == zone or name.endswith(f".{zone}")):
                return zone
            # An alias: the zone told is that of the name it stands for.
            name = name.partition(".")[2]
        raise NoAnswer("knows no zone")

    async def _zone(self, apex: str) -> Zone:
        """Its servers, each asked once how new its zone is. Raises NoAnswer."""
        names = (await self._ask(apex, "NS")).records
        addresses = await asyncio.gather(*(self._addresses(name) for name in names))
        servers = [
            (name.removesuffix("."), Endpoint(address, self.port))
            for name, found in zip(names, addresses, strict=True)
            for address in found
        ][:SERVERS_ASKED]
        probes = await asyncio.gather(*(self._serial(apex, server) for _, server in servers))
        serials = [serial for serial in probes if isinstance(serial, int)]
        newest = max(serials, key=partial(_behind, serials)) if serials else 0
        problems, living, behind = [], [], False
        for (name, server), serial in zip(servers, probes, strict=True):
            if isinstance(serial, str):
                problems.append(f"{name} ({server.host}) {serial}")
            elif serial == newest:
                living.append(server)
            elif serial is not None:
                behind = True
                problems.append(f"{name} ({server.host}) has an older zone: {serial}, not {newest}")
        return Zone(apex, tuple(living), tuple(problems), behind)

    async def _addresses(self, name: str) -> list[str]:
        kinds: tuple[Kind, ...] = ("A", "AAAA")
        found = await asyncio.gather(*(self._records(name, kind) for kind in kinds))
        return [each for records in found for each in records]

    async def _records(self, name: str, kind: Kind) -> tuple[str, ...]:
        try:
            return (await self._ask(name, kind)).records
        except NoAnswer:
            return ()

    async def _serial(self, apex: str, server: Endpoint) -> int | str | None:
        """Of the zone, or what is wrong with this server; None if that cannot be told from here."""
        try:
            said = await look(apex, "SOA", [server], recursive=False)
        except Unreachable:
            return None
        except NoAnswer as error:
            return str(error)
        return int(said.records[0].split()[2]) if said.records else "has no zone of this name"


def _behind(serials: Sequence[int], serial: int) -> int:
    """How many are older, by the arithmetic of RFC 1982."""
    return sum(0 < (serial - other) % 2**32 < 2**31 for other in serials)


async def _found(record: Record, ask: Any) -> Found:
    try:
        first, *others = record.kinds
        said = [await ask(record.name, first)]
        if (
            first != "CNAME" or not said[0].records
        ):  # an alias has nothing else (RFC 2181 section 10.1)
            said += await asyncio.gather(*(ask(record.name, kind) for kind in others))
    except NoAnswer as error:
        return Found(problem=str(error))
    values = tuple(value for each in said for value in each.records)
    times = [each.ttl_s for each in said if bool(each.records) == bool(values)]
    return Found(values, max(times))
