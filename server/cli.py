"""The command line. Each command is a function of a Terminal; what they do is in `admin`.

`server.compose` and all that serves is imported where it is needed: it takes most of a second, and
most commands only speak to a server that runs.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

from mail.trace import letter
from net.listen import Endpoint
from server.cert_cli import CERT
from server.collect_cli import COLLECT
from server.config_cli import CONFIG
from server.config_sources import closest
from server.credential_cli import APP_PASSWORD, INVITE, TOKEN
from server.dns_cli import DNS
from server.doctor_cli import DOCTOR
from server.domain_cli import ADDRESS, DOMAIN
from server.knock import Turned
from server.knock import knock as knock_at
from server.limits_cli import LIMITS
from server.mail_cli import MAIL
from server.setup_cli import SETUP
from server.terminal import Terminal, command, confirm, importing, octets_of, read_address
from server.transfer_cli import DB, FILES
from server.trouble import Trouble

if TYPE_CHECKING:
    from server.admin import Answer

_SETTINGS = {"help_option_names": ["-h", "--help"]}

APP = typer.Typer(
    help="A mail server that receives and never sends.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=_SETTINGS,
    pretty_exceptions_enable=False,
)
USER = typer.Typer(
    help="People who have mail here.", no_args_is_help=True, context_settings=_SETTINGS
)
_GROUPS = {"user": USER, "domain": DOMAIN, "address": ADDRESS, "config": CONFIG, "cert": CERT}
_GROUPS |= {"app-password": APP_PASSWORD, "token": TOKEN, "invite": INVITE, "limits": LIMITS}
_GROUPS |= {"collect": COLLECT, "dns": DNS, "mail": MAIL, "db": DB}
for _name, _group in _GROUPS.items():
    APP.add_typer(_group, name=_name)
APP.add_typer(FILES)
APP.add_typer(DOCTOR)
APP.add_typer(SETUP)

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@command(APP, "try", "restante try", "restante try --fresh --shift 100")
def try_(
    terminal: Terminal,
    directory: Annotated[Path, typer.Option("--dir", help="Its folder.")] = Path("restante-try"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with an empty folder.")] = False,
    shift: Annotated[int, typer.Option("--shift", help="Added to each port.")] = 0,
) -> None:
    """A whole server to play with: one folder, this machine only, no questions."""
    with importing():
        from server import logs, trial

    logs.configure("info" if not terminal.quiet else "error")
    trial.run_trial(directory, shift=shift, fresh=fresh, say=_say)


def _say(text: str) -> None:
    print(text, flush=True)


@command(
    APP,
    "quickstart",
    "restante quickstart you@example.org",
    "restante quickstart you@example.org --from-try --dir /srv/mail",
)
def quickstart(
    terminal: Terminal,
    address: Annotated[str, typer.Argument(help="The first address, in a domain of yours.")],
    directory: Annotated[Path, typer.Option("--dir", help="Its folder.")] = Path("restante"),
    from_try: Annotated[
        bool, typer.Option("--from-try", help="Take along what is in ./restante-try.")
    ] = False,
) -> None:
    """Configuration, certificate, store and first administrator, in one folder."""
    from server import trial

    tried = Path("restante-try").absolute() if from_try else None
    made = trial.quickstart(directory, read_address(address), trial=tried)
    answer = {
        "config": str(made.config_file),
        "login": made.login,
        "password": made.password,
        "address": str(made.address),
        "certificate_sha256": made.fingerprint,
    }
    terminal.show(
        answer,
        f"  settings  {made.config_file}",
        f"  user      {made.login}     password  {made.password}",
        f"  address   {made.address}",
        f"  certificate SHA-256  {made.fingerprint}",
        "",
        f"  Next      restante serve --config {made.config_file}",
        f"  DNS       restante dns show {made.address.domain} --config {made.config_file}",
    )


@command(APP, "serve", "restante serve", "restante serve --workers 2 --only smtp,pop3")
def serve(
    terminal: Terminal,
    number: Annotated[
        int | None, typer.Option("--workers", min=1, max=64, help="Instead of server.workers.")
    ] = None,
    only: Annotated[
        str, typer.Option("--only", help="Some of smtp,pop3,api; the others do not listen.")
    ] = "",
) -> None:
    """Serves until told to stop (SIGTERM, Ctrl-C). SIGHUP reads the certificate again."""
    with importing():
        from server import compose, logs, workers

    config = terminal.config(_instead(number, only))
    logs.configure(config.log.level)
    if config.server.workers > 1:
        workers.run(config)
    else:
        compose.run(config, ready=compose.tell_setup_code)


LISTENERS = {
    "smtp": ("SMTP__LISTEN",),
    "pop3": ("POP3__LISTEN", "POP3__STLS_LISTEN"),
    "api": ("API__LISTEN", "API__HTTP_LISTEN"),
}


def _instead(workers: int | None, only: str) -> dict[str, str]:
    """Settings for this run, as the environment would give them."""
    wanted = set(filter(None, only.split(",")))
    if unknown := wanted - LISTENERS.keys():
        raise Trouble(
            f"There is no part {min(unknown)}.",
            f"The parts are {', '.join(LISTENERS)}.",
            "Name those that are to listen, with commas between them.",
            exit_code=2,
        )
    off = LISTENERS.keys() - wanted if wanted else ()
    given = {f"RESTANTE_{key}": "[]" for part in off for key in LISTENERS[part]}
    return given | ({"RESTANTE_SERVER__WORKERS": str(workers)} if workers else {})


@command(APP, "status", "restante status", "restante status --json")
def status(terminal: Terminal) -> None:
    """What the running server does."""
    answer = terminal.ask_server("status")
    listeners = "  ".join(
        f"{name} {', '.join(found)}" for name, found in answer["listeners"].items() if found
    )
    terminal.show(
        answer,
        f"running      Restante {answer['version']}, pid {answer['pid']}",
        f"workers      {', '.join(_worker(row) for row in answer['workers'])}",
        f"listeners    {listeners}",
        f"mail today   {answer['mail_today']}",
        f"store        {answer['store']}",
        f"free space   {answer['free_octets'] // 1024 // 1024} MiB",
        f"backup       {_age(answer['backup_age_s'])}",
        f"certificate  {answer['certificate_days']} days left, "
        f"SHA-256 {answer['certificate_sha256']}",
        *(f"             {finding}" for finding in answer["certificate_findings"]),
    )


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "none in store.backup_dir"
    return f"{seconds // 3600} hours old"


def _worker(row: Answer) -> str:
    return f"pid {row['pid']} since {row['since']}"


@command(APP, "knock", "restante knock you@example.org", "restante knock you@example.org --size 5M")
def knock(
    terminal: Terminal,
    address: Annotated[str, typer.Argument(help="Whom the test mail is for.")],
    size: Annotated[str, typer.Option("--size", help="At least so long: 800, 20K or 5M.")] = "0",
) -> None:
    """A test mail to our own listener, with the dialogue as it goes."""
    recipient = read_address(address)
    line = "This is a test mail, made on this machine by restante knock. " + "x" * 17
    text = "\n".join([line] * (octets_of(size) // (len(line) + 2) + 1))
    content = letter(
        sender='"restante knock" <postmaster@localhost>',
        recipient=recipient,
        subject="A knock at the door",
        at=datetime.now(UTC),
        text=text,
    )
    listener = Endpoint.parse(terminal.ask_server("status")["listeners"]["smtp"][0])
    say = _say if not (terminal.quiet or terminal.as_json) else (lambda _text: None)
    try:
        kept = knock_at(listener, recipient, content, say=say)
    except Turned as error:
        raise Trouble(
            "The mail was not taken.",
            f"The listener answered: {error}",
            "restante address list shows which addresses there are.",
            exit_code=1,
        ) from error
    except OSError as error:
        raise Trouble(
            f"The listener at {listener} cannot be reached.",
            error.strerror or str(error),
            "Look at restante status and the server's log.",
            exit_code=3,
        ) from error
    if terminal.as_json:
        terminal.show({"id": kept})


@command(APP, "version", "restante version", "restante version --json")
def version(terminal: Terminal) -> None:
    """The version of this program."""
    found = installed_version("restante")
    terminal.show({"version": found}, f"Restante {found}")


@command(
    APP,
    "completion",
    "restante completion bash > /etc/bash_completion.d/restante",
    "restante completion fish > ~/.config/fish/completions/restante.fish",
)
def completion(terminal: Terminal, shell: Literal["bash", "zsh", "fish"]) -> None:
    """What a shell reads to complete our commands."""
    variable = "_RESTANTE_COMPLETE"
    script = get_completion_script(prog_name="restante", complete_var=variable, shell=shell)
    terminal.show({"shell": shell, "script": script}, script)


@command(
    APP, "explain", "restante explain version-mismatch", "restante explain rate-limited --json"
)
def explain(terminal: Terminal, slug: str) -> None:
    """What a problem of the API means, and what to do about it."""
    from api.problem_pages import PAGES
    from api.problems import KINDS

    found = slug.rpartition("/")[2]
    if found not in KINDS:
        raise Trouble(
            f"There is no problem {slug}.",
            f"The closest one is {closest(found, KINDS)}.",
            "docs/api.md lists them all.",
            exit_code=1,
        )
    status, title = KINDS[found]
    page = PAGES[found]
    terminal.show(
        {"slug": found, "status": status, "title": title, **page._asdict()},
        f"{title} ({status} {found})",
        *("", page.cause, "", page.cure),
    )


@command(
    USER,
    "add",
    "restante user add ada --address ada@example.org",
    "restante user add ada --admin --password-stdin < secret",
)
def user_add(
    terminal: Terminal,
    login: str,
    address: Annotated[str | None, typer.Option("--address", help="A first address.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May manage the server.")] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """A new user. The password is made up and shown once, unless it is given."""
    secret = _read_password() if password_stdin else None
    made = terminal.ask("user add", login=login, address=address, admin=admin, password=secret)
    lines = [f"user      {made['login']}"]
    if "password" in made:
        lines.append(f"password  {made['password']}     (shown once)")
    if not address:
        lines.append(f"next      restante address add NAME@DOMAIN {made['login']}")
    terminal.show(made, *lines)


@command(USER, "list", "restante user list", "restante user list --json")
def user_list(terminal: Terminal) -> None:
    """Every user, with what their mail takes."""
    answer = terminal.ask("user list")
    columns = {"login": "login", "role": "role", "messages": "messages", "used": "octets"}
    terminal.table(answer, answer["users"], columns)


@command(USER, "show", "restante user show ada", "restante user show ada --json")
def user_show(terminal: Terminal, login: str) -> None:
    """One user, with their addresses."""
    found = terminal.ask("user show", login=login)
    quota = {None: "as configured", 0: "no limit"}.get(found["quota"], f"{found['quota']} octets")
    terminal.show(
        found,
        f"user       {found['login']}, {found['role']}{', disabled' * found['disabled']}",
        f"addresses  {', '.join(found['addresses']) or 'none'}",
        f"mail       {found['messages']} messages, {found['used']} octets; quota {quota}",
        f"last seen  {(found['last_seen_at'] or 'never')[:16]}",
    )


@command(USER, "quota", "restante user quota ada 2G", "restante user quota ada none")
def user_quota(
    terminal: Terminal,
    login: str,
    size: Annotated[str, typer.Argument(help="As 500M or 2G; none: no limit; default.")],
) -> None:
    """How much mail a user may have."""
    octets = {"none": 0, "default": None}.get(size, -1)
    octets = octets_of(size) if octets == -1 else octets
    done = terminal.ask("user quota", login=login, octets=octets)
    shown = {None: "as configured", 0: "no limit"}.get(done["quota"], f"{done['quota']} octets")
    terminal.show(done, f"{done['login']} has quota {shown}")


@command(USER, "disable", "restante user disable ada", "restante user disable ada --undo")
def user_disable(
    terminal: Terminal,
    login: str,
    undo: Annotated[bool, typer.Option("--undo", help="Open it again.")] = False,
) -> None:
    """Nobody can sign in to it, and who is signed in is signed out. Mail still comes in."""
    done = terminal.ask("user disable", login=login, disabled=not undo)
    terminal.show(done, f"{done['login']} is {'disabled' if done['disabled'] else 'open'}")


@command(USER, "passwd", "restante user passwd ada", "restante user passwd ada --password-stdin")
def user_passwd(terminal: Terminal, login: str, password_stdin: PasswordStdin = False) -> None:
    """A new password; whoever is signed in with the old one is signed out."""
    secret = _read_password() if password_stdin else None
    made = terminal.ask("user passwd", login=login, password=secret)
    shown = f"password  {made['password']}     (shown once)" if "password" in made else "changed"
    terminal.show(made, shown)


@command(USER, "rm", "restante user rm ada", "restante user rm ada --yes")
def user_rm(
    terminal: Terminal,
    login: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Ends a user's sign-in and addresses; the mail stays for the time of the trash."""
    confirm(f"Remove the user {login} and their addresses?", yes=yes)
    gone = terminal.ask("user rm", login=login)
    terminal.show(gone, f"{login} is gone; the mail stays until {gone['mail_until'][:10]}")


@command(USER, "spam", "restante user spam ada hold", "restante user spam ada refuse")
def user_spam(terminal: Terminal, login: str, wish: str) -> None:
    """What becomes of suspected spam: tag, hold (in a folder of its own) or refuse."""
    made = terminal.ask("user spam", login=login, wish=wish)
    terminal.show(made, f"suspected spam of {login}: {made['spam']}")


def _read_password() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def main() -> None:
    """The console script."""
    completion_init()
    APP()
