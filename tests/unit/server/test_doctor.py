"""What the daily look reports: changes, and each once."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.models_doctor import FindingDetail, Findings, MarkName
from server.rounds import Rounds


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []

    def capture(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        lines.append((event["event"], event.get("what", event.get("why"))))
        raise structlog.DropEvent

    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield lines
    structlog.reset_defaults()


def findings(*texts: str, mark: MarkName = "fix") -> Findings:
    items = [FindingDetail(group="dns", mark=mark, text=text, next="x") for text in texts]
    return Findings(items=items, to_fix=len(items))


async def test_a_daily_look_tells_what_changed_and_remembers(
    tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    for now, told in (
        (findings("a", "b"), [("doctor.found", "a"), ("doctor.found", "b")]),
        (findings("b", "a"), []),
        (findings("b", "c"), [("doctor.found", "c"), ("doctor.mended", "a")]),
        (findings("c", mark="note"), [("doctor.mended", "b"), ("doctor.mended", "c")]),
    ):

        async def examine(now: Findings = now) -> Findings:
            return now

        said.clear()
        await Rounds(examine, tmp_path).once()  # each as after a restart
        assert said == told


async def test_a_look_that_fails_is_told_and_changes_nothing(
    tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    async def full() -> Findings:
        raise OSError("disk")

    await Rounds(full, tmp_path).once()
    assert said == [("doctor.failed", "disk")]
    (tmp_path / "doctor.json").write_text("{")

    async def examine() -> Findings:
        return findings("a")

    await Rounds(examine, tmp_path).once()
    assert said[1:] == [("doctor.found", "a")]
