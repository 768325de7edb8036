"""A real store on a temporary file, with two users."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.conftest import Filled, fill


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Filled]:
    found = await fill(tmp_path / "restante.db")
    yield found
    found.store.close()
