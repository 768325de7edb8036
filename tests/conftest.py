"""What every test may ask for, and how hypothesis searches."""

import gc
import os
import secrets
import shutil
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests import databases
from tests.databases import Database

PROFILE = os.environ.get("RESTANTE_PROFILE", "commit")
SEED = os.environ.get("RESTANTE_SEED")
if SEED is None and PROFILE != "commit":
    SEED = str(secrets.randbelow(2**32))

# The same run for everybody, unless a seed asks for another one.
settings.register_profile(
    "commit", max_examples=60, deadline=None, print_blob=True, derandomize=SEED is None
)
settings.register_profile("long", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if SEED is not None:
        config.option.hypothesis_seed = SEED


def pytest_collection_finish() -> None:
    """What is loaded by now stays: half a second of each gc.collect() was a search of it."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    seed = "none, every run is the same" if SEED is None else f"RESTANTE_SEED={SEED}"
    return f"hypothesis: profile {PROFILE}, seed {seed}"


def program(name: str) -> str:
    """Where a Debian program is. Without it: skip, or with CI=true fail, the test that asks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        reason = f"{name} is not installed (tests/packages*.txt)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """`needs("postfix")` is the path of a program that only some machines have."""
    return program


@pytest.fixture(scope="session")
def postgresql(needs: Callable[[str], str]) -> Iterator[Database]:
    """One server for all tests; started when the first one asks for it."""
    with databases.postgresql(needs) as found:
        yield found


@pytest.fixture(scope="session")
def mariadb(needs: Callable[[str], str]) -> Iterator[Database]:
    with databases.mariadb(needs) as found:
        yield found
