"""Every dialog against the engine alone, fed whole and octet by octet, and their own rules."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.lines import canonical, measure
from tests.dialog import DIALOGS, EngineTalk, content, maildrop, parse, run


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "octets"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(path: Path, piece: int | None) -> None:
    dialog = parse(path.read_text("utf-8"))
    run(dialog, partial(EngineTalk, maildrop(dialog.sizes), piece=piece))


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
