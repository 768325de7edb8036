"""The first ten minutes of README, typed in a new Debian by somebody who has nothing else.

`make test` of its first block is left out: it is what runs the other tests.
"""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chroot.conftest import ROOT, copy_tree
from tests.program import Running, heard

Needs = Callable[[str], str]
BLOCKS = re.findall(r"(?ms)^```\n(.*?)^```", (ROOT / "README.md").read_text())
INSTALL_S = 600
STARTED = "curl -so /dev/null --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:8080"
MBOX = "From bob@example.net Mon May  4 10:00:00 2026\nSubject: old\n\nhello\n"


def typed(begin: str) -> list[str]:
    """The lines of the block that begins so, without what is said beside them."""
    [block] = [each for each in BLOCKS if each.startswith(begin)]
    return [re.sub(r"^\$ |   +[a-zA-Z].*", "", line) for line in block.splitlines()]


@pytest.fixture
def home(debian: Path, folder: Path, needs: Needs) -> Path:
    """A Debian, with the tree at ~/restante of its user."""
    needs("ip")
    subprocess.run(["cp", "-a", "--reflink=auto", f"{debian}/.", folder], check=True)
    tree = folder / "home/visitor/restante"
    copy_tree(tree)
    for made in (tree, *tree.rglob("*")):
        os.chown(made, (folder / "home/visitor").stat().st_uid, -1)
    return folder


@contextmanager
def terminal(home: Path, script: str, *apart: str) -> Iterator[Running]:
    """A shell in ~/restante of the Debian; `apart`: what else than its processes is its own."""
    inside = [
        "sh",
        str(ROOT / "tests/chroot/enter"),
        str(home),
        "bash",
        "-c",
        f"cd ~/restante\n{script}",
    ]
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", *apart, *inside],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with heard(process) as found:
        yield found


def test_the_first_ten_minutes(home: Path) -> None:
    trial_line = typed("make try")[0]
    with terminal(home, f"{trial_line}; true") as trial:
        trial.line("ready", seconds=INSTALL_S)
        kept = trial.line(r'1 mail waiting: "Welcome to Restante" (\w{26})$')[1]
        fetch = trial.line(r"^  curl      (curl .*)")[1]
        knock = typed(".venv/bin/restante knock")
        with terminal(home, "\n".join(["set -e", *knock, fetch])) as other:
            assert other.process.wait(60) == 0, other.lines
        knocked = next(line for line in other.lines if line.startswith("S: 250 2.0.0 kept as "))
        assert kept not in knocked
        assert "Subject: Welcome to Restante" in "\n".join(other.lines)
        os.killpg(trial.process.pid, signal.SIGINT)  # Ctrl-C
        trial.process.wait(60)
    with terminal(home, f"{trial_line}; true") as again:
        again.line("ready")
        with terminal(home, fetch) as other:
            assert other.process.wait(60) == 0, other.lines
        assert "Subject: Welcome to Restante" in "\n".join(other.lines)

    # A network of its own: `serve` listens on all addresses. Two terminals, one after the other.
    export, quickstart, serve = typed("export PATH=")
    script = [
        *("set -e", export, f"{quickstart} | tee ../card", f"{serve} &", STARTED),
        # The second terminal.
        *(export, *typed("restante user add"), f"printf %s {shlex.quote(MBOX)} >old.mbox"),
        *(*typed("restante import"), "restante knock you@example.org"),
        "password=$(sed -n 's/.* password  *//p' ../card)",
        *(line.replace('"..."', '"\'"$password"\'"') for line in typed("$ T=")),
        'echo; user=you:$password; curl --silent --insecure --user "$user" pop3s://127.0.0.1/1',
        *("kill %1", "wait %1", "echo over"),
    ]
    with terminal(home, "\n".join(script), "--net") as done:
        assert done.process.wait(INSTALL_S) == 0, "\n".join(done.lines[-40:])
    said = "\n".join(done.lines)
    [knocked] = re.findall(r"(?m)^S: 250 2\.0\.0 kept as (\w{26})$", said)
    assert f'"{knocked}"' in said  # over the API
    assert "Subject: A knock at the door" in said  # over POP3
    assert done.lines[-1] == "over"
