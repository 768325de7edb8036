"""A server with one user, a collector, and a folder for a mail server beside them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.conftest import desk  # noqa: F401 - a fixture
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
    """For a mail server, whose processes run as other users: not below pytest's own folder."""
    found = Path(tempfile.mkdtemp(prefix="restante-aside-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)
