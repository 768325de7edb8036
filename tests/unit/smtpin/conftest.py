import asyncio
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
import uvloop

from net.tls import Certificate, make_self_signed


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this folder that waits runs on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)
    pair = folder / "cert.pem", folder / "key.pem"
    make_self_signed(*pair, hostname="mx.example.org", now=now)
    return Certificate(*pair, clock=lambda: now)


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    return certificate.context()
