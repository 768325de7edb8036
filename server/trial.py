"""`restante try` and `restante quickstart`: a whole server in one folder, without questions."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from api.call import StartLink
from auth import codes
from auth.passwords import Passwords, generate
from auth.users import read_login
from mail.address import Address, DomainName
from mail.errors import BadName
from mail.trace import letter
from server import admin, control, folder
from server.compose import Server, run
from server.config import Config, default_text, load
from server.knock import knock
from server.parts import app_password_key, load_certificate, open_store, utc_now
from server.trouble import Trouble
from store.store import Store

USER = "you"
ADDRESS = Address(USER, DomainName("example.test"))
SMTP_PORT, POP3_PORT, WEB_PORT, REFUSER_PORT = 2525, 2995, 2080, 2465
START_LIFE = timedelta(minutes=10)
SECRETS = "trial.json"  # marks a folder as a trial, and keeps its card for the next start

_WELCOME = """\
This message came in through the SMTP listener of your own server, the way mail from anywhere
would: it was on the disk before its sender was told "250".

You can read it on the page, with a mail app by POP3, with curl, and through the REST API, and each
shows the same octets. The lines above the subject say how it came in.

Send another, in a second terminal:

    .venv/bin/restante knock you@example.test

Restante receives mail and never sends any, so there is no way to reply from here.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    directory: Path
    config: Config
    password: str
    empty: bool  # no mail has come in yet


def run_trial(directory: Path, *, shift: int, fresh: bool, say: Callable[[str], None]) -> None:
    """Serves a trial until Ctrl-C; `say` prints the card. Raises Trouble."""
    trial = _open(directory, shift=shift, fresh=fresh)

    def welcome(server: Server) -> None:
        [smtp] = server.listening["smtp"]
        if trial.empty:
            welcome = letter(
                sender='"Restante" <postmaster@example.test>',
                recipient=ADDRESS,
                subject="Welcome to Restante",
                at=utc_now(),
                text=_WELCOME,
            )
            kept = knock(smtp, ADDRESS, welcome, say=lambda _line: None)
            last = f'ready. 1 mail waiting: "Welcome to Restante" {kept}'
        else:
            last = "ready. The folder of the last trial is in use again, with its mail."
        say(_card(trial, server))
        say(f"{utc_now().astimezone():%H:%M:%S} {last}")

    async def ready(server: Server) -> None:
        await asyncio.to_thread(welcome, server)  # it speaks to the server itself

    link = StartLink(codes.generate(codes.START), USER, utc_now() + START_LIFE)
    run(trial.config, ready=ready, start=link)


def _open(directory: Path, *, shift: int, fresh: bool) -> Trial:
    """Makes the folder, or takes the one that is there."""
    directory = directory.absolute()
    secrets = directory / SECRETS
    if directory.exists() and any(directory.iterdir()) and not secrets.exists():
        raise Trouble(
            f"{directory} is not the folder of a trial.",
            "It has other files in it, which a trial does not touch.",
            "Name another folder: restante try --dir DIR",
            exit_code=4,
        )
    if control.running(directory):
        raise Trouble(
            f"A trial is running in {directory}.",
            "Two servers cannot share one folder.",
            "Use it, stop it, or start another: restante try --dir DIR --shift 10",
            exit_code=4,
        )
    if fresh and directory.exists():
        shutil.rmtree(directory)
    folder.prepare(directory)
    if not secrets.exists():
        secrets.write_text(json.dumps({"password": generate()}) + "\n")
    password: str = json.loads(secrets.read_text())["password"]
    (directory / "config.toml").write_text(
        "# A trial, for this machine alone. Keys that are not here have their default.\n"
        f'[server]\nhostname = "localhost"\ndata_dir = "."\n'
        f'[smtp]\nlisten = ["127.0.0.1:{SMTP_PORT + shift}"]\n'
        'verify = "off"  # no mail comes from elsewhere, and a trial asks no DNS\n'
        f'[pop3]\nlisten = ["127.0.0.1:{POP3_PORT + shift}"]\n'
        f'refuser_listen = ["127.0.0.1:{REFUSER_PORT + shift}"]\n'
        f'[api]\nhttp_listen = ["127.0.0.1:{WEB_PORT + shift}"]\n'
        '[limits]\nexempt = ["127.0.0.0/8"]\n'
    )
    config = load(directory / "config.toml", {})
    empty = asyncio.run(_first_user(config, USER, ADDRESS, password))
    return Trial(directory, config, password, empty)


async def _first_user(config: Config, login: str, address: Address, password: str) -> bool:
    """Makes domain, administrator and address unless they exist; whether there is no mail yet."""
    store = open_store(config)
    passwords = Passwords()
    try:
        if not await store.accounts.all():
            if address.domain not in {domain.name for domain in await store.domains.all()}:
                await store.domains.add(address.domain)
            desk = admin.Desk(store, passwords, app_password_key(config))
            await admin.user_add(
                desk, login=login, password=password, address=str(address), admin=True
            )
        return await _empty(store)
    finally:
        passwords.close()
        store.close()


