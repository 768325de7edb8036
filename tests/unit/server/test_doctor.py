"""Whether clients are told apart; and what the daily look reports: changes, and each once."""

from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.models_doctor import FindingDetail, Findings, MarkName
from net.limits import Connections, Peer
from net.listen import Endpoint
from server import folder
from server.config import load
from server.counters import counters
from server.doctor import STREAK, Patient, examine
from server.parts import load_certificate, open_store
from server.rounds import Rounds
from tests.kit import CONFIG


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


EVERYWHERE = Endpoint("0.0.0.0", 110)
HERE = Endpoint("127.0.0.1", 110)


@pytest.mark.parametrize(
    ("client", "times", "most", "at", "mark"),
    [
        ("172.17.0.1", STREAK, STREAK, EVERYWHERE, "note"),  # a container's userland proxy
        ("172.17.0.1", STREAK, STREAK - 1, EVERYWHERE, "fix"),
        ("fd00::1", STREAK, STREAK - 1, EVERYWHERE, "fix"),
        ("127.0.0.1", STREAK, STREAK - 1, HERE, "fix"),  # a proxy on this machine
        ("127.0.0.1", STREAK, STREAK, HERE, "ok"),  # a trial
        ("172.17.0.1", STREAK - 1, 1, EVERYWHERE, "ok"),
        ("9.9.9.9", STREAK, 1, EVERYWHERE, "ok"),  # a stranger who does not give up
    ],
)
async def test_clients_that_all_have_one_address_are_found(
    tmp_path: Path, client: str, times: int, most: int, at: Endpoint, mark: str
) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    config = load(tmp_path / "config.toml", {})
    folder.prepare(config.server.data_dir)
    pop3 = Connections(total=1000, per_client=most, clock=lambda: 0.0)
    for port in range(times):
        pop3.take(Peer(client, port))
    counted = replace(counters(config), pop3=pop3)
    store = open_store(config)
    try:
        patient = Patient(config, store, load_certificate(config), {"pop3": [at]}, counted)
        found = await examine(patient, ["limits"])
    finally:
        store.close()
    assert [each.mark for each in found.items] == [mark]
    if mark != "ok":
        assert client.partition("::")[0] in found.items[0].text
        assert found.items[0].next == "restante config explain server.proxy_protocol"
