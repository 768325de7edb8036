"""`restante setup` below a folder, as for an image: it takes no right but to write there."""

import getpass
import json
import os
import re
import smtplib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mail.address import Address
from net.listen import Endpoint
from server.setup import Setup
from server.trouble import Trouble
from tests.kit import pop3_client
from tests.nameservers import nameservers
from tests.program import RESTANTE, restante, running, succeed

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "ada@example.org"
RECORDS = """\
@ MX 10 mail
mail A 192.0.2.10
_dmarc TXT "v=DMARC1; p=none"
_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tlsrpt@example.org"
autoconfig CNAME mail
_pop3s._tcp SRV 0 1 995 mail
"""

Needs = Callable[[str], str]


def set_up(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    whose = () if "--user" in options else ("--user", getpass.getuser())
    return restante("setup", ADDRESS, "--root", folder / "root", *whose, *options, folder=folder)


def on_loopback(config: Path) -> None:
    text = re.sub(
        r'^(\w*listen) = \[".*"\]$', r'\1 = ["127.0.0.1:0"]', config.read_text(), flags=re.M
    )
    config.write_text(text)


def test_a_plan_is_shown_and_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    plan = set_up(tmp_path, "--dry-run")
    assert plan.returncode == 0
    assert f"to do  folders {tmp_path}/root/etc/restante" in plan.stdout
    assert 'server.hostname "mail.example.org"' in plan.stdout
    assert not list((tmp_path / "root").iterdir())
    unasked = set_up(tmp_path)  # nobody is there to say yes
    assert unasked.returncode == 2
    assert not list((tmp_path / "root").iterdir())


def page() -> tuple[list[list[str]], str]:
    """What docs/set-up.md tells to type, without what it says beside it; and into config.toml."""
    text = (ROOT / "docs/set-up.md").read_text()
    [settings] = re.findall(r"^```toml\n(.*?)^```\n", text, re.M | re.DOTALL)
    blocks = re.findall(r"^```\n(.*?)^```\n", text.replace(settings, ""), re.M | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    ours = [line for line in lines if line.startswith("restante ")]
    return [re.sub(r"   +.*", "", line).split() for line in ours], settings


def prove(proof: list[str], smtp: Endpoint, folder: Path) -> None:
    """Writes to the address that is told, from outside as it were."""
    with running(*proof, folder=folder) as proving:
        address = proving.line(r"Write to (proof-\S+@example\.org) ")[1]
        with smtplib.SMTP(smtp.host, smtp.port, "sender.example.net") as client:
            client.starttls()
            client.sendmail("bob@example.net", [address], "Subject: hello\r\n\r\nhello\r\n")
        proving.line(r"MX +led to mail\.example\.org$")
        proving.line(r"port 25 +reached from 127\.0\.0\.1, which calls itself sender")
        proving.line(r"TLS +TLS_.* \(?TLSv?1\.[23]")
        proving.line(r"store +kept as \w{26} at ")
        assert proving.process.wait(60) == 0


def test_what_the_page_tells_to_type_sets_a_machine_up(tmp_path: Path, needs: Needs) -> None:
    config = tmp_path / "root/etc/restante/config.toml"
    lines, settings = page()
    assert [words[1] for words in lines[:2]] == ["setup", "setup"]
    for words in lines[:2]:
        where = ("--root", tmp_path / "root", "--user", getpass.getuser(), "--yes")
        succeed(*words[1:], *where, folder=tmp_path)
    on_loopback(config)
    with nameservers(tmp_path, {"signed.test": "", "example.org": RECORDS}, needs) as dns:
        text = config.read_text()
        config.write_text(text.replace("resolvers = []", f'resolvers = ["{dns.resolver}"]'))
        with running("serve", folder=config.parent) as server:
            smtp = server.listening()["smtp"]
            for words in lines[2:6]:
                if words[1] == "proof":
                    prove(words[1:], smtp, config.parent)
                else:
                    succeed(*words[1:], folder=config.parent)
    quickstart, check, serve = lines[6:]
    succeed(*quickstart[1:], folder=tmp_path)
    home = tmp_path / "mail/config.toml"
    for key, value in re.findall(r"^(\w+) = (\S+)", settings, re.M):
        home.write_text(re.sub(rf"^{key} = .*", f"{key} = {value}", home.read_text(), flags=re.M))
    on_loopback(home)
    succeed(*check[1:], folder=tmp_path)
    with running(*serve[1:], folder=tmp_path) as server:
        server.listening()


def test_a_machine_is_set_up_once_and_is_undone_but_for_mail(tmp_path: Path) -> None:
    done = set_up(tmp_path, "--yes")
    assert done.returncode == 0, done.stderr
    password = re.search(r"user ada, password (\S+)", done.stdout)
    assert password
    assert re.search(r"example\.org +MX +10 mail\.example\.org\.", done.stdout)
    config = tmp_path / "root/etc/restante/config.toml"
    assert f"restante proof example.org --config {config}" in done.stdout
    data_dir = tmp_path / "root/var/lib/restante"
    assert data_dir.stat().st_mode & 0o777 == 0o700

    again = set_up(tmp_path, "--yes")
    assert again.returncode == 0
    assert "to do" not in again.stdout
    assert "password" not in again.stdout

    on_loopback(config)
    with running("serve", "--config", config, folder=tmp_path) as server:
        listening = server.listening()
        pop3_client(listening["pop3"], "ada", password[1]).quit()
        proof = ("proof", "example.org", "--config", config)
        nothing = restante(*proof, "--timeout", "1", folder=tmp_path)
        assert nothing.returncode == 1
        assert "restante dns check example.org" in nothing.stderr
        addresses = succeed("address", "list", "--config", config, folder=tmp_path)
        assert "proof" not in addresses

    undone = set_up(tmp_path, "--undo", "--yes")
    assert undone.returncode == 0
    assert not (tmp_path / "root/etc/restante").exists()
    assert (data_dir / "restante.db").exists()


def test_an_interrupted_set_up_goes_on_and_what_was_there_stays(tmp_path: Path) -> None:
    config = tmp_path / "root/etc/restante/config.toml"
    config.parent.mkdir(parents=True)
    wrong = '[server]\nhostname = "?"\ndata_dir = "../../var/lib/restante"\n'
    config.write_text(wrong)
    stopped = set_up(tmp_path, "--yes")
    assert stopped.returncode == 3
    assert "server.hostname" in stopped.stderr
    assert "goes on where it stopped" in stopped.stderr
    right = wrong.replace("?", "mail.example.org")
    config.write_text(right)
    assert set_up(tmp_path, "--yes").returncode == 0
    assert config.read_text() == right
    users = json.loads(succeed("user", "list", "--json", "--config", config, folder=tmp_path))
    assert [user["role"] for user in users["users"]] == ["admin"]
    assert set_up(tmp_path, "--undo", "--yes").returncode == 0
    assert config.read_text() == right  # it was not set-up's own


@pytest.mark.skipif(os.geteuid() != 0, reason="makes an account, in files of its own")
def test_the_service_has_an_account_of_its_own_that_owns_the_mail(tmp_path: Path) -> None:
    etc = tmp_path / "root/etc"
    etc.mkdir(parents=True)
    for name in ("passwd", "group", "shadow", "gshadow"):
        (etc / name).touch()
    done = set_up(tmp_path, "--user", "restante", "--yes")
    if "Only its owner may enter" in done.stderr:
        assert not (etc / "passwd").read_text()
        pytest.skip("nobody but root may enter the folder of this program, or of its Python")
    assert done.returncode == 0, done.stderr
    [row] = (etc / "passwd").read_text().splitlines()
    name, _, uid, _, _, home, shell = row.split(":")
    assert (name, home, shell) == ("restante", "/var/lib/restante", "/usr/sbin/nologin")
    assert (tmp_path / "root/var/lib/restante").stat().st_uid == int(uid)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_a_machine_is_set_up_by_root_alone(tmp_path: Path) -> None:
    refused = restante("setup", ADDRESS, "--yes", folder=tmp_path)
    assert refused.returncode == 4
    assert "sudo" in refused.stderr


def test_the_service_starts_the_program_that_set_it_up(tmp_path: Path) -> None:
    deploy, said = tmp_path / "deploy", list[str]()
    deploy.mkdir()
    service = "[Service]\nExecStart={}/.venv/bin/restante serve\nUser={}\n"
    (deploy / "restante.service").write_text(service.format("/opt/restante", "restante"))
    (deploy / "restante.socket").write_text("[Socket]\n")
    plan = Setup(
        Address.parse(ADDRESS),
        "mail.example.org",
        user=getpass.getuser(),
        root=tmp_path / "root",
        deploy=deploy,
        say=said.append,
    )
    plan.run()
    units = tmp_path / "root/etc/systemd/system"
    told = service.format(RESTANTE.parents[2], getpass.getuser())
    assert (units / "restante.service").read_text() == told
    assert (units / "restante.socket").exists()
    plan.undo()
    assert not list(units.iterdir())
    assert said[-1].startswith("  kept ")


def test_who_holds_a_port_is_named_before_anything_is_done() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {taken.getsockname()[1]: "mail from senders"}
        plan = Setup(Address.parse(ADDRESS), "mail.example.org", user="root", ports=ports)
        with pytest.raises(Trouble, match="is held by") as raised:
            plan.check()
    assert "systemctl disable --now" in raised.value.todo
