"""Long acts on the store: import, export, backup. In the server, or here while none runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mail.errors import BadName, FileTrouble
from server.admin import Answer, LongAct
from server.progress import Progress
from store.mailfiles import Format, Sink, open_sink, open_source, rejected_of
from store.moves import COUNTED
from store.records import Folder
from store.store import Store
from store.transfer import Exported, Target


async def import_mail(
    store: Store, *, progress: Progress, login: str, path: str, options: Mapping[str, str | int]
) -> Answer:
    """`options`: format, folder, name, max_octets. What was taken before a failure stays."""
    account = await store.accounts.get(login)
    format_ = Format(options["format"])
    target = Target(
        account.maildrop_id, Folder[str(options["folder"]).upper()], str(options["name"])
    )
    place = Path(path)
    opened = partial(open_source, format_, place, max_octets=int(options["max_octets"]))
    try:
        source = await asyncio.to_thread(opened)
        imported = await store.transfers.bring_in(target, source, step=progress.step)
    except OSError as error:
        raise FileTrouble(_words(error)) from error
    finally:
        store.indexer.hint(account.maildrop_id)
    mbox = format_ in (Format.MBOX, Format.MBOXO)
    return {
        "taken": imported.taken,
        "there": imported.there,
        "unfit": imported.unfit,
        "listed": [{"place": place, "why": why} for place, why in imported.listed],
        "rejected": str(rejected_of(place)) if mbox and imported.unfit else None,
    }


async def export_mail(
    store: Store,
    *,
    progress: Progress,
    login: str | None,
    path: str,
    options: Mapping[str, str | None],
) -> Answer:
    """`options`: format, and one folder or None. Without a login everybody's, apart in a folder."""
    format_ = Format(options["format"])
    if format_ is Format.MBOXO:
        raise BadName("mbox is written with its quoting: choose mbox")
    folder = options["folder"]
    folders = [Folder[folder.upper()]] if folder else sorted(COUNTED)
    accounts = [await store.accounts.get(login)] if login else await store.accounts.all()
    files = []
    for account in accounts:
        place = Path(path)
        if not login:
            place /= f"{account.login}.mbox" if format_ is Format.MBOX else account.login
        try:
            export = _Export(format_, folders, place)
            exported = await export.run(store, account.maildrop_id, progress)
        except OSError as error:
            raise FileTrouble(_words(error)) from error
        files.append(
            {
                "login": account.login,
                "path": str(place),
                "messages": exported.written,
                "damaged": exported.damaged,
            }
        )
    return {"exported": files}


@dataclass(frozen=True, slots=True)
class _Export:
    """Where the mail of one maildrop goes."""

    format: Format
    folders: list[Folder]
    place: Path

    async def run(self, store: Store, maildrop_id: int, progress: Progress) -> Exported:
        sink = await asyncio.to_thread(self._open)
        complete = False
        try:
            exported = await store.transfers.write_out(
                maildrop_id, self.folders, sink, step=progress.step
            )
            complete = True
        finally:
            await asyncio.to_thread(partial(sink.close, complete=complete))
        return exported

    def _open(self) -> Sink:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        return open_sink(self.format, self.place)


async def backup(store: Store, *, progress: Progress, path: str) -> Answer:
    """Adds a backup to a folder."""
    try:
        saved = await store.save(Path(path), step=progress.step)
    except OSError as error:
        raise FileTrouble(_words(error)) from error
    return {
        "path": path,
        "meta": saved.meta,
        "messages": saved.messages,
        "bodies": saved.bodies,
        "octets": saved.octets,
        "gone": saved.gone,
        "damaged": saved.damaged,
    }


async def db_size(store: Store, *, progress: Progress) -> Answer:
    """What the store holds, and what that takes."""
    del progress
    return asdict(await store.size())


async def db_verify(store: Store, *, progress: Progress, bodies: float, fix: bool) -> Answer:
    """Checks the store; `bodies` per cent of the bodies are read."""

    def tell(_what: str, count: int) -> None:
        progress.done = count

    report = await store.verify(bodies=bodies, fix=fix, progress=tell)
    problems = [
        {
            "wrong": str(each.wrong),
            "maildrop": each.place,
            "id": str(each.uid) if each.uid else None,
            "detail": each.detail,
        }
        for each in report.problems
    ]
    return {
        "maildrops": report.maildrops,
        "messages": report.messages,
        "bodies": report.bodies,
        "unpacked": report.unpacked,
        "found": report.found,
        "mended": report.mended,
        "problems": problems,
    }


LONG_ACTS: Mapping[str, LongAct] = {
    "import": import_mail,
    "export": export_mail,
    "backup": backup,
    "db size": db_size,
    "db verify": db_verify,
}


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
