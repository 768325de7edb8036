"""A new server: its first administrator by the set-up code, a guest, a program, by REST alone."""

import json
import re
import stat
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from net.listen import Endpoint
from tests.kit import CONFIG
from tests.program import restante, running, succeed

SECRET = "quiet-lantern-harbor-9"


class Client:
    def __init__(self, http: Endpoint) -> None:
        self._http = http
        self.token: str | None = None

    def ask(self, method: str, path: str, body: object = None, *, status: int) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = HTTPConnection(self._http.host, self._http.port, timeout=60)
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        octets = answer.read()
        connection.close()
        assert answer.status == status, octets
        return dict(json.loads(octets)) if octets else {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    return tmp_path


def test_from_an_empty_folder_to_a_guest(folder: Path) -> None:
    with running("serve", folder=folder) as server:
        http = server.listening()["http"]
        code = server.line("The set-up code is ([0-9a-z-]{19})")[1]
        root, kim = Client(http), Client(http)
        assert root.ask("GET", "/api/", status=200)["setup_needed"]
        body = {"login": "root", "password": SECRET, "address": "root@example.org"}
        made = root.ask("POST", "/api/auth/register", body | {"setup_code": code}, status=201)
        root.token = made["access_token"]
        invite = json.loads(succeed("invite", "add", "--json", folder=folder))["code"]
        shown = succeed("invite", "list", folder=folder)
        assert invite not in shown
        guest = {"login": "kim", "password": SECRET, "invite": invite}
        kim.token = kim.ask("POST", "/api/auth/register", guest, status=201)["access_token"]
        kim.ask("GET", "/api/users", status=403)
        logins = [each["login"] for each in root.ask("GET", "/api/users", status=200)["items"]]
        assert logins == ["kim", "root"]
        server.end()
        assert not any(SECRET in line or invite in line for line in server.lines)
    data = folder / "data"
    for name in ("token.key", "credential.key", "vault.key"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o400
    with running("serve", folder=folder) as server:
        kim = Client(server.listening()["http"])
        added = json.loads(
            succeed("token", "add", "kim", "ci", "--scope", "mail:read", "--json", folder=folder)
        )
        assert re.fullmatch(r"rst_[0-9a-z]{26}", added["token"])
        kim.token = added["token"]
        kim.ask("GET", "/api/emails", status=200)
        kim.ask("GET", "/api/tokens", status=403)
        assert "mail:read" in succeed("token", "list", "kim", folder=folder)
        succeed("token", "rm", "kim", "ci", folder=folder)
        kim.ask("GET", "/api/emails", status=401)
        server.end()
        assert not any("set-up code" in line for line in server.lines)
    refused = restante("token", "add", "kim", "x", "--scope", "admin:read", folder=folder)
    assert refused.returncode == 4
    refused = restante("invite", "rm", "x", folder=folder)
    assert refused.returncode == 4
