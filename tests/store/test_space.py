"""The reserve of a disk that is in trouble itself."""

from pathlib import Path

from store.space import Space


def test_a_reserve_that_cannot_be_removed_raises_nothing(tmp_path: Path) -> None:
    """The writer lets go of it in the middle of a fault; an error there would end its thread."""
    space = Space(tmp_path / "restante.db", 0)
    reserve = tmp_path / "restante.db.reserve"
    reserve.mkdir()  # stands for a file on a file system that has become read-only
    space.release()
    assert reserve.exists()
