"""What an upgrade would do, and what it does; how large a store is."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import store
from store import schema
from store.condition import Size, standing, upgrade
from store.database import StoreInUse
from store.engines import StoreUnfit
from store.migrating import steps
from tests.store.conftest import PREFIX, Filled, opened

HEADER = b"From: Bob <bob@example.net>\r\nSubject: One\r\n\r\n"


def made_with(path: Path, revision: str) -> str:
    """A store as an older version left it."""
    opened(path).close()
    path.unlink()
    url = f"sqlite:///{path}"
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA page_size = 8192")
        raw.execute("PRAGMA auto_vacuum = 2")
        raw.execute("PRAGMA journal_mode = wal")
    with create_engine(url, poolclass=NullPool).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return url


def test_an_older_store_is_upgraded_and_a_copy_kept(tmp_path: Path) -> None:
    path = tmp_path / "restante.db"
    first, *later = steps()
    url = made_with(path, first.revision)
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO store_fact VALUES ('mine', 'yes')")
    assert standing(url).found == first.revision
    assert list(standing(url).missing) == later
    before, copy = upgrade(url)
    assert list(before.missing) == later
    assert standing(url).missing == []
    assert copy
    for file, revision in ((copy, first.revision), (path, later[-1].revision)):
        with closing(sqlite3.connect(file)) as raw:
            assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
            found = raw.execute("SELECT value FROM store_fact WHERE name = 'mine'").fetchone()
            assert found == ("yes",)
    assert upgrade(url)[1] is None


def test_a_server_that_starts_keeps_a_copy_too(tmp_path: Path) -> None:
    path = tmp_path / "restante.db"
    first, *later = steps()
    made_with(path, first.revision)
    opened(path).close()
    copy = path.with_name(f"{path.name}.before-{later[-1].revision}")
    with closing(sqlite3.connect(copy)) as raw:
        found = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        assert found == (first.revision,)
    copy.unlink()
    opened(path).close()
    assert not list(tmp_path.glob("*before*"))


def test_nothing_is_made_or_changed_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "restante.db"
    assert list(standing(f"sqlite:///{path}").missing) == steps()
    assert not list(tmp_path.iterdir())


def test_a_store_of_a_newer_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "restante.db"
    opened(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '2999.1'")
    with pytest.raises(StoreUnfit, match=r"2999\.1"):
        standing(f"sqlite:///{path}")


def test_a_store_in_use_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "restante.db"
    running = opened(path)
    with pytest.raises(StoreInUse):
        upgrade(f"sqlite:///{path}")
    running.close()


async def test_sizes(filled: Filled) -> None:
    await filled.keep(HEADER, filled.ann, filled.eve)
    await filled.keep(HEADER)
    found = await filled.store.size()
    each = len(PREFIX + HEADER)
    stored = found.stored
    file = found.file_octets
    assert found == Size(2, 3, 3 * each, 2, 2 * len(HEADER), stored, file)
    assert stored > 0
    assert (file is None) == (not filled.url.startswith("sqlite"))


def test_the_newest_step_is_the_one_that_the_schema_names() -> None:
    assert steps()[-1].revision == schema.NEWEST
