"""The data folder: of mode 0700, refused when others could look in, one server's at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.trouble import Trouble


def prepare(data_dir: Path) -> None:
    """Makes the folder if it is missing. Raises Trouble when it is not ours alone."""
    # Everything below is made with this mask: database, keys, socket.
    os.umask(0o077)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data_dir.stat()
    except OSError as error:
        raise Trouble(
            f"The data folder {data_dir} cannot be made.",
            error.strerror or str(error),
            "Make it for this user, or set server.data_dir to a folder that can be written.",
            exit_code=3,
        ) from error
    if found.st_uid != os.geteuid():
        raise Trouble(
            f"The data folder {data_dir} belongs to somebody else.",
            "Its owner could read the mail and the keys in it.",
            f"chown {os.geteuid()} {data_dir}, or run as its owner.",
            exit_code=4,
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Trouble(
            f"The data folder {data_dir} is open to other users.",
            "They could read the mail and the keys in it.",
            f"chmod 700 {data_dir}",
            exit_code=4,
        )


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """The folder is this process's, and of those it forks until the last has ended.

    Raises Trouble. An SQLite store has a lock of its own besides, for commands without a server.
    """
    with (data_dir / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Trouble(
                f"The data folder {data_dir} is in use.",
                "A server has it, or the last processes of one that is stopping.",
                "Use that server, or stop it and wait until it has ended.",
                exit_code=3,
            ) from error
        yield
