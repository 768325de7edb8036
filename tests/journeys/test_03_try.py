"""`restante try`: what a stranger types first."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit import pop3_client
from tests.program import Running, restante, running, succeed
from tests.waiting import free_port

Needs = Callable[[str], str]
BASE = 2080  # of the four ports the lowest; --shift moves all


@pytest.fixture
def shift() -> int:
    """One with which the four ports are free at this moment."""
    while True:
        shift = free_port() - BASE
        try:
            for port in (2525, 2995, 2465):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + shift))
        except (OSError, OverflowError):
            continue
        return shift


@pytest.fixture
def trial(tmp_path: Path, shift: int) -> Iterator[Running]:
    with running("try", "--shift", str(shift), folder=tmp_path) as trial:
        trial.line("ready")
        yield trial


def curl_line(trial: Running) -> list[str]:
    """The words of the line for curl on the card."""
    return trial.line(r"^  curl      curl (.*)")[1].split()


def test_the_card_curl_and_knock_agree_on_the_id(
    trial: Running, tmp_path: Path, needs: Needs
) -> None:
    kept = trial.line(r'1 mail waiting: "Welcome to Restante" (\w{26})$')[1]
    *options, url = curl_line(trial)
    curl = [needs("curl"), "--silent", "--show-error", *options]
    welcome = subprocess.run([*curl, url], capture_output=True, text=True, check=True).stdout
    assert "Subject: Welcome to Restante\n" in welcome

    spoken = succeed("knock", "you@example.test", folder=tmp_path).splitlines()
    assert spoken[0].startswith("S: 220 ")
    assert "C: RCPT TO:<you@example.test>" in spoken
    kept_line = re.compile(r"S: 250 2\.0\.0 kept as (\w{26})$")
    [second] = [match[1] for line in spoken if (match := kept_line.match(line))]
    listed = subprocess.run(
        [*curl, url.removesuffix("1"), "--request", "UIDL"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.splitlines() == [f"1 {kept}", f"2 {second}"]

    token_line = trial.line(r"T=\$\(curl")[0]
    start = next(n for n, line in enumerate(trial.lines) if token_line in line)
    script = trial.lines[start : start + 4]
    script[0] = script[0].replace("API", "", 1)
    answer = subprocess.run(
        ["/bin/sh", "-c", "\n".join(script)], capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r'"id": ?"(\w{26})"', answer) == [second, kept]


def test_stopped_and_started_again_the_mail_is_still_there(
    trial: Running, tmp_path: Path, shift: int, needs: Needs
) -> None:
    *options, url = curl_line(trial)
    assert trial.end(signal.SIGINT) == 0
    assert not [line for line in trial.lines if "Traceback" in line]
    with running("try", "--shift", str(shift), folder=tmp_path) as again:
        again.line("ready")
        assert curl_line(again) == [*options, url]  # the same password
        command = [needs("curl"), "--silent", "--show-error", *options, url]
        welcome = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Subject: Welcome to Restante\n" in welcome
        assert again.end() == 0


def test_a_trial_becomes_a_server_with_its_mail_and_password(
    trial: Running, tmp_path: Path
) -> None:
    password = trial.line(r"password  (\S+)")[1]
    welcome = trial.line(r"1 mail waiting: .* (\w{26})$")[1]
    early = restante("quickstart", "ada@example.org", "--from-try", folder=tmp_path)
    assert early.returncode == 4
    assert "is running" in early.stderr
    assert trial.end(signal.SIGINT) == 0
    made = succeed("quickstart", "ada@example.org", "--from-try", "--json", folder=tmp_path)
    answer = json.loads(made)
    assert (answer["login"], answer["password"]) == ("you", password)
    config = Path(answer["config"])
    listen = re.compile(r'^(\w*listen) = \[".*"\]$', re.MULTILINE)
    config.write_text(listen.sub(r'\1 = ["127.0.0.1:0"]', config.read_text()))
    with running("serve", "--config", config, folder=tmp_path) as server:
        client = pop3_client(server.listening()["pop3"], "ada@example.org", password)
        assert client.uidl()[1] == [f"1 {welcome}".encode()]
        client.quit()
        listed = succeed("address", "list", "--config", config, folder=tmp_path)
        assert "example.test" not in listed
    assert (tmp_path / "restante-try" / "restante.db").exists()


def test_a_second_trial_in_the_same_folder_is_told_about_the_first(
    trial: Running, tmp_path: Path
) -> None:
    refused = restante("try", folder=tmp_path)
    assert refused.returncode == 4
    assert "A trial is running in" in refused.stderr
    assert "--shift" in refused.stderr


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path, shift: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 2525 + shift))
        taken.listen()
        refused = restante("try", "--shift", str(shift), folder=tmp_path)
    assert refused.returncode == 3
    assert f"127.0.0.1:{2525 + shift} cannot be listened on." in refused.stderr
    assert re.search(r"in use by \S+ \(pid \d+\)", refused.stderr)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "restante-try").mkdir()
    (tmp_path / "restante-try" / "thesis.txt").write_text("ten years of work")
    refused = restante("try", "--fresh", folder=tmp_path)
    assert refused.returncode == 4
    assert (tmp_path / "restante-try" / "thesis.txt").read_text() == "ten years of work"


def test_knock_at_nobody_is_a_no(trial: Running, tmp_path: Path) -> None:
    turned = restante("knock", "nobody@example.test", folder=tmp_path)
    assert turned.returncode == 1
    assert "S: 550 5.1.1 " in turned.stdout
    foreign = restante("knock", "someone@example.com", folder=tmp_path)
    assert foreign.returncode == 1
    assert "S: 550 5.7.1 " in foreign.stdout


def test_the_link_of_the_card_signs_in_once(trial: Running) -> None:
    link = urlsplit(trial.line(r"web       (http://\S+)")[1])
    assert link.hostname
    connection = HTTPConnection(link.hostname, link.port or 80, timeout=60)

    def ask(method: str, path: str, body: str = "", **fields: str) -> tuple[int, str, str]:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body or None, fields | form)
        answer = connection.getresponse()
        cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
        return answer.status, answer.read().decode(), cookie

    status, page, cookie = ask("GET", link.path)
    assert status == 200
    [token] = re.findall('name="csrf_token" value="([0-9a-f]{64})"', page)
    assert ask("GET", "/start/0000-0000-0000")[0] == 404
    body = f"csrf_token={token}"
    status, _, session = ask("POST", link.path, body, Cookie=cookie)
    assert status == 303
    assert "Welcome to Restante" in ask("GET", "/", Cookie=session)[1]
    assert ask("GET", link.path)[0] == 404
    assert ask("POST", link.path, body, Cookie=cookie)[0] == 404
    connection.close()
