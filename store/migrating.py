"""The steps of the schema: each applied once, in order, behind a copy where the store is a file.

alembic is imported by who has a step to take, or to tell: most starts have none, and each command
of the command line is a start.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from store import schema
from store.database import revision, sync_folders
from store.engines import StoreUnfit

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig


@dataclass(frozen=True, slots=True)
class SchemaStep:
    revision: str
    meaning: str


def steps() -> list[SchemaStep]:
    """All steps of the schema, oldest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_alembic())
    found = [SchemaStep(each.revision, each.doc) for each in scripts.walk_revisions()]
    return found[::-1]


def migrate(connection: Connection) -> None:
    """Brings the schema to its newest step. Raises StoreUnfit for one we do not know."""
    found = revision(connection)
    if found == schema.NEWEST:
        return
    from alembic import command
    from alembic.util import CommandError

    config = _alembic()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnfit(f"its schema {found} is of another version of Restante") from error


def copy_of_before(path: Path, found: str | None) -> Path | None:
    """A whole copy that has been read through, if the next act is to change the schema."""
    known = [step.revision for step in steps()]
    if found not in known[:-1]:
        return None
    copy = path.with_name(f"{path.name}.before-{known[-1]}")
    part = copy.with_name(copy.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as store, closing(sqlite3.connect(part)) as target:
            store.backup(target)
            [(answer,)] = target.execute("PRAGMA quick_check(1)")
        if answer != "ok":
            raise StoreUnfit(f"{path} is damaged: {answer}")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(copy)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnfit(f"{path} cannot be copied: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    sync_folders(path)
    return copy


def _alembic() -> AlembicConfig:
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
