"""What holds for every answer, and for the listener."""

import asyncio
import json
import re

import pytest

from api.call import HttpLimits
from api.routes import ROUTES
from net.limits import Connections
from tests.unit.api.conftest import SECRET, WAIT_S, Api, Log, problem

EVERYWHERE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def test_no_row_of_the_table_hides_another() -> None:
    rows = [(route.method, route.path) for route in ROUTES]
    assert len(set(rows)) == len(rows)
    for route in ROUTES:
        assert route.handler.__doc__, route.path


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/api/", 200),
        ("HEAD", "/api/", 200),
        ("OPTIONS", "/api/", 204),
        ("GET", "/api/emails", 401),
        ("GET", "/nothing", 404),
        ("DELETE", "/api/", 405),
        ("POST", "/api/auth/login", 415),
    ],
)
async def test_every_answer_has_these_header_fields(
    api: Api, log: Log, method: str, path: str, status: int
) -> None:
    async with api.client().request(method, path) as answer:
        assert answer.status == status
        assert EVERYWHERE.items() <= answer.headers.items()
        assert "Server" not in answer.headers
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])
    line = await log.line()
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert (line["method"], line["status"]) == (method, status)


async def test_a_client_may_choose_the_id_of_its_request(api: Api, log: Log) -> None:
    for wished, taken in (
        ("a-Z-9", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ("a\u00e9", False),
        ("", False),
    ):
        async with api.client().get("/nothing", headers={"X-Request-Id": wished}) as answer:
            document = await problem(answer, 404, "not-found")
        assert (document["request_id"] == wished) == taken
        await log.line(request_id=document["request_id"])


async def test_a_request_is_one_line_without_its_query(api: Api, log: Log) -> None:
    account = await api.store.accounts.get("ann")
    client = await api.signed_in()
    log.lines.clear()
    async with client.get("/api/emails?folder=trash&limit=3") as answer:
        assert answer.status == 200
    line = dict(await log.line())
    assert len(log.lines) == 1
    assert 0 <= line.pop("ms") < WAIT_S * 1000
    assert line == {
        "event": "api.request",
        "level": "info",
        "method": "GET",
        "path": "/api/emails",
        "status": 200,
        "peer": "127.0.0.1",
        "account": account.id,
        "request_id": answer.headers["X-Request-Id"],
    }


async def test_a_path_stands_in_the_log_as_in_the_table(api: Api, log: Log) -> None:
    client = await api.signed_in()
    for path in ("/api/emails/secret", "/secret"):
        async with client.get(path) as answer:
            assert answer.status == 404
        line = await log.line(request_id=answer.headers["X-Request-Id"])
        assert line.get("path") == ("/api/emails/{id}" if path.startswith("/api/") else None)
    assert "secret" not in str(log.lines)


async def test_head_is_get_without_the_body(api: Api) -> None:
    await api.deliver(b"Subject: x\r\n\r\n")
    client = await api.signed_in()
    async with client.get("/api/emails") as answer:
        length = answer.headers["Content-Length"]
    async with client.head("/api/emails") as answer:
        assert answer.headers["Content-Length"] == length
        assert await answer.read() == b""


async def test_options_names_the_methods_and_needs_nobody(api: Api) -> None:
    for path, allowed in (
        ("/api/emails/x/raw", "GET, HEAD, OPTIONS"),
        ("/api/auth/login", "OPTIONS, POST"),
    ):
        async with api.client().options(path) as answer:
            assert (answer.status, answer.headers["Allow"]) == (204, allowed)
            assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def test_health_touches_nothing(api: Api) -> None:
    api.spoil("DROP TABLE account")
    async with api.client().get("/healthz") as answer:
        assert (answer.status, answer.content_type) == (200, "text/plain")
        assert await answer.text() == "ok"


async def test_the_greeting_tells_what_can_be_done(api: Api) -> None:
    async with api.client().get("/api/") as answer:
        told = await answer.json()
    assert {"mail:read", "account", "admin:write", "metrics"} <= set(told.pop("scopes"))
    assert told == {"name": "Restante", "registration": "invite", "setup_needed": True}


async def test_a_fault_of_ours_is_told_without_detail(api: Api, log: Log) -> None:
    client = await api.signed_in()
    api.spoil("DROP TABLE message")
    async with client.get("/api/emails") as answer:
        document = await problem(answer, 500, "internal-error")
    assert set(document) == {"type", "title", "status", "instance", "code", "request_id"}
    line = await log.line(status=500)
    assert line["level"] == "error"
    assert "message" in str(line["exc_info"])
    async with client.get("/api/") as answer:
        assert answer.status == 200


async def test_a_handler_has_its_time(idle: Api, log: Log) -> None:
    await idle.start(limits=HttpLimits(handler_s=0))
    body = {"login": "ann", "password": SECRET}
    async with idle.client().post("/api/auth/login", json=body) as answer:
        await problem(answer, 503, "busy")
    assert (await log.line(status=503))["level"] == "warning"


async def test_pipelined_requests_are_answered_in_order(api: Api) -> None:
    paths = ["/healthz", "/nothing", "/api/", "/api/emails"] * 20
    octets = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths)
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await api.exchange(octets + last)
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert statuses == [b"200", b"404", b"200", b"401"] * 20 + [b"200"]


