"""Mail from another provider: by curl as README prints it, by the command line, without a trace of
the password anywhere.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dovecot import PASSWORD, Dovecot, dovecot
from tests.kit import CONFIG, live_server
from tests.kit import PASSWORD as OWN_PASSWORD
from tests.program import restante, running, succeed

README = Path(__file__).resolve().parents[2] / "README.md"
WRONG = "canary-of-a-wrong-password"


@pytest.fixture
def remote(needs: Callable[[str], str]) -> Iterator[Dovecot]:
    with dovecot(needs, host="localhost") as found:
        found.put(
            "ann", [b"From: b@x\r\nSubject: n%d\r\n\r\nhello %d\r\n" % (n, n) for n in range(7)]
        )
        yield found


def commands(heading: str) -> str:
    """The lines after $ in a section of README, as a shell takes them."""
    section = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    found = [re.sub(r"(?m)^\$ ", "", block) for block in blocks if block.startswith("$ ")]
    assert found
    return "\n".join(found)


def test_the_curl_examples_of_readme(
    remote: Dovecot, needs: Callable[[str], str], tmp_path: Path
) -> None:
    needs("curl")

    with live_server(tmp_path, dialer=remote.dialer) as live:
        live.add_user("ann", "ann@example.test")
        text = commands("A server of your own") + commands("Mail from elsewhere")
        place = f'"host":"localhost","port":{remote.tls.port},"username":"ann","password"'
        for old, new in (
            ('"login":"you","password":"..."', f'"login":"ann","password":"{OWN_PASSWORD}"'),
            ("abcd efgh ijkl mnop", PASSWORD),
            (f'"password":"{PASSWORD}"', f'{place}:"{PASSWORD}"'),
            ("http://127.0.0.1:8080", f"http://{live.http}"),
            ("curl -s ", "curl -s -w '\\n' "),
        ):
            assert old in text
            text = text.replace(old, new)
        done = subprocess.run(
            ["sh", "-ec", text], capture_output=True, text=True, timeout=120, check=True
        )
    before, configured, received, listed, mail = map(json.loads, done.stdout.splitlines())
    assert before["items"] == []
    assert (configured["address"], configured["host"]) == ("ada.lovelace@gmail.com", "localhost")
    [came] = received["collectors"]
    assert (came["new"] + came["seen"], came["error"]) == (7, None)
    [shown] = listed["items"]
    assert shown["last_run"]["error"] is None
    assert shown["next_run_at"] > shown["last_run"]["at"]
    assert len(mail["items"]) == 7
    assert {tuple(row["origin"]) for row in mail["items"]} == {("collector",)}
    assert PASSWORD not in done.stdout


def test_the_commands_and_no_trace_of_a_password(
    remote: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(remote.certificate))
    (tmp_path / "config.toml").write_text(
        CONFIG.format(smtp=0, pop3=0, http=0).replace(
            "[smtp]", 'private_targets = ["127.0.0.0/8", "::1/128"]\n[smtp]', 1
        )
    )
    succeed("user", "add", "ann", folder=tmp_path)
    told: list[str] = []

    def collect(*arguments: str, answer: str = "", status: int = 0) -> str:
        done = restante("collect", *arguments, folder=tmp_path, answer=answer)
        assert done.returncode == status, done.stderr
        told.append(done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stdout + done.stderr

    place = ("--host", "localhost", "--port", str(remote.tls.port), "--username", "ann")
    add = ("add", "ann@example.net", *place, "--password-stdin")
    refused = collect(*add, answer=f"{WRONG}\n", status=4)
    assert refused.splitlines()[1:] == [
        "  why: Authentication failed.",
        "  do:  Check the user name; most providers want an app password made there.",
    ]
    for address, why in (("a@outlook.com", "OAuth2"), ("a@icloud.com", "has no POP3")):
        assert why in collect("add", address, "--password-stdin", status=4)
    inner = ("add", "a@example.net", "--host", "10.0.0.1", "--password-stdin")
    refused = collect(*inner, answer="x\n", status=4)
    assert "there is none of this name, or it is not a public one" in refused
    assert "collector" in collect(*add, "--name", "There", answer=f"{PASSWORD}\n")
    assert collect("run") == "There 7 new, 0 seen, 0.0 MB\n"
    with running("serve", folder=tmp_path) as server:
        server.line("server.ready")
        remote.put("ann", [b"Subject: late\r\n\r\nlater\r\n"])
        assert collect("run", "There") == "There 1 new, 7 seen, 0.0 MB\n"
        tested = collect("test", "ann@example.net").splitlines()
        assert [line.split()[:2] for line in tested] == [
            *(["name", "ok"], ["connection", "ok"], ["certificate", "ok"], ["login", "ok"]),
            ["count", "ok"],
        ]
        assert json.loads(collect("pause", "There", "--json"))["paused"]
        assert "paused" in collect("list")
        collect("pause", "There", "--undo")
        [row] = json.loads(collect("list", "--json"))["collectors"]
        assert (row["state"], row["last_run"]["error"], row["login"]) == ("ok", None, "ann")
        assert "next run" in collect("show", row["id"])
        succeed("backup", "-o", "backups", folder=tmp_path)
        told += server.lines
    assert "not collected any more" in collect("remove", "There")
    assert collect("list") == "none yet\n"
    assert "There is no collector" not in collect("show", "There", status=4)
    octets = "\n".join(told).encode()
    key = (tmp_path / "data" / "vault.key").read_bytes()
    assert (tmp_path / "data" / "vault.key").stat().st_mode & 0o777 == 0o400
    for secret in (PASSWORD, WRONG):
        assert secret.encode() not in octets
        for path in tmp_path.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path
    for path in (tmp_path / "backups").rglob("*"):
        assert path.is_dir() or key not in path.read_bytes()
