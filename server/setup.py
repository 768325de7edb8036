"""`restante setup`: a machine of its own for the mail of a domain, step by step.

IN        address, host name, and a root: `/`, or the folder of an image that is being made
OUT       a service user, folders, settings, store with first administrator, and a running service
MAY       make accounts and files, run useradd and systemctl; each step says beforehand what it does
NEVER     change what it finds: a step whose work is there already is left out, so that an
          interrupted set-up goes on where it stopped. Undoing takes away what set-up made except
          mail, and except the user, whose number the next account would get, and the mail with it
FAILS     Trouble
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from auth.users import read_login
from mail.address import Address
from mail.errors import BadName
from net.listen import holder
from server.config import NOT_BUILT, default_text
from server.trouble import Trouble

HOME: Final = Path(__file__).resolve().parents[1]
DEPLOY: Final = HOME / "deploy"
PROGRAM: Final = Path(sys.executable).with_name("restante")
UNIT: Final = "restante.service"
UNITS: Final = (UNIT, "restante.socket")  # written for /opt/restante and the user restante
SYSTEMD: Final = Path("/run/systemd/system")  # is there while systemd runs (sd_booted(3))
ENABLE: Final = ("systemctl", "enable", "--now", UNIT)
PORTS: Final[Mapping[int, str]] = {
    25: "mail from senders",
    995: "mail apps",
    465: "telling mail apps that nothing is sent",
    443: "the API and the page",
    80: "certificates, and the way to port 443",
}

Say = Callable[[str], None]


@dataclass(slots=True)
class Setup:
    """One set-up; `made` names the steps whose work was set-up's own, also in an earlier run.

    `systemd`: whether it runs on the machine that is set up; None: to be found out.
    """

    address: Address
    host: str
    user: str = "restante"
    root: Path = Path("/")
    ports: Mapping[int, str] = field(default_factory=lambda: PORTS)
    deploy: Path = DEPLOY
    systemd: bool | None = None
    say: Say = print
    made: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = self._remembered()
        if self.systemd is None:
            self.systemd = self.here and SYSTEMD.is_dir()

    @property
    def config_file(self) -> Path:
        return self.root / "etc/restante/config.toml"

    @property
    def data_dir(self) -> Path:
        return self.root / "var/lib/restante"

    @property
    def here(self) -> bool:
        """Whether it is this machine that is set up, and not an image of another."""
        return self.root == Path("/")

    @property
    def _memory(self) -> Path:
        return self.root / "etc/restante/setup.json"

    def _remembered(self) -> list[str]:
        try:
            found: list[str] = json.loads(self._memory.read_text())
        except FileNotFoundError:
            return []
        return found

    def settings(self) -> Mapping[str, object]:
        """Of config.toml, what is not its default; what this version has not built is left out."""
        wish: dict[str, object] = {
            "server.hostname": self.host,
            "server.data_dir": "/var/lib/restante" if self.here else str(self.data_dir),
            "api.listen": ["0.0.0.0:443", "[::]:443"],
            "api.http_listen": ["127.0.0.1:8080", "0.0.0.0:80", "[::]:80"],
            "tls.mode": "acme",
        }
        if self.user != "root":  # who only sets a folder up for a test
            wish["server.user"] = self.user  # where no systemd starts it, root does
        return {key: value for key, value in wish.items() if _built(key, value)}

    def plan(self) -> Iterator[tuple[str, bool]]:
        """What would be done, and whether it is done already."""
        for step in self._steps():
            yield step.text, step.done()

    def check(self) -> None:
        """That nothing stands in the way. Raises Trouble."""
        if os.geteuid() == 0 and self.user != "root" and (closed := _closed()):
            raise Trouble(
                f"The service's account {self.user} could not run this program.",
                f"Only its owner may enter {closed}.",
                "Put it in /opt/restante: make .venv/.project PYTHON=/usr/bin/python3",
                exit_code=4,
            )
        if not self.here or self._steps()[-1].name in self.made:
            return
        for port, use in self.ports.items():
            if name := holder(port):
                program = name.partition(" ")[0]
                raise Trouble(
                    f"Port {port}, for {use}, is held by {name}.",
                    "Two programs cannot listen on one port.",
                    f"If nothing needs it: systemctl disable --now {program}",
                    exit_code=4,
                )

    def run(self) -> None:
        """Raises Trouble; what was done by then is remembered."""
        for step in self._steps():
            if step.done():
                self.say(f"  there  {step.text}")
                continue
            step.do()
            self.made.append(step.name)
            self._remember()
            self.say(f"  done   {step.text}")

    def undo(self) -> None:
        for step in reversed(self._steps()):
            if step.name in self.made and step.undo:
                step.undo()
                self.made.remove(step.name)
                self._remember()
                self.say(f"  undone {step.text}")
        self._memory.unlink(missing_ok=True)
        if self._memory.parent.is_dir() and not any(self._memory.parent.iterdir()):
            self._memory.parent.rmdir()
        self.say(f"  kept   {self.data_dir}, which has the mail, and its owner {self.user}")

    def _remember(self) -> None:
        if self._memory.parent.is_dir():
            draft = self._memory.with_suffix(".new")
            draft.write_text(json.dumps(self.made))
            draft.replace(self._memory)

    def _steps(self) -> list[Step]:
        steps = [
            Step("user", f"user {self.user}", lambda: self._account() is not None, self._add_user),
            Step(
                "folders",
                f"folders {self.config_file.parent} and, for {self.user} alone, {self.data_dir}",
                lambda: self.config_file.parent.is_dir() and self.data_dir.is_dir(),
                self._make_folders,
            ),
            Step(
                "settings",
                f"settings {self.config_file}: {_words(self.settings())}",
                self.config_file.exists,
                self._write_settings,
                self.config_file.unlink,
            ),
            Step(
                "store",
                f"store, domain {self.address.domain} and the administrator "
                f"{self._login()}, with {self.address}",
                lambda: self.config_file.exists() and self._has_admin(),
                self._fill_store,
            ),
        ]
        units = f"service {self._units / UNIT}, with its socket"
        written = (self._units / UNIT).exists
        steps.append(Step("unit", units, written, self._write_units, self._remove_units))
        if self.systemd:
            text = f"{' '.join(ENABLE)}: it runs, now and at boot"
            steps.append(Step("start", text, self._runs, self._start, self._stop))
        return steps

    @property
    def _units(self) -> Path:
        return self.root / "etc/systemd/system"

    def _account(self) -> tuple[int, int] | None:
        """The user's and the group's number."""
        try:
            rows = (self.root / "etc/passwd").read_text().splitlines()
        except FileNotFoundError:
            rows = []
        for row in rows:
            name, _, uid, gid, *_ = row.split(":")
            if name == self.user:
                return int(uid), int(gid)
        try:
            found = pwd.getpwnam(self.user)
        except KeyError:
            return None
        return found.pw_uid, found.pw_gid

    def _add_user(self) -> None:
        prefix = [] if self.here else ["--prefix", str(self.root)]
        home = ["--home-dir", "/var/lib/restante", "--shell", "/usr/sbin/nologin"]
        _call(["useradd", *prefix, "--system", "--user-group", *home, self.user])

    def _make_folders(self) -> None:
        account = self._account()
        assert account  # the step before
        self.config_file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.data_dir.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.data_dir, *account)

    def _write_settings(self) -> None:
        text = default_text()
        for key, value in self.settings().items():
            text = _with(text, key, value)
        draft = self.config_file.with_suffix(".new")
        draft.write_text(text)
        draft.chmod(0o644)  # it holds no secret
        draft.replace(self.config_file)

    def _login(self) -> str:
        try:
            return read_login(self.address.local)
        except BadName:
            return "admin"

    def _has_admin(self) -> bool:
        users = self._ours("user", "list")["users"]
        return any(user["role"] == "admin" for user in users)

    def _fill_store(self) -> None:
        domain = str(self.address.domain)
        if domain not in {each["name"] for each in self._ours("domain", "list")["domains"]}:
            self._ours("domain", "add", domain)
        options = ("--admin", "--address", str(self.address))
        made = self._ours("user", "add", self._login(), *options)
        self.say(f"         user {made['login']}, password {made['password']} (shown once)")

    def _ours(self, *command: str) -> dict[str, Any]:
        """Our own commands, as the service user, to whom everything in the data folder belongs."""
        account = self._account()
        assert account
        switched: dict[str, Any] = {}
        if os.geteuid() == 0:
            switched = {"user": account[0], "group": account[1], "extra_groups": []}
        config = ["--config", str(self.config_file), "--json"]
        answer: dict[str, Any] = json.loads(_call([str(PROGRAM), *command, *config], **switched))
        return answer

    def _write_units(self) -> None:
        self._units.mkdir(parents=True, exist_ok=True)
        for name in reversed(UNITS):  # the one that tells that it is done comes last
            text = (self.deploy / name).read_text().replace("/opt/restante", str(HOME))
            for key in ("User", "Group"):
                text = text.replace(f"\n{key}=restante\n", f"\n{key}={self.user}\n")
            (self._units / name).write_text(text)

    def _remove_units(self) -> None:
        for name in UNITS:
            (self._units / name).unlink(missing_ok=True)
        if self.systemd:
            _call(["systemctl", "daemon-reload"])

    def _runs(self) -> bool:
        asked = ("is-enabled", "is-active")
        return all(not _run(["systemctl", verb, "--quiet", UNIT]).returncode for verb in asked)

    def _start(self) -> None:
        _call(["systemctl", "daemon-reload"])
        _call(list(ENABLE))  # comes back when the server says that it is ready, or cannot

    def _stop(self) -> None:
        _call(["systemctl", "disable", "--now", *UNITS])


@dataclass(frozen=True, slots=True)
class Step:
    """`do` is called when `done` says no. Without `undo` what it makes stays."""

    name: str
    text: str
    done: Callable[[], bool]
    do: Callable[[], None]
    undo: Callable[[], None] | None = None


def _closed() -> Path | None:
    """A folder on the way to the program, or to its Python, that others may not enter."""
    for path in (PROGRAM, Path(sys.executable).resolve()):
        for folder in path.parents:
            if not folder.stat().st_mode & 0o001:
                return folder
    return None


def _built(key: str, value: object) -> bool:
    patterns = NOT_BUILT.get(key)
    return patterns is None or any(fnmatchcase(str(value), pattern) for pattern in patterns)


def _words(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())


def _with(text: str, key: str, value: object) -> str:
    """The text of a configuration with one key set."""
    section, name = key.split(".")
    head, mark, tail = text.partition(f"[{section}]\n")
    lines = tail.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{name} = "))
    lines[at] = f"{name} = {json.dumps(value)}\n"
    return f"{head}{mark}{''.join(lines)}"


def _call(command: list[str], **options: Any) -> str:
    """Raises Trouble with what the program said."""
    if shutil.which(command[0]) is None:
        raise Trouble(
            f"{command[0]} is not there.",
            "Set-up makes the user and the service with the tools of the system.",
            "Follow docs/set-up.md by hand, or use a container.",
            exit_code=3,
        )
    done = _run(command, **options)
    if done.returncode:
        raise Trouble(
            f"{Path(command[0]).name} {command[1]} failed.",
            (done.stderr or done.stdout).strip(),
            "Mend that and run setup again: it goes on where it stopped.",
            exit_code=3,
        )
    return done.stdout


def _run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - words of our own
        command, capture_output=True, text=True, check=False, **options
    )