async def test_large_requests_do_not_pile_up(api: Api, log: Log) -> None:
    body = json.dumps({"login": "ann", "password": "wrong"}).encode()  # takes 0.3 s
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    fields = b"".join(b"X%d: %s\r\n" % (n, b"x" * 8000) for n in range(60))
    writer.write((b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n") * 30)
    await log.line("api.refused", why="too many octets unanswered")
    assert (await log.line(path="/api/auth/login"))["cut"] == "lost"
    writer.close()


async def test_many_requests_on_one_connection_are_no_flood(api: Api) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"x" * 8000)
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await api.exchange(request * 500 + last)
    assert answer.count(b"HTTP/1.1 200 ") == 501


async def test_an_upgrade_is_not_taken(api: Api) -> None:
    answer = await api.exchange(
        b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\n"
        b"Upgrade: websocket\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_is_asked_for_when_the_client_waits_to_be(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    body = json.dumps({"login": "ann", "password": SECRET}).encode()
    writer.write(
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    async with asyncio.timeout(WAIT_S):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_client_over_its_share_is_told_so(idle: Api, log: Log) -> None:
    connections = Connections(total=9, per_client=1, clock=lambda: 0.0)
    await idle.start(connections=connections)
    _, first = await asyncio.open_connection("127.0.0.1", idle.port)
    first.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await log.line(status=200)
    answer = await idle.exchange(b"")
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 10\r\n" in answer
    assert b'"code":"rate-limited"' in answer
    assert connections.open == 1
    first.close()
    await first.wait_closed()


async def test_connections_are_given_back(idle: Api) -> None:
    connections = Connections(total=1, clock=lambda: 0.0)
    await idle.start(connections=connections)
    for _ in range(5):
        answer = await idle.exchange(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_idle_connection_is_closed(idle: Api) -> None:
    await idle.start(limits=HttpLimits(idle_s=0.1))
    assert await idle.exchange(b"") == b""
    assert await idle.exchange(b"GET /api/ HTTP/1.1\r\nHos") == b""
    answer = await idle.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_stop_lets_an_answer_end_and_an_idle_client_go(api: Api) -> None:
    uid = await api.deliver(b"\r\n" + b"x" * 998 + b"\r\n" * 8_000_000)
    token = await api.token("ann")
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", api.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        f"GET /api/emails/{uid}/raw HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    async with asyncio.timeout(WAIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"Content-Length: (\d+)", head)
        assert size
        assert api.server
        stopping = asyncio.create_task(api.server.stop(WAIT_S))
        assert await idle_reader.read() == b""
        assert not stopping.done()
        assert len(await reader.read()) == int(size[1])
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", api.port)
    api.server = None
    for each in (idle_writer, writer):
        each.close()


async def test_stop_does_not_wait_longer_than_it_may(idle: Api, log: Log) -> None:
    await idle.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", idle.port)
    writer.write(
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: 40\r\n\r\n"
    )
    async with asyncio.timeout(WAIT_S):
        await reader.readuntil(b"\r\n\r\n")
        assert idle.server
        await idle.server.stop(0.2)
        assert await reader.read() == b""
    idle.server = None
    assert (await log.line(path="/api/auth/login"))["cut"] == "shutdown"
    writer.close()
