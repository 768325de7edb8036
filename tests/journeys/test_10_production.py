"""The server as a service: ports handed on, signs of life, rights given up for good."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from net.listen import Endpoint, bind
from tests.kit import CONFIG, pop3_client
from tests.program import Running, restante, succeed
from tests.waiting import free_port
from tests.wire import END, Wire

Needs = Callable[[str], str]
ROOT = Path(__file__).resolve().parents[2]
NOBODY = pwd.getpwnam("nobody")

# What systemd does: descriptor 3, and the pid of the program itself.
HAND_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def serving(
    command: list[str], folder: Path, settings: dict[str, str], descriptors: tuple[int, ...] = ()
) -> Iterator[Running]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | settings,
        pass_fds=descriptors,
    )
    found = Running(process)
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def handing_on(opened: socket.socket) -> list[str]:
    program = str(Path(sys.executable).with_name("restante"))
    return [sys.executable, "-c", HAND_ON, str(opened.fileno()), program, "serve"]


def test_the_unit_is_as_tight_as_promised(needs: Needs) -> None:
    analyze = needs("systemd-analyze")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=15", ROOT / "deploy/restante.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_units_say_what_systemd_knows(needs: Needs, tmp_path: Path) -> None:
    analyze = needs("systemd-analyze")
    for name in ("restante.service", "restante.socket"):
        text = (ROOT / "deploy" / name).read_text()
        # The program is installed elsewhere than on this machine.
        (tmp_path / name).write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", text))
    done = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / "restante.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "restante" not in done.stderr, done.stderr


def test_ports_are_handed_on_and_the_service_says_that_it_lives(tmp_path: Path) -> None:
    [opened] = bind([Endpoint("127.0.0.1", 0)])
    port = opened.getsockname()[1]
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=port, pop3=0, http=0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(60)
        settings = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "200000",
        }
        with opened, serving(handing_on(opened), tmp_path, settings, (opened.fileno(),)) as running:
            assert heard.recv(100) == b"READY=1"
            assert [heard.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                assert client.recv(4) == b"220 "
            assert running.end(signal.SIGTERM) == 0


def test_a_port_that_nobody_wants_is_told(tmp_path: Path) -> None:
    [opened] = bind([Endpoint("127.0.0.1", 0)])
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    where = Endpoint(*opened.getsockname()[:2])
    with opened:
        done = subprocess.run(
            handing_on(opened),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            pass_fds=(opened.fileno(),),
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert f"{where} was handed on" in done.stderr


@as_root
def test_root_does_not_serve_the_network(tmp_path: Path) -> None:
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    text = text.replace('[smtp]\nlisten = ["127.0.0.1:0"]', f'[smtp]\nlisten = ["*:{free_port()}"]')
    (tmp_path / "config.toml").write_text(text)
    done = restante("serve", folder=tmp_path)
    assert done.returncode == 4
    assert "server.user" in done.stderr
    (tmp_path / "config.toml").write_text(
        text.replace("[server]", '[server]\nuser = "no-such-user"')
    )
    done = restante("serve", folder=tmp_path)
    assert done.returncode == 4
    assert "no account no-such-user" in done.stderr


def interpreter() -> str:
    """One of the version of this one that every user may run."""
    for found in (sys.executable, "/usr/bin/python3"):
        real = Path(found).resolve()
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if all(each.stat().st_mode & stat.S_IXOTH for each in (real, *real.parents)):
            said = subprocess.run([found, "-V"], capture_output=True, text=True, check=True).stdout
            if said.startswith(f"Python {version}."):
                return found
    pytest.skip("no Python of this version that another user may run")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """That other users can reach: not below pytest's own."""
    found = Path(tempfile.mkdtemp(prefix="restante-user-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)


@as_root
def test_root_becomes_another_user_for_good_once_the_ports_are_open(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o700)
    os.chown(data, NOBODY.pw_uid, NOBODY.pw_gid)
    port = free_port()
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    text = text.replace('[smtp]\nlisten = ["127.0.0.1:0"]', f'[smtp]\nlisten = ["0.0.0.0:{port}"]')
    (open_folder / "config.toml").write_text(text.replace("[server]", '[server]\nuser = "nobody"'))
    command = [interpreter(), "-c", "from server.cli import main; main()", "serve"]
    paths = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    with serving(command, open_folder, {"PYTHONPATH": paths}) as running:
        line = running.process.stdout and running.process.stdout.readline()
        assert line
        assert '"event": "server.ready"' in line, line
        listening = json.loads(line)

        status = Path(f"/proc/{running.process.pid}/status").read_text()
        fields = dict(re.findall(r"(?m)^(\w+):\t(.*)$", status))
        assert fields["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert fields["Gid"].split() == [str(NOBODY.pw_gid)] * 4
        assert set(fields["Groups"].split()) <= {str(NOBODY.pw_gid)}
        assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        for made in data.rglob("*"):
            assert made.stat().st_uid == NOBODY.pw_uid, made

        domain = ("domain", "add", "example.test")
        user = ("user", "add", "ann", "--address", "ann@example.test", "--password-stdin")
        succeed(*domain, folder=open_folder)
        succeed(*user, folder=open_folder, answer="correct horse battery\n")
        with Wire(Endpoint("127.0.0.1", port)) as wire:
            wire.begin("ann@example.test")
            wire.send(b"Subject: here" + END)
            assert wire.hear().startswith("250 ")
        client = pop3_client(Endpoint.parse(listening["pop3"]), "ann")
        assert client.stat()[0] == 1
        client.quit()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