async def _empty(store: Store) -> bool:
    for account in await store.accounts.all():
        usage = await store.maildrops.usage(account.maildrop_id)
        if usage.messages or usage.trash_octets:
            return False
    return True


def _card(trial: Trial, server: Server) -> str:
    names = ("smtp", "pop3", "http", "refuser")
    smtp, pop3, web, refuser = (server.listening[name][0] for name in names)
    shown = trial.directory
    if shown.is_relative_to(Path.cwd()):
        shown = shown.relative_to(Path.cwd())
    print_json = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])'"
    return f"""\
Restante {version("restante")}: receives mail, never sends it.

  folder    {"./" if not shown.is_absolute() else ""}{shown}
            delete it and everything is gone
  SMTP      {smtp}            takes mail for @{ADDRESS.domain}
{_start(server)}
  Mail app  incoming  POP3, server {pop3.host}, port {pop3.port}, SSL/TLS, normal password
            user      {ADDRESS}     password  {trial.password}
            outgoing  server {refuser.host}, port {refuser.port}, SSL/TLS, no authentication
                      (it only says that nothing is sent from here)
            certificate SHA-256  {server.certificate.fingerprint}
            compare once, then accept

  curl      curl -k --user {ADDRESS}:{trial.password} pop3s://{pop3}/1

  API       T=$(curl -s http://{web}/api/auth/login \\
                --json '{{"login":"{USER}","password":"{trial.password}"}}' \\
                | {print_json})
            curl -s -H "Authorization: Bearer $T" http://{web}/api/emails
            every operation, with examples: http://{web}/api/docs

  Try it    .venv/bin/restante knock {ADDRESS}       (second terminal)
  Stop      Ctrl-C. Nothing here can be reached from another machine.
"""


def _start(server: Server) -> str:
    if server.link is None:
        return ""
    web, minutes = server.listening["http"][0], START_LIFE // timedelta(minutes=1)
    link = f"http://{web}/start/{server.link.code}"
    return f"  web       {link}     signs you in; once, {minutes} minutes\n"


@dataclass(frozen=True, slots=True)
class Quickstart:
    """What `restante quickstart` made."""

    config_file: Path
    login: str
    password: str
    address: Address
    fingerprint: str


def quickstart(directory: Path, address: Address, *, trial: Path | None = None) -> Quickstart:
    """Makes configuration, certificate, store and first administrator. Raises Trouble.

    From the folder of a `trial` its user, password and mail are taken along; it stays as it is.
    """
    directory = directory.absolute()
    config_file = directory / "config.toml"
    if config_file.exists():
        raise Trouble(
            f"{config_file} exists.",
            "Quickstart makes a new server and never changes one that is there.",
            "Name another folder: restante quickstart ADDRESS --dir DIR",
            exit_code=4,
        )
    folder.prepare(directory)
    try:
        login = USER if trial else read_login(address.local)
    except BadName:
        login = "admin"
    password = _trial_password(trial) if trial else generate()
    text = default_text().replace('hostname = ""', f'hostname = "mail.{address.domain}"', 1)
    draft = config_file.with_name("config.toml.new")
    draft.write_text(text)
    config = load(draft, {})
    folder.prepare(config.server.data_dir)
    if trial:
        shutil.copytree(
            trial,
            config.server.data_dir,
            ignore=shutil.ignore_patterns("config.toml", SECRETS, "control", "lock", "tls"),
            dirs_exist_ok=True,
        )
        asyncio.run(_settle(config, address))
    certificate = load_certificate(config)
    asyncio.run(_first_user(config, login, address, password))
    draft.replace(config_file)  # last: a quickstart that was cut off can be run again
    return Quickstart(config_file, login, password, address, certificate.fingerprint)


def _trial_password(trial: Path) -> str:
    """Of a trial that has stopped. Raises Trouble."""
    if control.running(trial):
        raise Trouble(
            f"The trial in {trial} is running.",
            "Its mail can be taken along when nothing more comes in.",
            "Stop it with Ctrl-C, then again: restante quickstart ADDRESS --from-try",
            exit_code=4,
        )
    try:
        password: str = json.loads((trial / SECRETS).read_text())["password"]
    except FileNotFoundError:
        raise Trouble(
            f"{trial} is not the folder of a trial.",
            f"It has no {SECRETS}.",
            "Go to the folder in which restante try was run.",
            exit_code=4,
        ) from None
    return password


async def _settle(config: Config, address: Address) -> None:
    """The user of a trial gets an address in a real domain, and loses the one for playing."""
    store = open_store(config)
    try:
        names = {domain.name for domain in await store.domains.all()}
        if address.domain not in names:
            await store.domains.add(address.domain)
            await store.domains.add_address(address, USER)
        if ADDRESS.domain in names - {address.domain}:
            await store.domains.remove(ADDRESS.domain, force=True)
    finally:
        store.close()
