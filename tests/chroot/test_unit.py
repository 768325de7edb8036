"""deploy/restante.service under systemd itself: mail in, mail out, mail collected, and no more."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.chroot.conftest import ROOT, copy_tree

Needs = Callable[[str], str]
CONFIG = """\
[server]
hostname = "{host}"
data_dir = "{data}"
private_targets = ["127.0.0.0/8", "::1/128"]
[smtp]
verify = "off"
"""
OURS = """\
listen = ["0.0.0.0:25", "[::]:25"]
[pop3]
listen = ["0.0.0.0:995", "[::]:995"]
refuser_listen = ["0.0.0.0:465", "[::]:465"]
[api]
http_listen = ["0.0.0.0:80", "[::]:80"]
listen = ["0.0.0.0:443", "[::]:443"]
"""
PROVIDER = """\
listen = ["127.0.0.1:12525"]
[pop3]
listen = ["127.0.0.1:12995"]
refuser_listen = []
[api]
http_listen = ["127.0.0.1:12080"]
"""
TYPED = """\
[Unit]
After=restante.service
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
TimeoutStartSec=300
ExecStart=/root/typed
StandardOutput=file:/root/said
StandardError=inherit
[Install]
WantedBy=multi-user.target
"""


def put(file: Path, text: str, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def installed(system: Path) -> None:
    """As the first lines of the unit say."""
    copy_tree(system / "opt/restante")
    units = system / "etc/systemd/system"
    for name in ("restante.service", "restante.socket"):
        put(units / name, (ROOT / "deploy" / name).read_text())
    ours = CONFIG.format(host="mail.example.test", data="/var/lib/restante") + OURS
    put(system / "etc/restante/config.toml", ours)
    put(
        system / "srv/provider/config.toml",
        CONFIG.format(host="pop.example.net", data="data") + PROVIDER,
    )
    put(units / "typed.service", TYPED)
    put(system / "root/typed", (ROOT / "tests/chroot/typed").read_text(), 0o755)
    script = """
        useradd --system --home-dir /var/lib/restante --shell /usr/sbin/nologin restante
        cd /opt/restante && make -s .venv/.project
        systemctl enable restante.socket restante.service typed.service
    """
    subprocess.run(["chroot", system, "sh", "-ec", script], check=True, capture_output=True)


def test_the_unit_delivers_serves_and_collects(debian: Path, folder: Path, needs: Needs) -> None:
    nspawn = needs("systemd-nspawn")
    subprocess.run(["cp", "-a", "--reflink=auto", f"{debian}/.", folder], check=True)
    installed(folder)
    boot = ["--boot", "--register=no", "--keep-unit", "--private-network", f"--directory={folder}"]
    booted = subprocess.run(
        [nspawn, *boot],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    file = folder / "root/said"
    assert file.exists(), booted.stdout + booted.stderr
    said = file.read_text()
    lines = said.splitlines()
    assert lines[-1] == "over", said

    # At mail.example.test by SMTP, and from the provider.
    assert sorted(line for line in lines if line.startswith("served ")) == [
        "served To: <ann@example.test>",
        "served To: <bob@example.net>",
    ]
    process = dict(re.findall(r"(?m)^process (\w+):\s+(.*)$", said))
    assert {process[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert "0" not in process["Uid"].split()
    written = [line.removeprefix("writes ") for line in lines if line.startswith("writes ")]
    assert written == ["/tmp", "/var/lib/restante"]
    assert "its /tmp is its own" in lines
    assert [line for line in lines if line.startswith("unit ")] == [
        "unit NRestarts 0",
        "unit ActiveState active",
        "unit Result success",
    ]
