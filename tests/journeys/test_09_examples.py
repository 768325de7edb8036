"""Every example that /api/docs shows is run as it stands, and so are those of README."""

import contextlib
import html
import io
import json
import re
import subprocess
import time
import urllib.request
from base64 import b32decode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from api.manual import EMAIL_ID, EXAMPLE_PATH, ORIGIN
from api.operations import DESCRIBED, OPERATIONS, name
from auth import totp
from mail.errors import Failure
from server import admin
from tests.dovecot import PASSWORD as OTHER_PASSWORD
from tests.dovecot import Dovecot, dovecot
from tests.kit import DOMAIN, PASSWORD, Live, live_server
from tests.program import running, succeed
from tests.unit.api.admin import ATTACHED
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SHOWN_PASSWORD = "amber-ladder-correct-47"
NEEDS_ADA = re.compile(r"POST /api/(auth/login|auth/recover|domains)")
NEEDS_NO_DOMAIN = ("POST /api/domains",)
ELSEWHERE = ("/api/email-receive", "/api/collectors", "/api/jobs")


class World:
    """A server in which `root` tries the examples; `prepare` makes what one of them needs.

    `remote` is the provider of ada's other account.
    """

    def __init__(self, live: Live, remote: Dovecot) -> None:
        self.live = live
        self.remote = remote
        self.base = f"http://{live.http}"
        live.add_user("root", f"root@{DOMAIN}", admin_role=True)
        self.mail = live.send(ATTACHED, f"root@{DOMAIN}")
        self.count = 0

    def ask(self, method: str, path: str, token: str = "", body: object = None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    def act(self, act: Callable[..., Any], **given: Any) -> None:
        """What is there already, or is not there any more, is as it should be."""
        with contextlib.suppress(Failure):
            self.live.run(act(self.live.desk, **given))

    def sign_in(self, login: str = "root", password: str = SHOWN_PASSWORD) -> Any:
        return self.ask("POST", "/api/auth/login", body={"login": login, "password": password})

    def prepare(self, row: str) -> tuple[str, dict[str, str]]:
        """A token of root's, and what stands in the place of secrets and ids of the page."""
        self.count += 1
        if row in NEEDS_NO_DOMAIN:
            self.act(admin.domain_rm, name="example.org", force=True)
        else:
            self.act(admin.domain_add, name="example.org")
        self.act(admin.user_rm, login="ada")
        if NEEDS_ADA.fullmatch(row):
            self.act(admin.user_add, login="ada", password=SHOWN_PASSWORD)
        root = self.live.run(self.live.store.accounts.get("root"))
        self.live.run(self.live.store.factors.end_totp(root))
        password = PASSWORD if row == "POST /api/auth/password" else SHOWN_PASSWORD
        self.act(admin.user_passwd, login="root", password=password)
        token = self.sign_in(password=password)["access_token"]
        path = row.partition(" ")[2]
        place = re.match(r"(/api/\w[\w-]*)/{id}", path)
        made: dict[str, str] = {EMAIL_ID: self.mail}
        if path.startswith(ELSEWHERE):
            made |= self.elsewhere(path, token)
        if place and place[1] not in ("/api/emails", *ELSEWHERE):
            made[EXAMPLE_PATH["id"]] = self.made(place[1], token)
        return token, made | self.secrets(row, token)

    def elsewhere(self, path: str, token: str) -> dict[str, str]:
        """No collector, or one at rest where one is asked for; and where its provider really is."""
        for each in self.ask("GET", "/api/collectors", token)["items"]:
            self.ask("DELETE", f"/api/collectors/{each['id']}", token)
        where = {"host": "localhost", "port": self.remote.tls.port, "username": "ann"}
        secret = {"password": OTHER_PASSWORD}
        shown = {"password": "abcd efgh ijkl mnop"}
        here = {show(shown)[1:-1]: show(where | secret)[1:-1] for show in (json.dumps, repr)}
        if "{id}" in path or path.endswith("/receive"):
            wish = {"address": "ada@example.net", "test": False, "every_s": 86400}
            found = self.ask("POST", "/api/collectors", token, wish | where | secret)["id"]
            mine = f"/api/collectors/{found}"
            until(lambda: self.ask("GET", mine, token)["last_run"] is not None, "it has run")
            if path.startswith("/api/jobs"):
                found = self.ask("POST", f"/api/collectors/{found}/run", token, {})["job_id"]
            here[EXAMPLE_PATH["id"]] = found
        return here

    def made(self, path: str, token: str) -> str:
        """The id of something new in that list."""
        if path == "/api/sessions":
            self.sign_in()
            return str(self.ask("GET", path, token)["items"][0]["id"])
        wishes: Mapping[str, object] = {
            "/api/users": {"login": f"user{self.count}", "generate": True},
            "/api/tokens": {"name": f"token {self.count}", "scopes": ["account"]},
            "/api/app-passwords": {"name": f"app {self.count}"},
            "/api/addresses": {"address": f"a{self.count}@example.org"},
            "/api/invites": {},
        }
        return str(self.ask("POST", path, token, wishes[path])["id"])

    def secrets(self, row: str, token: str) -> dict[str, str]:
        body = OPERATIONS[row].body or {}
        match row.removeprefix("POST /api/auth/"):
            case "register":
                link = self.ask("POST", "/api/invites", token, {})["link"]
                return {str(body["invite"]): link.partition("=")[2]}
            case "refresh":
                return {str(body["refresh_token"]): self.sign_in()["refresh_token"]}
            case "recover":
                theirs = self.sign_in("ada")["access_token"]
                current = {"current": SHOWN_PASSWORD}
                codes = self.ask("POST", "/api/auth/recovery-codes", theirs, current)
                return {str(body["recovery_code"]): codes["recovery_codes"][0]}
        if row == "PUT /api/auth/totp":
            secret = self.ask("POST", "/api/auth/totp", token, {"current": SHOWN_PASSWORD})
            step = int(time.time()) // totp.STEP_S
            return {str(body["code"]): totp.code(b32decode(secret["secret"]), step)}
        if row in ("POST /api/tokens", "POST /api/app-passwords"):
            path = row.partition(" ")[2]
            for each in self.ask("GET", path, token)["items"]:
                if each["name"] == body["name"]:
                    self.ask("DELETE", f"{path}/{each['id']}", token)
        return {}


@pytest.fixture
def world(tmp_path: Path, needs: Callable[[str], str]) -> Iterator[World]:
    with dovecot(needs, host="localhost") as remote:
        remote.put("ann", [b"Subject: x\r\n\r\nhello\r\n"])
        with live_server(tmp_path, dialer=remote.dialer) as live:
            yield World(live, remote)


def examples(page: str) -> Iterator[tuple[str, str, str]]:
    """Each operation of the page with its two examples."""
    for section in page.split("<h3>")[1:]:
        title = re.match("<code>(.*?)</code>", section)
        assert title
        curl, python = re.findall("<pre>(.*?)</pre>", section, re.DOTALL)
        yield html.unescape(title[1]), html.unescape(curl), html.unescape(python)


def test_every_example_of_the_docs_succeeds(world: World, needs: Callable[[str], str]) -> None:
    with urllib.request.urlopen(f"{world.base}/api/docs", timeout=60) as answer:
        shown = list(examples(answer.read().decode()))
    assert {row for row, _, _ in shown} == {name(route) for route in DESCRIBED}
    curl_program = needs("curl")
    for row, curl, python in shown:
        wanted = OPERATIONS[row].status
        token, made = world.prepare(row)
        text = filled(curl, {ORIGIN: world.base} | made)
        # Where the program is, and what it tells of its answer, are the reader's own affair.
        command = text.replace("curl", f"{curl_program} -sS -o /dev/null -w '%{{http_code}}'", 1)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env={"T": token, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) in wanted, (text, done.stdout)
        token, made = world.prepare(row)
        text, said = filled(python, {ORIGIN: world.base} | made), io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(text, row, "exec"), {"token": token})
        assert int(said.getvalue().split()[0]) in wanted, text


