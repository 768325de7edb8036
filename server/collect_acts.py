"""What the command line does with collectors, by the functions that the API answers with."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from auth.tokens import load_key
from auth.vault import Vault
from collector.dial import Dialer, ports_of
from collector.fetch import Tools
from collector.service import Collecting
from intake.spool import Spool
from mail.errors import BadName, NotFound
from mail.ident import row_id_text
from net.limits import OctetBudget
from server.admin import Act, Answer
from server.config import Config
from server.parts import MIB, floor_octets, utc_now
from server.progress import Progress, Stopped
from store.records import Account, Collector, CollectorOwner, CollectorWish, Job
from store.store import Store

LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Desk:
    store: Store
    collecting: Collecting


async def discover(desk: Desk, *, address: str) -> Answer:
    found = desk.collecting.discover(address)
    return {"host": found.host, "port": found.port, "needs": found.needs, "help": found.help}


async def add(
    desk: Desk, *, login: str | None, test: bool = True, **wish: Unpack[CollectorWish]
) -> Answer:
    owner = _owner(await _account(desk, login))
    made = await desk.collecting.create(owner, wish, test=test)
    return await _shown(desk, made)


async def list_(desk: Desk, *, login: str | None = None) -> Answer:
    """Of one user, or all."""
    maildrop = None if login is None else (await desk.store.accounts.get(login)).maildrop_id
    found = await desk.store.collectors.of(maildrop)
    return {"collectors": [await _shown(desk, each) for each in found]}


async def show(desk: Desk, *, which: str) -> Answer:
    return await _shown(desk, await _find(desk, which))


async def test(desk: Desk, *, which: str) -> Answer:
    """Each step that was tried; none follows one that failed."""
    found = await _find(desk, which)
    steps = await desk.collecting.test(await _owner_of(desk, found), found.id)
    told = [{"step": each.step, "ok": each.ok, "detail": each.detail} for each in steps]
    return {"id": row_id_text(found.id), "ok": all(each.ok for each in steps), "steps": told}


async def pause(desk: Desk, *, which: str, paused: bool) -> Answer:
    found = await _find(desk, which)
    owner = await _owner_of(desk, found)
    return await _shown(desk, await desk.collecting.change(owner, found.id, {"paused": paused}))


async def password(desk: Desk, *, which: str, password: str) -> Answer:
    """Kept only if the provider takes it; then the collector runs at once."""
    found = await _find(desk, which)
    owner, wish = await _owner_of(desk, found), CollectorWish(password=password)
    return await _shown(desk, await desk.collecting.change(owner, found.id, wish, test=True))


async def remove(desk: Desk, *, which: str) -> Answer:
    """The mail stays, here and there."""
    found = await _find(desk, which)
    await desk.store.collectors.remove(found.maildrop_id, found.id)
    return await _shown(desk, found)


async def run(
    desk: Desk, *, progress: Progress, which: str | None, login: str | None = None
) -> Answer:
    """Fetches now, and says what came. Whoever goes away meanwhile has cancelled it."""
    return await follow(desk, *await ask(desk, which=which, login=login), progress=progress)


async def ask(desk: Desk, *, which: str | None, login: str | None) -> tuple[Account, Job]:
    """A run of one collector, or of all that one user has."""
    source = await _find(desk, which) if which is not None else None
    account = await (_account_of(desk, source) if source else _account(desk, login))
    job = await desk.store.collectors.ask(
        account.id, account.maildrop_id, source.id if source else None
    )
    return account, job


async def follow(desk: Desk, account: Account, job: Job, *, progress: Progress) -> Answer:
    """Until it is over."""
    try:
        while not job.over:
            job = await desk.store.jobs.wait(job, within_s=LOOK_S)
            progress.step(job.done, job.total)
    except Stopped:
        await desk.store.jobs.cancel(account.id, job.id)
        raise
    return await _told(desk, account, job)


ACTS: Mapping[str, Act] = {
    "collect discover": discover,
    "collect add": add,
    "collect list": list_,
    "collect show": show,
    "collect test": test,
    "collect pause": pause,
    "collect password": password,
    "collect remove": remove,
}


async def _account(desk: Desk, login: str | None) -> Account:
    """Raises NotFound, BadName where it is not plain who is meant."""
    if login is not None:
        return await desk.store.accounts.get(login)
    accounts = await desk.store.accounts.all()
    if len(accounts) != 1:
        raise BadName("name the user: there is not exactly one")
    return accounts[0]


async def _account_of(desk: Desk, source: Collector) -> Account:
    for account in await desk.store.accounts.all():
        if account.maildrop_id == source.maildrop_id:
            return account
    raise NotFound("the user of that collector is gone")


def _owner(account: Account) -> CollectorOwner:
    """Whoever may run commands is an administrator."""
    return CollectorOwner(account.id, account.maildrop_id, admin=True)


async def _owner_of(desk: Desk, source: Collector) -> CollectorOwner:
    return _owner(await _account_of(desk, source))


async def _find(desk: Desk, which: str) -> Collector:
    """By id, address or name. Raises NotFound, BadName."""
    found = [
        each
        for each in await desk.store.collectors.of(None)
        if which in (row_id_text(each.id), each.address, each.name)
    ]
    if not found:
        raise NotFound(f"there is no collector {which}")
    if len(found) > 1:
        raise BadName(f"there are {len(found)} collectors {which}: take an id of `collect list`")
    return found[0]


async def _shown(desk: Desk, source: Collector) -> Answer:
    last = source.last
    return {
        "id": row_id_text(source.id),
        "login": (await _account_of(desk, source)).login,
        "name": source.name,
        "address": source.address,
        "host": source.host,
        "port": source.port,
        "username": source.username,
        "keep_days": source.keep_days,
        "every_s": source.every_s,
        "paused": source.paused,
        "state": source.state.name.lower(),
        "last_run": last
        and {
            "at": last.at.isoformat(),
            "new": last.new,
            "seen": last.seen,
            "octets": last.octets,
            "error": last.error,
        },
        "next_run_at": source.next_at.isoformat(),
    }


async def _told(desk: Desk, account: Account, job: Job) -> Answer:
    names = {each.id: each.name for each in await desk.store.collectors.of(account.maildrop_id)}
    rows: list[dict[str, Any]] = [
        {
            "id": row_id_text(key),
            "name": names.get(key, ""),
            "new": harvest.new,
            "seen": harvest.seen,
            "octets": harvest.octets,
            "error": harvest.error,
        }
        for key, harvest in job.harvests.items()
    ]
    return {"job": row_id_text(job.id), "state": job.state.name.lower(), "collectors": rows}


async def act_here(
    config: Config, store: Store, act: str, arguments: Mapping[str, object]
) -> Answer:
    """While no server runs."""
    waiting = spool(config)
    try:
        tools = collector_tools(config, store, waiting)
        desk = Desk(store, Collecting(tools, every_s=config.collector.every_s))
        return await ACTS[act](desk, **arguments)
    finally:
        waiting.close()


def spool(config: Config) -> Spool:
    """Where messages wait for their end, however they come."""
    return Spool(
        OctetBudget(config.limits.memory_mib * MIB // config.server.workers),
        config.server.data_dir,
        # Less than the store's: what waits here does not make it refuse what it would take, which
        # is for it to say.
        floor=floor_octets(config) // 2,
    )


def vault(config: Config) -> Vault:
    """Without this file no sealed secret can be read any more. It is in no backup."""
    return Vault(load_key(config.server.data_dir / "vault.key"))


def collector_tools(config: Config, store: Store, waiting: Spool) -> Tools:
    """For a process that serves, or for a command while none does."""
    wanted = (*config.smtp.listen, *config.pop3.listen, *config.pop3.stls_listen)
    return Tools(
        store=store,
        dialer=Dialer(
            tls=ssl.create_default_context(),
            hostname=config.server.hostname,
            own_ports=ports_of((*wanted, *config.api.http_listen)),
            private=config.server.private_targets,
        ),
        vault=vault(config),
        spool=waiting,
        hostname=config.server.hostname,
        largest=config.smtp.max_message_mib * MIB,
        clock=utc_now,
    )
