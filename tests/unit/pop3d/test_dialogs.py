"""Every dialog against the engine alone, fed whole and octet by octet, and their own rules."""

from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.lines import canonical, measure
from pop3d.commands import TABLE
from pop3d.engine import State
from tests.dialog import DIALOGS, EngineTalk, content, maildrop, parse, run


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "octets"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(path: Path, piece: int | None) -> None:
    dialog = parse(path.read_text("utf-8"))
    run(dialog, partial(EngineTalk, maildrop(dialog.sizes), piece=piece, stls=dialog.stls))


class Seen(EngineTalk):
    """Notes which commands are sent in which state."""

    noted: ClassVar[set[tuple[str, State]]] = set()

    def send(self, octets: bytes) -> None:
        for line in octets.splitlines(keepends=True):
            verb = line.split()[0].decode("latin-1").upper() if line.split() else ""
            self.noted.add((verb, self.state))
            super().send(line)


def test_every_command_stands_in_a_dialog_in_every_state() -> None:
    for path in DIALOGS:
        dialog = parse(path.read_text("utf-8"))
        run(dialog, partial(Seen, maildrop(dialog.sizes), piece=None, stls=dialog.stls))
    wanted = {(row.verb, state) for row in TABLE.rows() for state in State}
    assert wanted - Seen.noted == set()


@given(st.integers(2, 5_000))
def test_the_content_of_a_size_is_canonical_and_has_that_size(size: int) -> None:
    message = content(size)
    assert len(message) == size
    assert canonical(message) == message
    assert measure(b"", message).dotted == (size >= 31)


@pytest.mark.parametrize(
    "text",
    [
        "C: QUIT\nS: -ERR*",  # another answer
        "C: QUIT\nS: +OK*\nS: +OK*",  # no more answers
        "C: QUIT",  # nothing asked for
        "C: CAPA\nS: +OK*",  # an answer not read to its end
        "C: CAPA\nS: +OK*\nS... XYZZY",  # skipped past the end
        "S: +OK*",  # an answer to nothing
        "C: QUIT\nS--",  # an answer before the close
        "S--",  # no close
    ],
)
def test_a_dialog_that_is_not_met_fails(text: str) -> None:
    with pytest.raises(AssertionError):
        run(parse(text), partial(EngineTalk, maildrop([]), piece=None))


@pytest.mark.parametrize("text", ["c: QUIT", "S; +OK", "maildrop", "LOGIN", "S:+OK", " # indented"])
def test_a_line_that_is_no_part_of_a_dialog_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse(f"C: QUIT\n{text}")
