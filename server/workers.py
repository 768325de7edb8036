"""Several processes that serve together: a parent, and the workers that it forks.

IN        a configuration with server.workers > 1, and a database that several processes may write
OUT       workers, which share the listening sockets; lines worker.* and server.* in the log
MAY       fork a worker in the place of one that ended, later and later if they end soon; signal
          its workers
NEVER     open the store, start a thread or take a connection: what a worker is forked from must
          have none of them. Fork while the event loop runs
FAILS     Trouble, until every worker is ready for the first time; then it goes on trying

SIGHUP is passed on. At SIGTERM and SIGINT the workers are told to stop, and the parent ends after
the last of them. A worker whose parent ends hears that on its line, and stops as well.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.context import ForkProcess
from typing import Any

import structlog
import uvloop

from server import systemd
from server.anvil import Book, Line
from server.compose import Server, serve, tell_setup_code
from server.config import Config
from server.parts import store_url
from server.share import Share, shared, shown, worker_row
from server.trouble import Trouble

STEADY_S = 60  # a worker that lived this long is replaced at once
LONGEST_PAUSE_S = 60
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_FORK = multiprocessing.get_context("fork")

log = structlog.get_logger()


def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT. Raises Trouble."""
    if store_url(config).startswith("sqlite"):
        raise Trouble(
            "Several workers need another database.",
            f"server.workers is {config.server.workers}, and one process writes an SQLite file.",
            "Set server.workers = 1, or move the mail: restante db move --to URL",
            exit_code=2,
        )
    with shared(config) as share, asyncio.Runner() as runner:
        parent = _Parent(config, share, runner)
        try:
            parent.start()
            parent.keep()
        finally:
            parent.stop()
            runner.run(parent.all_ended())
    log.info("server.stopped")


class _Worker:
    """One process, from its fork to its end; what its line says of it comes in here."""

    process: ForkProcess

    def __init__(self, parent: _Parent, place: int, line: socket.socket) -> None:
        self.place = place
        self.line = line
        self.since = datetime.now(UTC)
        self.began = time.monotonic()
        self.is_ready = False
        self.settled = asyncio.Event()  # it is ready, or has ended
        self.met: Trouble | None = None
        self.processes = parent.processes

    def ready(self) -> None:
        self.is_ready = True
        self.settled.set()

    def trouble(self, what: str, why: str, todo: str, exit_code: int) -> None:
        self.met = Trouble(what, why, todo, exit_code=exit_code)


