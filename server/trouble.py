"""What a person is told when something cannot go on: what, why, what to do."""

from __future__ import annotations

from pathlib import Path


class Trouble(Exception):
    """`exit_code`: 1 the answer is no, 2 wrong use, 3 not reachable, 4 refused."""

    def __init__(self, what: str, why: str, todo: str, *, exit_code: int) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  do:  {self.todo}"


def url_in(file: Path, key: str) -> str:
    """What stands in the file that a key names. Raises Trouble."""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(
            f"The URL cannot be read from {file}.",
            f"{error}.",
            f"Correct {key}, or the rights of that file.",
            exit_code=3,
        ) from error
