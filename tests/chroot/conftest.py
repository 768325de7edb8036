"""The Debian of tests/chroot/debian, as it was made, with a copy of this tree in it."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / ".venv/aside/debian"
Needs = Callable[[str], str]


@pytest.fixture(scope="session")
def debian() -> Path:
    if not (DEBIAN / ".made").exists():
        pytest.skip("no Debian in a folder (tests/chroot/debian)")
    return DEBIAN


def copy_tree(target: Path) -> None:
    """What a clone of this tree has."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    target.mkdir(mode=0o755)
    for name in found.stdout.decode().rstrip("\0").split("\0"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """That other users can reach: not below pytest's own."""
    found = Path(tempfile.mkdtemp(prefix="restante-chroot-"))
    found.chmod(0o755)
    yield found
    subprocess.run(["rm", "-rf", "--one-file-system", found], check=True)