class _Parent:
    def __init__(self, config: Config, share: Share, runner: asyncio.Runner) -> None:
        self._config = config
        self._share = share
        self._runner = runner
        self._loop = runner.get_loop()
        self._places = range(config.server.workers)
        self._workers: dict[int, _Worker] = {}  # by place, until they have ended
        self._attending: set[asyncio.Task[None]] = set()
        self._vacant: asyncio.Queue[int] = asyncio.Queue()
        self._early_ends = [0 for _ in self._places]  # in a row
        self._started = self._stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._signal, signal.SIGHUP)

    def start(self) -> None:
        """Returns when all are ready, or are to stop. Raises Trouble."""
        # The first makes what is missing in folder and database; the others find it.
        for some in (self._places[:1], self._places[1:]):
            if self._stopping:
                return
            forked = [self._fork(place) for place in some]
            self._runner.run(self._settle(forked))
        if not self._stopping:
            self._started = True
            listening = shown(self._share.sockets.endpoints())
            log.info("server.ready", **listening, workers=len(self._places))
            systemd.ready(self._loop)

    def keep(self) -> None:
        """Fills every place that becomes vacant, until it is told to stop."""
        for place in self._places:
            if place not in self._workers:  # it ended while others were started
                self._vacant.put_nowait(place)
        while True:
            place = self._runner.run(self._vacant.get())
            if self._stopping:
                return
            try:
                self._fork(place)
            except OSError as error:
                log.error("worker.not_forked", place=place, why=error.strerror)
                self._replace(place, lived_s=0)

    def stop(self) -> None:
        """No new connections and no new workers; those that are there end in their time."""
        if self._stopping:
            return
        self._stopping = True
        self._vacant.put_nowait(0)  # wakes `keep`
        self._share.sockets.close()
        self._signal(signal.SIGTERM)

    async def all_ended(self) -> None:
        if self._attending:
            await asyncio.wait(self._attending)

    def processes(self) -> dict[str, Any]:
        """As Share.processes."""
        workers = sorted(self._workers.values(), key=lambda each: each.place)
        rows = [worker_row(each.process.pid, each.since) for each in workers if each.is_ready]
        return {"pid": os.getpid(), "workers": rows}

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            assert worker.process.pid
            os.kill(worker.process.pid, number)  # ours until it is joined

    async def _settle(self, workers: Sequence[_Worker]) -> None:
        for worker in workers:
            await worker.settled.wait()
            if not worker.is_ready and not self._stopping:
                raise worker.met or Trouble(
                    "A worker ended before it was ready.",
                    "The lines above this one say more.",
                    "Mend that, and start again.",
                    exit_code=3,
                )

    def _fork(self, place: int) -> _Worker:
        ours, theirs = socket.socketpair()
        worker = _Worker(self, place, ours)
        not_its_own = [ours, *(other.line for other in self._workers.values())]
        worker.process = _FORK.Process(
            target=_work,
            args=(self._config, replace(self._share, commanded=place == 0), theirs, not_its_own),
            name=f"worker {place}",
        )
        # A signal that comes before the child has handlers of its own waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            worker.process.start()
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()
        self._workers[place] = worker
        task = self._loop.create_task(self._attend(worker))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)
        return worker

    async def _attend(self, worker: _Worker) -> None:
        try:
            await Book(self._share.counters, worker).attend(worker.line)
        finally:
            ended = asyncio.Event()
            self._loop.add_reader(worker.process.sentinel, ended.set)
            await ended.wait()
            self._loop.remove_reader(worker.process.sentinel)
            worker.process.join()
            self._ended(worker)

    def _ended(self, worker: _Worker) -> None:
        del self._workers[worker.place]
        worker.settled.set()
        status, lived_s = worker.process.exitcode or 0, time.monotonic() - worker.began
        log.log(
            logging.INFO if self._stopping or status == 0 else logging.ERROR,
            "worker.ended",
            pid=worker.process.pid,
            how=f"status {status}" if status >= 0 else f"signal {-status}",
            lived_s=round(lived_s),
        )
        worker.process.close()
        if self._started and not self._stopping:
            if worker.met:
                log.error("worker.trouble", what=worker.met.what, why=worker.met.why)
            self._replace(worker.place, lived_s=lived_s)

    def _replace(self, place: int, *, lived_s: float) -> None:
        """At once, but not if one after the other ends soon."""
        early = self._early_ends[place] = 0 if lived_s >= STEADY_S else self._early_ends[place] + 1
        pause_s = min(2 ** (early - 1), LONGEST_PAUSE_S) if early else 0
        log.warning("worker.replaced", place=place, in_s=pause_s)
        self._loop.call_later(pause_s, self._vacant.put_nowait, place)


def _work(
    config: Config, share: Share, line: socket.socket, not_its_own: Sequence[socket.socket]
) -> None:
    """A worker's life, in the process that was forked for it."""
    signal.set_wakeup_fd(-1)  # that of the parent's loop
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to be read again
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # As long as one of these is open here, their workers would not hear that the parent ended.
    for other in not_its_own:
        other.close()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, share, line))


async def _serve(config: Config, share: Share, opened: socket.socket) -> None:
    structlog.contextvars.bind_contextvars(worker=os.getpid())
    told = asyncio.Event()
    line = await Line.open(opened, hung_up=told.set)

    async def processes() -> dict[str, Any]:
        return dict(await line.ask("parent", "processes"))

    async def ready(server: Server) -> None:
        line.tell("parent", "ready")
        if share.commanded:  # one of them says it
            await tell_setup_code(server)

    share = replace(share, counters=line.counters(), processes=processes)
    try:
        await serve(Server(config, share=share), told=told, ready=ready)
    except Trouble as met:
        line.tell("parent", "trouble", met.what, met.why, met.todo, met.exit_code)
    finally:
        await line.close()
