import asyncio
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tests.unit.pop3d.listener import Place


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this folder that waits runs on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("pop3"))
    yield made
    made.close()


@pytest.fixture
def own_place(tmp_path: Path) -> Iterator[Place]:
    """For a test that breaks it."""
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def events() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs(processors=[merge_contextvars]) as captured:
        yield captured
