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
    """Nothing is bound, and no authority is asked, outside this machine."""
    text = re.sub(
        r'^(\w*listen) = \[".*"\]$', r'\1 = ["127.0.0.1:0"]', config.read_text(), flags=re.M
    )
    config.write_text(text.replace('mode = "acme"', 'mode = "self-signed"'))


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


# Like the real one it tells whether the service runs, and fails where that cannot start.
SYSTEMCTL = """\
#!/bin/sh
cd {folder} && echo "$*" >>said
case $1 in
enable)
    test ! -e broken && touch runs && exit
    echo 'Job for restante.service failed.' >&2
    exit 1 ;;
is-active) test -e runs ;;
disable) rm -f runs ;;
esac
"""
START = ["daemon-reload", "enable --now restante.service"]
STOP = ["disable --now restante.service restante.socket", "daemon-reload"]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was asked of a systemctl that stands in for the real one, but for questions."""
    folder = tmp_path / "systemctl"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL.format(folder=folder))
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def asked() -> list[str]:
        said = folder / "said"
        lines = said.read_text().splitlines() if said.exists() else []
        said.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith("is-")]

    return asked


def plan_of(folder: Path, said: list[str], *, systemd: bool) -> Setup:
    return Setup(
        Address.parse(ADDRESS),
        "mail.example.org",
        user=getpass.getuser(),
        root=folder / "root",
        systemd=systemd,
        say=said.append,
    )


def test_where_systemd_runs_the_service_is_started_and_enabled(
    tmp_path: Path, systemctl: Callable[[], list[str]]
) -> None:
    said: list[str] = []
    plan = plan_of(tmp_path, said, systemd=True)
    [*_, (text, done)] = plan.plan()
    assert (text.partition(":")[0], done) == ("systemctl enable --now restante.service", False)
    broken = tmp_path / "systemctl/broken"
    broken.touch()
    with pytest.raises(Trouble, match="failed") as raised:
        plan.run()
    assert "Job for restante.service failed." in raised.value.why
    assert systemctl() == START
    broken.unlink()
    again = plan_of(tmp_path, said, systemd=True)  # as after a typed command
    again.run()
    assert systemctl() == START
    service = (tmp_path / "root/etc/systemd/system/restante.service").read_text()
    config = "--config /etc/restante/config.toml"
    assert f"\nExecStart={RESTANTE} serve {config}\n" in service
    assert f"\nUser={getpass.getuser()}\n" in service
    again.run()
    assert systemctl() == []
    plan_of(tmp_path, said, systemd=True).undo()
    assert systemctl() == STOP
    assert not list((tmp_path / "root/etc/systemd/system").iterdir())
    assert said[-1].startswith("  kept ")


def test_where_systemd_does_not_run_the_units_wait_and_it_is_told_how_to_start(
    tmp_path: Path, systemctl: Callable[[], list[str]]
) -> None:
    done = set_up(tmp_path, "--yes")
    assert done.returncode == 0, done.stderr
    assert systemctl() == []
    units = tmp_path / "root/etc/systemd/system"
    assert {each.name for each in units.iterdir()} == {"restante.service", "restante.socket"}
    config = tmp_path / "root/etc/restante/config.toml"
    assert "systemctl enable --now restante.service    where systemd runs" in done.stdout
    assert f"restante serve --config {config}    instead" in done.stdout
    assert set_up(tmp_path, "--undo", "--yes").returncode == 0
    assert systemctl() == []
    assert not list(units.iterdir())


def test_who_holds_a_port_is_named_before_anything_is_done() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {taken.getsockname()[1]: "mail from senders"}
        plan = Setup(Address.parse(ADDRESS), "mail.example.org", user="root", ports=ports)
        with pytest.raises(Trouble, match="is held by") as raised:
            plan.check()
    assert "systemctl disable --now" in raised.value.todo
