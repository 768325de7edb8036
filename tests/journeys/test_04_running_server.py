"""The commands for what a server counts, shows and is set to."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.kit import CONFIG
from tests.program import RESTANTE, restante, running, succeed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    (tmp_path / "config.toml").write_text(re.sub(r"exempt = .*", "api = 3", text))
    return tmp_path


def test_limits_are_shown_and_cleared(folder: Path) -> None:
    stopped = restante("limits", "show", "--ip", "127.0.0.1", folder=folder)
    assert stopped.returncode == 3
    assert stopped.stderr.splitlines()[0] == "The server is not running."
    with running("serve", folder=folder) as server:
        place = f"http://{server.listening()['http']}/api/"

        def ask() -> int:
            try:
                with urllib.request.urlopen(place, timeout=60) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        assert [ask() for _ in range(4)] == [200, 200, 200, 429]
        shown = succeed("limits", "show", "--ip", "127.0.0.1", folder=folder)
        assert re.search(r"^api +0 of 3 left, more in \d+ s$", shown, re.MULTILINE)
        other = json.loads(succeed("limits", "show", "--ip", "::1", "--json", folder=folder))
        assert [(row["class"], row["left"]) for row in other["items"]] == [
            ("auth", 5), ("api", 3), ("general", 100),
        ]  # fmt: skip
        cleared = succeed("limits", "clear", "--ip", "127.0.0.1", folder=folder)
        assert cleared == "cleared api (3/3)\n"
        assert ask() == 200
        assert restante("limits", "clear", "--ip", "mars", folder=folder).returncode == 4


def test_the_certificate_is_shown_and_made_anew(folder: Path) -> None:
    none = restante("cert", "show", folder=folder)
    assert (none.returncode, none.stderr.count("\n")) == (1, 3)
    with running("serve", folder=folder) as server:
        server.listening()
        before = json.loads(succeed("cert", "show", "--json", folder=folder))
        assert before["names"] == ["mail.example.test", "localhost", "127.0.0.1", "::1"]
        assert before["days_left"] > 3000
        told = json.loads(succeed("status", "--json", folder=folder))
        assert told["certificate_sha256"] == before["sha256"]
        assert told["backup_age_s"] is None
        after = json.loads(succeed("cert", "new", "--json", folder=folder))
        assert after["sha256"] != before["sha256"]
        told = json.loads(succeed("status", "--json", folder=folder))
        assert told["certificate_sha256"] == after["sha256"]
        assert "backup       none in store.backup_dir" in succeed("status", folder=folder)
    config = (folder / "config.toml").read_text()
    tls = '[tls]\nmode = "files"\ncert_file = "a.crt"\nkey_file = "a.key"\n'
    (folder / "config.toml").write_text(config + tls)
    assert restante("cert", "new", folder=folder).returncode == 4


def test_the_store_that_is_told_is_the_one_in_use(folder: Path) -> None:
    (folder / "url").write_text(f"sqlite:///{folder}/else.db\n")
    with (folder / "config.toml").open("a") as config:
        config.write(f'[store]\nurl_file = "{folder}/url"\n')
    with running("serve", folder=folder) as server:
        server.listening()
        told = json.loads(succeed("status", "--json", folder=folder))
        assert told["store"] == f"sqlite:///{folder}/else.db"


def test_a_key_is_explained(folder: Path) -> None:
    told = succeed("config", "explain", "limits.api", folder=folder)
    assert told.startswith("limits.api = 3     (from: file)\ndefault   200\n")
    wrong = restante("config", "explain", "limits.apo", folder=folder)
    assert (wrong.returncode, "limits.api" in wrong.stderr) == (1, True)


def test_only_some_parts_listen(folder: Path) -> None:
    with running("serve", "--only", "smtp,api", folder=folder) as server:
        ready = json.loads(server.line('"event": "server.ready"').string)
        assert (ready["pop3"], bool(ready["smtp"]), bool(ready["http"])) == ("", True, True)
    unknown = restante("serve", "--only", "imap", folder=folder)
    assert (unknown.returncode, unknown.stderr.splitlines()[0]) == (2, "There is no part imap.")
    many = restante("serve", "--workers", "2", folder=folder)
    assert (many.returncode, "PostgreSQL or MariaDB" in many.stderr) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_our_commands(folder: Path, shell: str) -> None:
    assert "restante" in succeed("completion", shell, folder=folder)
    asked = {"bash": {"COMP_WORDS": "restante lim", "COMP_CWORD": "1"}}
    asked["zsh"] = {"_TYPER_COMPLETE_ARGS": "restante lim"}
    asked["fish"] = asked["zsh"] | {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    variables = asked[shell] | {"_RESTANTE_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [RESTANTE], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert "limits" in done.stdout
