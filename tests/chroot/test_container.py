"""deploy/Containerfile, built and run by an ordinary user: mail in, mail out, and no more."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from net.listen import Endpoint
from tests.chroot.conftest import ROOT, copy_tree
from tests.kit import pop3_client
from tests.program import heard
from tests.waiting import free_port
from tests.wire import END, Wire

Needs = Callable[[str], str]


def test_the_container_delivers_and_serves(debian: Path, folder: Path, needs: Needs) -> None:
    for name in ("podman", "runc", "newuidmap"):
        needs(name)
    subprocess.run(["tar", "-C", debian, "-c", "-f", folder / "base.tar", "."], check=True)
    copy_tree(folder / "tree")
    ports = free_port(), free_port()
    script = [str(ROOT / "tests/chroot/container"), str(folder), *map(str, ports)]
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with heard(process) as running:
        running.line("^ready$", seconds=600)
        with Wire(Endpoint("127.0.0.1", ports[0])) as wire:
            wire.begin("ann@example.test")
            wire.send(b"Subject: here" + END)
            assert wire.hear().startswith("250 ")
        client = pop3_client(Endpoint("127.0.0.1", ports[1]), "ann")
        assert client.stat()[0] == 1
        client.quit()
        assert process.stdin
        process.stdin.close()
        running.line("^ended 0$")
    assert "10025" in running.lines
    assert [line for line in running.lines if line.startswith("writes ")] == ["writes /data"]
