"""Looks a server over: what is well, what is to be mended, and with which one command.

IN        the configuration and the store; of a server that runs, where it listens
OUT       findings, marked ok, fix, note or skip; each fix has one command
MAY       ask name servers; look at the disk, the ports and the processes of this machine
NEVER     change anything; reach out for port 25 from here, which says nothing about outside
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from api.domain_dns import subject
from api.models_dns import Check, CheckedDetail, fine
from api.models_doctor import FindingDetail, Findings, GroupName, MarkName
from mail.ident import row_id_text
from net.listen import Endpoint, holder
from net.tls import Certificate
from server import folder
from server.config import Config
from server.counters import Counters
from server.domain_dns import DomainDns
from server.parts import certificate_findings, floor_octets
from server.share import descriptors_needed
from server.trouble import Trouble
from store import nightly
from store.records import CollectorState, Domain
from store.store import Store

BACKUP_AGE: Final = timedelta(days=2)
AHEAD: Final = timedelta(minutes=5)
FAILS: Final = 3  # of a collector, one after the other: before that it is the provider's bad hour
CERT_TODO: Final = {"self-signed": "new", "acme": "renew", "files": "show"}
STREAK: Final = 50  # connections of one client, with no other in between


@dataclass(frozen=True, slots=True)
class Patient:
    """`listening` and `counters` None: no server runs."""

    config: Config
    store: Store
    certificate: Certificate | Trouble
    listening: Mapping[str, Sequence[Endpoint]] | None = None
    counters: Counters | None = None


async def examine(patient: Patient, only: Collection[GroupName] | None = None) -> Findings:
    """All groups, or those named."""
    groups = [group for group in GROUPS if only is None or group in only]
    found = await asyncio.gather(*(GROUPS[group](patient) for group in groups))
    items = [finding for findings in found for finding in findings]
    return Findings(items=items, to_fix=sum(item.mark == "fix" for item in items))


def finding(group: GroupName, mark: MarkName, text: str, todo: str = "") -> FindingDetail:
    assert mark != "fix" or todo
    return FindingDetail(group=group, mark=mark, text=text, next=todo)


async def _machine(patient: Patient) -> list[FindingDetail]:
    return [_space(patient), _clock(patient), _descriptors(patient.config), _rights(patient.config)]


def _space(patient: Patient) -> FindingDetail:
    data_dir = patient.config.server.data_dir
    free = shutil.disk_usage(data_dir).free
    mib = f"{free // 1024 // 1024} MiB free in {data_dir}"
    floor = floor_octets(patient.config)
    if free < floor:
        return finding("machine", "fix", f"{mib}: mail is put off", f"df -h {data_dir}")
    if free < 2 * floor:
        return finding("machine", "note", f"{mib}: soon mail is put off", f"df -h {data_dir}")
    return finding("machine", "ok", mib)


def _clock(patient: Patient) -> FindingDetail:
    """What was written in the future was written by a clock that was right, or will be."""
    files = [each for each in patient.config.server.data_dir.iterdir() if each.is_file()]
    newest = max((each.stat().st_mtime for each in files), default=0.0)
    if datetime.fromtimestamp(newest, UTC) > datetime.now(UTC) + AHEAD:
        text = "the clock is behind the files of the store"
        return finding("machine", "fix", text, "timedatectl set-ntp true")
    return finding("machine", "ok", "clock")


def _descriptors(config: Config) -> FindingDetail:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = descriptors_needed(config)
    if hard != resource.RLIM_INFINITY and hard < needed:
        text = f"at most {hard} open files; all connections need {needed}"
        return finding("machine", "fix", text, f"ulimit -Hn {needed}")
    return finding("machine", "ok", "open files")


def _rights(config: Config) -> FindingDetail:
    try:
        folder.prepare(config.server.data_dir)
    except Trouble as trouble:
        return finding("machine", "fix", trouble.what, trouble.todo)
    if os.geteuid() == 0 and not all(each.loopback for each in config.smtp.listen):
        text = "the data folder is root's, who may not serve the network"
        return finding("machine", "note", text)
    return finding("machine", "ok", f"nobody else reads {config.server.data_dir}")


async def _ports(patient: Patient) -> list[FindingDetail]:
    config = patient.config
    if patient.listening is None:
        wanted = (*config.smtp.listen, *config.pop3.listen, *config.api.http_listen)
        return [
            finding("ports", "fix", "no server runs", "restante serve"),
            *_held({endpoint.port for endpoint in wanted if endpoint.port}),
        ]
    listening = {name: found for name, found in patient.listening.items() if found}
    names = ", ".join(
        f"{name} {'/'.join(sorted({str(each.port) for each in found}))}"
        for name, found in listening.items()
    )
    found = [finding("ports", "ok", names)]
    if all(each.loopback for each in listening.get("smtp", ())):
        found.append(finding("ports", "note", "mail is taken from this machine alone"))
    else:
        domains = await patient.store.domains.all()
        text = "port 25 from outside cannot be tested from here"
        todo = f"restante proof {domains[0].name}" if domains else "restante domain add NAME"
        found.append(finding("ports", "note", text, todo))
    return found


def _held(ports: Collection[int]) -> Iterator[FindingDetail]:
    for port in sorted(ports):
        if name := holder(port):
            yield finding("ports", "fix", f"port {port} is held by {name}", f"fuser -v {port}/tcp")


async def _tls(patient: Patient) -> list[FindingDetail]:
    certificate, config = patient.certificate, patient.config
    if isinstance(certificate, Trouble):
        return [
            finding("tls", "fix", f"{certificate.what} {certificate.why}", "restante cert show")
        ]
    names, todo = certificate.names, f"restante cert {CERT_TODO[config.tls.mode]}"
    if config.server.hostname not in names:
        text = f"the certificate is for {', '.join(names)}, not for {config.server.hostname}"
        return [finding("tls", "fix", text, todo)]
    if told := certificate_findings(config, certificate):
        return [finding("tls", "fix", text, todo) for text in told]
    if config.tls.mode == "self-signed":
        text = "self-signed: senders take it, a mail app asks once"
        return [finding("tls", "note", text, "restante cert show")]
    return [finding("tls", "ok", f"certificate, {certificate.days_left} days left")]


async def _store(patient: Patient) -> list[FindingDetail]:
    if not await patient.store.writable():
        return [finding("store", "fix", "the store cannot be written", "restante db check")]
    size = await patient.store.size()
    return [finding("store", "ok", f"{size.messages} messages of {size.accounts} users")]


async def _dns(patient: Patient) -> list[FindingDetail]:
    key = "" if isinstance(patient.certificate, Trouble) else patient.certificate.key_sha256
    dns = DomainDns(patient.config, key)
    domains = await patient.store.domains.all()
    if not domains:
        return [finding("dns", "fix", "mail is taken for no domain", "restante domain add NAME")]
    checks = await asyncio.gather(*(dns.check(subject(each)) for each in domains))
    return [
        told
        for domain, check in zip(domains, checks, strict=True)
        for told in _of_domain(domain, check)
    ]


def _of_domain(domain: Domain, check: Check) -> Iterator[FindingDetail]:
    if all(item.state == "skipped" for item in check.items):
        reason = check.items[0].reason
        yield finding("dns", "skip", f"{domain.name}: {reason}")
        return
    todo = f"restante dns show {domain.name}"
    well = sum(item.state == "ok" for item in check.items)
    yield finding("dns", "ok", f"{domain.name}: {well} records are as they should be")
    if domain.sends_via is None:
        yield finding("dns", "note", f"{domain.name}: nobody said yet who sends mail as it", todo)
    for item in check.items:
        text = f"{domain.name}: {_words(item)}"
        if not fine(item):
            yield finding("dns", "fix", text, f"{todo} --only {item.key}")
        elif item.state not in ("ok", "skipped"):
            yield finding("dns", "note", text)
    for problem in check.problems:
        yield finding("dns", "note", f"{domain.name}: {problem}")


def _words(item: CheckedDetail) -> str:
    kind = "A" if item.key == "address" else item.key.upper()
    return f"{kind} is {item.state} at {item.name} ({item.why})"


async def _collect(patient: Patient) -> list[FindingDetail]:
    """No address at a provider and none of its words: this is logged, and told to who may not read
    other people's mail.
    """
    sources = await patient.store.collectors.of(None)
    logins = {each.maildrop_id: each.login for each in await patient.store.accounts.all()}
    found, well = [], 0
    for source in sources:
        key = row_id_text(source.id)
        name = f"collector {key} of {logins.get(source.maildrop_id, 'nobody')}, at {source.host},"
        if source.paused:
            todo = f"restante collect pause {key} --undo"
            found.append(finding("collect", "note", f"{name} is paused", todo))
        elif source.state is CollectorState.STOPPED:
            text = f"{name} has stopped: its login was refused"
            found.append(finding("collect", "fix", text, f"restante collect password {key}"))
        elif source.state is CollectorState.FAILING:
            mark: MarkName = "note" if source.fails < FAILS else "fix"
            text = f"{name} fails" if mark == "fix" else f"{name} failed, and is tried again"
            found.append(finding("collect", mark, text, f"restante collect test {key}"))
        else:
            well += 1
    text = f"{well} of {len(sources)} collectors run" if sources else "no mail is collected"
    return [finding("collect", "ok", text), *found]


async def _limits(patient: Patient) -> list[FindingDetail]:
    """Behind a proxy that does not say whom it speaks for, all clients are one to the limits."""
    counters = patient.counters
    if patient.listening is None or counters is None:
        return [finding("limits", "skip", "clients are counted while a server runs")]
    found = []
    for name, counted, key in (
        ("smtp", counters.smtp, "server.proxy_protocol"),
        ("pop3", counters.pop3, "server.proxy_protocol"),
        ("http", counters.http, "api.trusted_proxies"),
    ):
        client, times, refused = await counted.streak()
        if times < STREAK or not ipaddress.ip_network(client).is_private:
            continue  # a stranger who comes often is no proxy
        text = f"{name.upper()}: all clients seem to be {client}"
        todo = f"restante config explain {key}"
        if refused:
            found.append(
                finding("limits", "fix", f"{text}, and some were refused for being too many", todo)
            )
        elif not all(each.loopback for each in patient.listening.get(name, ())):
            text += ": if that is a proxy, their limits count them as one"
            found.append(finding("limits", "note", text, todo))
    return found or [finding("limits", "ok", "clients are told apart")]


async def _backup(patient: Patient) -> list[FindingDetail]:
    place = patient.config.store.backup_dir
    if place is None:
        text = "there is no backup every night: store.backup_dir is empty"
        return [finding("backup", "note", text, "restante backup -o DIR")]
    made = await asyncio.to_thread(nightly.newest, place) if place.exists() else None
    todo = f"restante backup -o {place}"
    if made is None:
        return [finding("backup", "fix", f"there is no backup in {place}", todo)]
    if datetime.now(UTC) - made > BACKUP_AGE:
        return [finding("backup", "fix", f"the last backup is of {made:%Y-%m-%d}", todo)]
    return [finding("backup", "ok", f"last backup {made:%Y-%m-%d %H:%M} UTC")]


async def _access(patient: Patient) -> list[FindingDetail]:
    found = []
    if not await patient.store.accounts.has_admin():
        text = "there is no administrator: postmaster's mail is put off"
        found.append(finding("access", "fix", text, "restante user add NAME --admin"))
    if patient.config.api.registration == "open":
        text = "anybody may make an account: api.registration is open"
        found.append(finding("access", "note", text, "restante config explain api.registration"))
    return found or [finding("access", "ok", "accounts")]


GROUPS: Final[Mapping[GroupName, Callable[[Patient], Awaitable[list[FindingDetail]]]]] = {
    "machine": _machine,
    "ports": _ports,
    "tls": _tls,
    "store": _store,
    "dns": _dns,
    "collect": _collect,
    "limits": _limits,
    "backup": _backup,
    "access": _access,
}


def changes(
    before: Collection[FindingDetail], now: Collection[FindingDetail]
) -> Iterator[tuple[str, FindingDetail]]:
    """What came and what went of that which is to be mended."""
    old, new = (
        {each.text: each for each in found if each.mark == "fix"} for found in (before, now)
    )
    yield from (("doctor.found", new[text]) for text in new if text not in old)
    yield from (("doctor.mended", old[text]) for text in old if text not in new)
