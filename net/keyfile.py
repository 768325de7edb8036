"""A small file with a secret: whole, on the disk and for its owner alone, or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, octets: bytes, *, mode: int) -> None:
    """Replaces `path`. Never readable by others in between; after a power cut old or new, whole."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
