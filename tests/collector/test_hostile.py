"""Corpus C16: servers that are slow, endless, wrong or mean. Each ends in a sentence, soon, and
takes no memory to speak of.
"""

import asyncio
import tomllib
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from store.records import CollectorState
from tests.collector.conftest import IMPATIENT, SECRET, Desk
from tests.collector.scripted import HOST, certificate, scripted

SERVERS: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "hostile.toml").read_text("utf-8")
)["server"]
ENDS_WITHIN_S = 20  # on a machine that has much else to do; the limits of these tests are below 1 s
PEAK_OCTETS = 24 * 1024 * 1024  # 100,000 lines of a listing are the most


def test_there_are_enough_servers() -> None:
    assert len(SERVERS) >= 40


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: str(server["name"]))
async def test_each_ends_in_a_clear_sentence(
    server: dict[str, Any], desk: Desk, tmp_path: Path
) -> None:
    async with scripted(server, tmp_path) as remote:
        if server.get("error") == "too slow":
            await desk.restart(patience=IMPATIENT)
        source = await desk.add(remote.port, keep_days=server.get("keep_days"))
        tracemalloc.start()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                harvest = await desk.run(source)
                for _ in range(server.get("runs", 1) - 1):
                    harvest = await desk.run(source)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        error = harvest.error
        assert peak < PEAK_OCTETS
        if "error" in server:
            assert error
            assert server["error"] in error
            assert error[0].isupper()
            assert error.endswith(".")
            assert SECRET not in error
        else:
            assert error is None
        assert len(await desk.kept()) == server.get("kept", 0)
        found = await desk.get(source)
        assert found.last
        assert found.last.error == error
        failed = harvest.problem is not None
        assert found.state is (CollectorState.FAILING if failed else CollectorState.OK)


async def test_what_came_mangled_is_kept_as_smtp_would(desk: Desk, tmp_path: Path) -> None:
    """Bare CR and LF are content, and become line ends; only CRLF.CRLF ends a message."""
    [server] = [each for each in SERVERS if each["name"] == "ends lines as it likes"]
    async with scripted(server, tmp_path) as remote:
        await desk.run(await desk.add(remote.port))
    assert await desk.kept() == [
        b"From: x\r\nSubject: y\r\n\r\n\r\n.\r\n\r\n.\r\nhello\r\n.\r\nbye\r\n"
    ]


async def test_three_refused_logins_stop_it_until_somebody_asks(desk: Desk, tmp_path: Path) -> None:
    script = {"AUTH": "-ERR [AUTH] Application-specific password required\r\n"}
    async with scripted(script, tmp_path) as remote:
        source = await desk.add(remote.port, paused=False)
        store = desk.filled.store
        found = source
        while found.refused < 3:
            if found.job_id is None and found.refused:
                await desk.run(source)
            await asyncio.sleep(0.01)
            found = await desk.get(source)
        assert found.state is CollectorState.STOPPED
        assert found.last
        assert found.last.error == (
            "The provider refused the login: Application-specific password required."
        )
        await store.collectors.ask(desk.owner.account_id, desk.owner.maildrop_id, source.id)
        logins = len([line for line in remote.said if line.startswith("AUTH")])
        assert 3 <= logins <= 4
        changed = await desk.collecting.change(desk.owner, source.id, {"password": "new one"})
        assert (changed.state, changed.refused) == (CollectorState.OK, 0)


async def test_a_login_put_off_by_the_provider_is_no_refusal(desk: Desk, tmp_path: Path) -> None:
    script = {"AUTH": "-ERR [IN-USE] another session\r\n"}
    async with scripted(script, tmp_path) as remote:
        source = await desk.add(remote.port)
        for _ in range(4):
            assert (await desk.run(source)).problem == "UpstreamLogin"
        found = await desk.get(source)
        assert (found.state, found.refused, found.fails) == (CollectorState.FAILING, 0, 4)


async def test_the_delay_between_logins_is_kept_to_by_whoever_asks(
    desk: Desk, tmp_path: Path
) -> None:
    """RFC 2449 section 6.5."""
    script = {"CAPA": "+OK\r\nUIDL\r\nLOGIN-DELAY 86400\r\n.\r\n"}
    async with scripted(script, tmp_path) as remote:
        source = await desk.add(remote.port)
        await desk.run(source)
        found = await desk.get(source)
        assert found.last
        assert found.next_at >= found.last.at + timedelta(days=1)
        store = desk.filled.store
        job = await store.collectors.ask(desk.owner.account_id, desk.owner.maildrop_id, source.id)
        assert (await desk.get(source)).next_at >= found.last.at + timedelta(days=1)
        await store.jobs.cancel(desk.owner.account_id, job.id)
        assert len([line for line in remote.said if line.startswith("USER")]) == 1


@pytest.mark.parametrize("how", ["another name", "unknown authority", "no TLS"])
async def test_no_word_is_said_to_whom_is_not_trusted(how: str, desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folder, host = (other, HOST) if how == "unknown authority" else (tmp_path, HOST)
    if how == "another name":
        host = "evil.example.net"
        desk.tools.dialer.tls.load_verify_locations(certificate(folder, host))
    async with scripted({}, folder, host=host, tls=how != "no TLS") as remote:
        harvest = await desk.run(await desk.add(remote.port))
    assert harvest.problem == "UpstreamTls"
    assert not [line for line in remote.said if SECRET in line]


@pytest.mark.parametrize(
    ("greeting", "stls"),
    [
        ("+OK\r\n", "-ERR no TLS here\r\n"),
        ("+OK\r\n", "+OK go\r\n+OK injected\r\n"),
        ("+OK\r\n+OK go\r\n", "+OK\r\n"),
        ("+OK\r\n", "+OK then nothing\r\n"),
        ("+OK" + "x" * 600, "+OK\r\n"),
    ],
)
async def test_nothing_before_tls_counts(
    greeting: str, stls: str, desk: Desk, tmp_path: Path
) -> None:
    """RFC 2595 section 4: what came in clear text is forgotten, and the password waits."""
    script = {"greeting": greeting, "STLS": stls}
    async with scripted(script, tmp_path, tls=False) as remote:
        await desk.restart(dialer=replace(desk.tools.dialer, stls_port=remote.port))
        harvest = await desk.run(await desk.add(remote.port))
    # With nothing injected it would have gone on to TLS, which this server has not.
    clean = stls == "+OK then nothing\r\n"
    assert harvest.problem == ("UpstreamTls" if clean else "UpstreamFailed")
    assert [line for line in remote.said if line.isascii() and line.isprintable()] in (
        *([], ["STLS"]),
    )


async def test_others_run_while_some_hang(desk: Desk, tmp_path: Path) -> None:
    async with (
        scripted({"greeting": {"hang": True}}, tmp_path) as hanging,
        scripted({}, tmp_path) as good,
    ):
        for number in range(3):
            await desk.add(hanging.port, paused=False, username=f"hang{number}")
        harvest = await desk.run(await desk.add(good.port, username="good"))
        assert (harvest.new, harvest.error) == (1, None)
