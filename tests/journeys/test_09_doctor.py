"""`restante doctor`: words, one command for each thing to fix, and an exit status."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dovecot import PASSWORD, dovecot
from tests.kit import CONFIG
from tests.program import restante, running, succeed

NOWHERE = '[server]\nresolvers = ["127.0.0.1:9"]\n'


def examined(folder: Path, *options: str) -> tuple[int, list[dict[str, str]]]:
    done = restante("doctor", "--json", *options, folder=folder)
    items = json.loads(done.stdout)["items"]
    assert all(item["next"] for item in items if item["mark"] == "fix")
    return done.returncode, items


def test_a_stopped_and_a_running_server_are_looked_over(two_users: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = CONFIG.format(smtp=port, pop3=0, http=0).replace("[server]\n", NOWHERE)
        text += '[store]\nbackup_dir = "backups"\n'
        (two_users / "config.toml").write_text(text)
        status, stopped = examined(two_users)
    assert status == 1
    to_fix = {item["text"]: item["next"] for item in stopped if item["mark"] == "fix"}
    assert to_fix.pop("no server runs") == "restante serve"
    [held] = [each for each in to_fix if f"port {port} is held by" in each]
    assert to_fix.pop(held) == f"fuser -v {port}/tcp"
    assert set(to_fix.values()) == {
        f"restante backup -o {two_users / 'data' / 'backups'}",
        "restante user add NAME --admin",
    }
    assert [item["mark"] for item in stopped if item["group"] == "dns"] == ["skip"]

    (two_users / "config.toml").write_text(text.replace(f":{port}", ":0"))
    with running("serve", folder=two_users) as server:
        server.listening()
        status, well = examined(two_users, "--only", "ports,tls,store,machine")
        assert (status, {item["mark"] for item in well}) == (0, {"ok", "note"})
        said = restante("doctor", "--only", "access,dns", folder=two_users)
        assert said.returncode == 1
        assert "  fix   there is no administrator" in said.stdout
        assert "  -> restante user add NAME --admin\n" in said.stdout
        assert "Not needed, because this server never sends: PTR" in said.stdout
        assert said.stdout.endswith("1 thing to fix.\n")
    unknown = restante("doctor", "--only", "dsn", folder=two_users)
    assert unknown.returncode == 2


def test_a_collector_that_has_stopped_goes_on_by_the_command_that_is_told(
    two_users: Path, needs: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_at() -> tuple[str, str, str]:
        _, items = examined(two_users, "--only", "collect")
        return items[-1]["mark"], items[-1]["text"], items[-1]["next"]

    assert looked_at() == ("ok", "no mail is collected", "")
    with dovecot(needs, host="localhost") as remote:
        monkeypatch.setenv("SSL_CERT_FILE", str(remote.certificate))
        text = CONFIG.format(smtp=0, pop3=0, http=0)
        private = 'private_targets = ["127.0.0.0/8", "::1/128"]\n[smtp]'
        (two_users / "config.toml").write_text(text.replace("[smtp]", private, 1))
        succeed("user", "add", "ann", folder=two_users)
        place = ("--host", "localhost", "--port", str(remote.tls.port), "--username", "ann")
        add = ("collect", "add", "ann@example.net", "--to", "ann", *place)
        done = restante(
            *add, "--no-test", "--password-stdin", folder=two_users, answer="a wrong one\n"
        )
        assert done.returncode == 0, done.stderr
        remote.put("ann", [b"Subject: hello\r\n\r\nhello\r\n"])
        run = ("collect", "run", "ann@example.net")
        restante(*run, folder=two_users)
        assert looked_at()[0] == "note"  # it is tried again by itself
        for _ in range(2):
            restante(*run, folder=two_users)
        mark, told, todo = looked_at()
        assert mark == "fix"
        assert "of ann, at localhost, has stopped" in told
        assert "ann@" not in told  # whoever may look a server over need not know that
        program, *command = todo.split()
        assert program == "restante"
        mended = restante(*command, "--password-stdin", folder=two_users, answer=f"{PASSWORD}\n")
        assert mended.returncode == 0, mended.stderr
        assert looked_at() == ("ok", "1 of 1 collectors run", "")
