"""The composition root: builds every part from the configuration and hands each what it needs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

import structlog
import uvloop

from api.app import ApiServer
from api.call import ApiParts, Site, StartLink
from auth import codes
from auth.login import Login
from auth.passwords import Passwords
from auth.second_factor import SecondFactor
from auth.tokens import Tokens, load_keys
from collector.dial import Dialer, ports_of
from collector.service import Collecting
from collector.worker import Worker
from intake.admission import Checks, Policy
from intake.deliver import deliver
from intake.recipients import resolve
from intake.screen import Filters, Screen
from intake.summaries import Summaries
from intake.verify import Verifier
from net.accept import Tls
from net.resolve import NoAnswer, Resolver
from net.tls import BadCertificate
from pop3d.connection import ALPN
from pop3d.server import Pop3Server
from server import acme, admin, collect_acts, limit_acts, systemd, transfer
from server.acting import Control, bound
from server.collect_acts import collector_tools, spool
from server.config import Config
from server.counters import shared_rates
from server.history import History
from server.house import House
from server.parts import (
    MIB,
    app_password_key,
    certificate_findings,
    load_certificate,
    open_store,
    utc_now,
)
from server.rounds import Rounds
from server.share import Share, shared, shown
from smtpin.handler import Handler, Intake
from smtpin.limits import Limits, Shared, misses_allowance, octets_allowance
from smtpin.refuser import Refuser
from smtpin.server import SmtpServer

POP3_DRAIN_S = 30
API_DRAIN_S = 5
HTTP_ALPN = ("http/1.1",)  # RFC 7301 section 6
CERTIFICATE_LOOK_S = 30


class Server:
    """One running Restante. `start`, then `stop`, once each, in one event loop."""

    def __init__(
        self,
        config: Config,
        *,
        share: Share | None = None,
        passwords: Passwords | None = None,
        dialer: Callable[[Dialer], Dialer] | None = None,
        start: StartLink | None = None,
    ) -> None:
        """`share`: that of a worker, from its parent. Without one this process serves alone.

        `dialer` changes how the collector connects: tests have names and authorities of their own.
        `start`: the link of a trial, which signs its owner in.
        """
        self.config = config
        self.dialer = dialer
        self.link = start
        self.passwords = passwords or Passwords()
        self._given = share

    async def start(self) -> None:
        """Binds, opens and serves. Raises Trouble; nothing is left open then."""
        config = self.config
        with ExitStack() as opened:
            self._share = share = self._given or opened.enter_context(shared(config))
            self.store = opened.enter_context(closing(open_store(config)))
            self.certificate = load_certificate(config)
            self.listening = share.sockets.endpoints()
            self._build()
            self._smtp.start(share.sockets.smtp)
            for sockets, stls in ((share.sockets.pop3, False), (share.sockets.pop3_stls, True)):
                self._pop3.start(
                    sockets,
                    self.certificate.context(ALPN),
                    stls=stls,
                    proxies=config.server.proxy_protocol,
                )
            self._refuser.start(
                share.sockets.refuser,
                self.certificate.context(),
                proxies=config.server.proxy_protocol,
            )
            secure = Tls(self.certificate.context(HTTP_ALPN))
            await self._api.start(share.sockets.http, share.sockets.https, secure)
            if share.commanded:
                await self._control.start()
                self._rounds.start()
                if self._renewal:
                    self._renewal.start()
            self.store.directory.start()
            self.store.indexer.start()
            self.store.leases.start()
            self.store.upkeep.start()
            self.store.nightly.start()
            self._summaries.start()
            self._collector.start()
            self.past.start()
            self._watch = asyncio.create_task(self._watch_certificate())
            self._dns_test = asyncio.create_task(self._test_dns())
            self._opened = opened.pop_all()
            self._house.serving = True
        structlog.get_logger().info(
            "worker.ready" if self._given else "server.ready", **shown(self.listening)
        )

    def _build(self) -> None:
        config, store = self.config, self.store
        hostname, counters = config.server.hostname, self._share.counters
        self._rates = shared_rates(config, counters.rates)
        if self._rates:
            counters = replace(counters, rates=self._rates)
        app_key = app_password_key(config)
        login = Login(store, self.passwords, counters.sign_ins, key=app_key, clock=time.monotonic)
        token_keys = load_keys(config.server.data_dir / "token.key")
        self.past = History(store, counters, clock=utc_now)
        self._house = House(
            *(config, store, self.certificate, counters, self.listening),
            started_at=utc_now(),
            past=self.past,
        )
        self._resolver = Resolver(config.server.resolvers)
        self._screen = Screen(self._resolver, screen_filters(config))
        self._spool = spool(config)
        self._smtp = self._smtp_server()
        tools = collector_tools(config, store, self._spool)
        own = [endpoint for found in self.listening.values() for endpoint in found]
        dialer = replace(tools.dialer, own_ports=ports_of(own))
        tools = replace(tools, dialer=self.dialer(dialer) if self.dialer else dialer)
        self._collector = Worker(tools)
        collecting = Collecting(tools, every_s=config.collector.every_s)
        self._pop3 = Pop3Server(
            store, login, connections=counters.pop3, strangers=counters.pop3_strangers
        )
        self._pop3.metrics = counters.metrics
        self._summaries = Summaries(store, hostname=hostname, clock=utc_now)
        self._refuser = Refuser(connections=counters.refuser)
        self._api = ApiServer(
            ApiParts(
                store=store,
                login=login,
                passwords=self.passwords,
                house=self._house,
                second=SecondFactor(store, tools.vault, issuer=hostname, clock=utc_now),
                tokens=Tokens(token_keys, issuer=hostname, clock=utc_now),
                key=token_keys[0],
                secrets_key=app_key,
                hostname=hostname,
                clock=utc_now,
                connections=counters.http,
                rates=counters.rates,
                site=self._site(),
                collecting=collecting,
                start=self.link,
            )
        )
        collects = collect_acts.Desk(store, collecting)
        self._renewal = self._acme()
        acts: dict[str, admin.Act] = {
            **bound(admin.ACTS, admin.Desk(store, self.passwords, app_key)),
            **bound(limit_acts.ACTS, counters),
            **bound(collect_acts.ACTS, collects),
            "status": self.status,
            "reload": self._reload,
            "doctor": self._house.doctor,
            "cert renew": self._renew,
        }
        long_acts = {name: partial(act, store) for name, act in transfer.LONG_ACTS.items()}
        long_acts["collect run"] = partial(collect_acts.run, collects)
        self._control = Control(config.server.data_dir, acts, long_acts)
        self._rounds = Rounds(self._house.examine, config.server.data_dir)

    def _site(self) -> Site:
        config = self.config
        pop3, refuser = self.listening["pop3"], self.listening["refuser"]
        return Site(
            registration=config.api.registration,
            proxies=config.api.trusted_proxies,
            exempt=config.limits.exempt,
            failures_only=config.limits.auth_counts == "failures",
            pop3_port=pop3[0].port if pop3 else 995,
            refuser_port=refuser[0].port if refuser else None,
            public_url=config.public_url,
            hsts=config.tls.mode != "self-signed",
        )

    async def setup_code(self) -> str | None:
        """What makes the first administrator; None when there is one."""
        if await self.store.accounts.has_admin():
            return None
        return codes.setup_code(app_password_key(self.config))

    def _smtp_server(self) -> SmtpServer:
        config, store, limits = self.config, self.store, self.config.limits
        workers = config.server.workers
        return SmtpServer(
            Handler(
                hostname=config.server.hostname,
                limits=Limits(message_octets=config.smtp.max_message_mib * MIB),
                intake=Intake(
                    resolve=partial(resolve, store=store),
                    deliver=partial(
                        deliver,
                        store=store,
                        hostname=config.server.hostname,
                        clock=utc_now,
                        checks=self._checks(),
                    ),
                ),
                metrics=self._share.counters.metrics,
            ),
            tls=self.certificate.context(),
            shared=Shared(
                connections=self._share.counters.smtp,
                places=limits.smtp_total // workers,
                spool=self._spool,
                misses=misses_allowance(time.monotonic),
                octets=octets_allowance(time.monotonic),
                exempt=limits.exempt,
            ),
            proxies=config.server.proxy_protocol,
        )

    def _checks(self) -> Checks:
        smtp = self.config.smtp
        verifier = Verifier(self._resolver, trusted=smtp.arc_trusted)
        return Checks(
            verifier=verifier if smtp.verify == "on" else None,
            screen=self._screen,
            policy=Policy(refuse_failed_dmarc=smtp.dmarc == "refuse", hops=smtp.trusted_hops),
            store=self.store,
        )

    async def _test_dns(self) -> None:
        """Tells the log what of DNS does not work; mail comes in all the same."""
        smtp = self.config.smtp
        if smtp.verify == "on":
            try:
                await self._resolver.ask("", "NS")  # of the root, which everybody knows
            except NoAnswer:
                structlog.get_logger().warning("dns.silent", servers=self._resolver.servers)
        await self._screen.test()

    async def stop(self) -> None:
        """No new connections; what is in hand is finished, then everything is closed."""
        self._house.serving = False
        self._watch.cancel()
        self._dns_test.cancel()
        await self._summaries.stop()
        self.past.stop()
        await self._control.stop()  # where it was started
        await self._collector.stop()
        await self._rounds.stop()  # the same
        if self._renewal and self._share.commanded:
            await self._renewal.stop()
        await self.store.nightly.stop()
        await self.store.upkeep.stop()
        await self._refuser.stop()
        await asyncio.gather(
            self._smtp.stop(), self._pop3.drain(POP3_DRAIN_S), self._api.stop(API_DRAIN_S)
        )
        await self.store.directory.stop()
        await self.store.indexer.stop()
        await self.store.leases.stop()
        if self._rates:
            await self._rates.close()
        await asyncio.to_thread(self._opened.close)
        self.passwords.close()
        structlog.get_logger().info("worker.stopped" if self._given else "server.stopped")

    async def _watch_certificate(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_LOOK_S)
            if self.certificate.changed:
                self.reload()

    def reload(self) -> None:
        """The certificates' files are read again, at SIGHUP too; a bad pair changes nothing."""
        try:
            self.certificate.reload()
        except BadCertificate as error:
            structlog.get_logger().error("server.certificate", why=str(error))
        else:
            structlog.get_logger().info("server.reloaded", days=self.certificate.days_left)

    def _acme(self) -> acme.Renewal | None:
        config, domains = self.config, self.store.domains

        async def names() -> list[str]:
            return [domain.name for domain in await domains.all()]

        if config.tls.mode != "acme":
            return None
        return acme.Renewal(
            acme.Place(config.server.data_dir, config.server.hostname, config.tls.acme_directory),
            domains=names,
            changed=self.reload,
            clock=utc_now,
        )

    async def _renew(self) -> admin.Answer:
        """Asks for certificates now, also for what failed a moment ago."""
        found = await self._renewal.run(waiting=False) if self._renewal else []
        return {"findings": found, **self._certificate_told()}

    def _certificate_told(self) -> admin.Answer:
        return {
            "certificate_days": self.certificate.days_left,
            "certificate_sha256": self.certificate.fingerprint,
        }

    async def _reload(self) -> admin.Answer:
        self.reload()
        return {}

    async def status(self) -> admin.Answer:
        """What `restante status` shows of a running server."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "version": version("restante"),
            **await self._share.processes(),
            "listeners": {
                name: [str(endpoint) for endpoint in found]
                for name, found in self.listening.items()
            },
            "mail_today": await self.store.messages.kept_since(midnight),
            "store": self._house.store_url,
            "free_octets": shutil.disk_usage(self.config.server.data_dir).free,
            "backup_age_s": await self.store.nightly.age_s(),
            **self._certificate_told(),
            "key_sha256": self.certificate.key_sha256,
            "certificate_findings": certificate_findings(self.config, self.certificate),
        }


Ready = Callable[[Server], Awaitable[None]]


def run(config: Config, *, ready: Ready | None = None, start: StartLink | None = None) -> None:
    """One process that serves alone. As `serve`."""

    async def started(server: Server) -> None:
        if ready:
            await ready(server)
        systemd.ready(asyncio.get_running_loop())

    async def alone() -> None:
        await serve(Server(config, start=start), told=asyncio.Event(), ready=started)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(alone())


async def tell_setup_code(server: Server) -> None:
    """To whoever looks at the console, and to no log: it makes an administrator."""
    if code := await server.setup_code():
        print(f"There is no administrator yet. The set-up code is {code}", flush=True)  # noqa: T201


async def serve(server: Server, *, told: asyncio.Event, ready: Ready | None) -> None:
    """Serves until it is told to stop, by SIGTERM or SIGINT too. Raises Trouble."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await server.start()
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    try:
        if ready:
            await ready(server)
        await told.wait()
    finally:
        await server.stop()


def screen_filters(config: Config) -> Filters:
    smtp = config.smtp
    return Filters(lists=smtp.dnsbl, rspamd=smtp.rspamd, clamd=smtp.clamd)
