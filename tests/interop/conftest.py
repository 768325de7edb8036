"""A server with one user, and a folder for a relay in front of it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import Live, live_server

ANN = "ann@example.test"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    folder = tmp_path / "server"
    folder.mkdir()
    with live_server(folder) as live:
        live.add_user("ann", ANN)
        yield live


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a relay, whose processes run as other users: not below pytest's own folder."""
    found = Path(tempfile.mkdtemp(prefix="restante-relay-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)
