"""A store to begin with, made once by the command line."""

import shutil
from pathlib import Path

import pytest

from tests.kit import CONFIG, PASSWORD
from tests.program import succeed


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    succeed("domain", "add", "example.org", folder=folder)
    for user in ("ada", "bea"):
        options = ("--address", f"{user}@example.org", "--password-stdin")
        succeed("user", "add", user, *options, folder=folder, answer=PASSWORD)
    return folder


@pytest.fixture
def two_users(_prepared: Path, tmp_path: Path) -> Path:
    """A folder with a configuration, and a store with ada and bea at example.org."""
    shutil.copytree(_prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path
