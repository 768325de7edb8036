"""What a person is told when something cannot go on: what, why, what to do."""

from __future__ import annotations


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