def filled(text: str, values: Mapping[str, str]) -> str:
    for shown, real in values.items():
        text = text.replace(shown, real)
    return text


def commands() -> list[str]:
    """What README tells to type, without what it says beside it.

    What collects mail from elsewhere is in test_09_collect.
    """
    before, _, rest = (ROOT / "README.md").read_text().partition("\n## Mail from elsewhere\n")
    text = before + rest[rest.index("\n## ") :]
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [re.sub(r"^\$ |   +[a-zA-Z].*", "", line) for line in lines]


def test_the_readme_can_be_typed(tmp_path: Path, needs: Callable[[str], str]) -> None:
    needs("curl")
    typed = commands()
    ours = [line.split() for line in typed if re.match(r"(\.venv/bin/)?restante ", line)]
    assert len(ours) > 12
    mbox = b"From bob@example.net Mon May  4 10:00:00 2026\nSubject: old\n\nhello\n"
    (tmp_path / "old.mbox").write_bytes(mbox)
    quickstart = next(words for words in ours if words[1] == "quickstart")
    made = json.loads(succeed(*quickstart[1:], "--json", folder=tmp_path))
    config = Path(made["config"])
    text = re.sub(r'^(\w*listen) = \[".*', r'\1 = ["127.0.0.1:0"]', config.read_text(), flags=re.M)
    (tmp_path / "config.toml").write_text(text.replace('"data"', '"restante/data"'))
    with running("serve", folder=tmp_path) as server:
        place = server.listening()["http"]
        for words in ours:
            if words[1] not in ("quickstart", "serve", "knock"):
                succeed(*words[1:], folder=tmp_path)
        succeed("knock", made["address"], folder=tmp_path)
        script = "\n".join(line for line in typed if "curl" in line)
        real = {"127.0.0.1:8080": str(place), '"..."': json.dumps(made["password"])}
        done = subprocess.run(
            ["/bin/sh", "-c", filled(script, real)], capture_output=True, text=True, check=True
        )
        assert [each["subject"] for each in json.loads(done.stdout)["items"]] == [
            "A knock at the door"
        ]
