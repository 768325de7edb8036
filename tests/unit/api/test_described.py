"""What is told of the API is so: statuses were seen, examples fit, each problem has a page."""

import ast
import base64
import json
import re
import socket
from collections import defaultdict
from html import unescape
from typing import Any

import aiohttp
import pytest

from api import description, manual, operations
from api.call import HttpLimits
from api.models import read_body, read_query
from api.operations import DESCRIBED, OPERATIONS, name
from api.problem_pages import PAGES
from api.problems import KINDS
from api.routes import ROUTES, Route, Rule
from auth import totp
from collector.service import Collecting
from collector.worker import Worker
from net.limits import Connections
from store.records import Role
from tests.unit.api.admin import ATTACHED
from tests.unit.api.conftest import SECRET, Api, House, now

NAMED = {name(route): route for route in ROUTES}
DOCUMENT = description.document()
# Faults and load: tests/unit/api/test_app.py has one of each, and any operation may meet them.
ANY_TIME = {500, 503}


def test_every_row_is_described() -> None:
    assert OPERATIONS.keys() == NAMED.keys()
    for route in ROUTES:
        told = OPERATIONS[name(route)]
        assert (route.handler.__doc__ or "").startswith(name(route)), name(route)
        assert operations.summary(route), name(route)
        assert set(told.problems) <= KINDS.keys(), name(route)
        assert (told.body is None) == (route.body is None), name(route)


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_every_example_is_valid(route: Route[Any, Any]) -> None:
    told = OPERATIONS[name(route)]
    if route.body and not route.form:
        read_body(route.body, json.dumps(told.body).encode())
    if told.query:
        assert route.query
        read_query(route.query, [(key, str(value)) for key, value in told.query.items()])
    ast.parse(manual.python(route))
    assert manual.curl(route).count("'") % 2 == 0


def test_every_problem_has_a_page_and_no_page_is_without_one() -> None:
    assert PAGES.keys() == KINDS.keys()
    for slug, page in PAGES.items():
        assert page.cause.endswith("."), slug
        assert page.cure.endswith("."), slug


def test_the_document_holds_together() -> None:
    document = DOCUMENT
    text = json.dumps(document)
    known = {f"#/components/schemas/{model}" for model in document["components"]["schemas"]}
    assert set(re.findall(r'"\$ref": "([^"]+)"', text)) == known
    found = [each for item in document["paths"].values() for each in item.values()]
    ids = [each["operationId"] for each in found]
    assert len(set(ids)) == len(ids)
    linked = re.findall(r'"links": {(.*?)}}}', text)
    assert linked
    for described in found:
        names = [parameter["name"] for parameter in described["parameters"]]
        assert len(set(names)) == len(names)
        for status, response in described["responses"].items():
            if "problem" in json.dumps(response):
                codes = response["description"].split(", ")
                assert {KINDS[code][0] for code in codes} == {int(status)}


async def test_pages_without_a_script(api: Api) -> None:
    client = api.client()
    for path, kind in (
        ("/api/openapi.json", "application/json"),
        ("/api/docs", "text/html"),
        ("/problems/not-found", "text/html"),
    ):
        async with client.get(path) as answer:
            assert (answer.status, answer.content_type) == (200, kind)
            text, tag = await answer.text(), answer.headers["ETag"]
        async with client.get(path, headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        if kind == "text/html":
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert not re.search(r"<script|\son\w+=|javascript:", text)
            assert {link[:1] for link in re.findall(r'href="([^"]*)"', text)} <= {"/"}
    async with client.get("/problems/no-such-problem") as answer:
        assert answer.status == 404


async def test_the_pages_say_what_the_table_says(api: Api) -> None:
    client = api.client()
    async with client.get("/api/docs") as answer:
        docs = unescape(await answer.text())
    for route in DESCRIBED:
        assert f"<code>{name(route)}</code>" in docs
        assert manual.curl(route) in docs
        assert manual.python(route) in docs
    async with client.get("/api/openapi.json") as answer:
        assert await answer.json() == DOCUMENT
    for slug, page in PAGES.items():
        async with client.get(f"/problems/{slug}") as answer:
            shown = unescape(await answer.text())
        assert page.cause in shown
        assert page.cure in shown


class Seen:
    """Asks, and remembers which status came; one that is not listed fails at once."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.statuses: dict[str, set[int]] = defaultdict(set)

    def note(self, route: Route[Any, Any], status: int) -> None:
        listed = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        assert str(status) in listed, (name(route), status)
        self.statuses[name(route)].add(status)

    async def ask(
        self, client: aiohttp.ClientSession, row: str, path: str = "", **given: Any
    ) -> dict[str, Any]:
        """The answer's JSON, if it has any. `path` goes in the place of the row's own."""
        route = NAMED[row]
        if route.body and "data" not in given:
            given.setdefault("json", OPERATIONS[row].body)
        async with client.request(route.method, path or route.path, **given) as answer:
            self.note(route, answer.status)
            if "json" not in answer.content_type:
                return {}
            document: dict[str, Any] = await answer.json()
            return document


def missing(route: Route[Any, Any]) -> str:
    """Its path, of something that is not there."""
    return re.sub("{.*?}", "00000000000", route.path)


async def begun(api: Api, route: Route[Any, Any], token: str, *, octets: int) -> int:
    """The status for a request whose body never comes."""
    head = (
        f"{route.method} {missing(route)} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {octets}\r\n\r\n{{"
    )
    return int((await api.exchange(head.encode())).split(b" ")[1])


async def general(seen: Seen, token: str) -> None:
    """What any operation may answer with, as the administrator whose token it is."""
    api = seen.api
    client, stranger, over = api.client(token), api.client(), api.client("no token of ours")
    async with client.post("/api/tokens", json={"name": "e", "scopes": ["events"]}) as answer:
        narrow = api.client((await answer.json())["token"])
    held = await api.signed_in("bob")
    await api.store.profiles.change("bob", must_change_password=True)
    for route in DESCRIBED:
        row, path, method = name(route), missing(route), route.method
        body = {"json": OPERATIONS[row].body or {}}
        await seen.ask(client, row, f"{path}?no-such=1", **body)  # 400
        encoded = {"Content-Encoding": "gzip"}
        await seen.ask(client, row, path, data=b"x", headers=encoded)  # 415
        if not route.any_host:
            await seen.ask(client, row, path, headers={"Host": "evil.example"}, **body)  # 421
        if route.access is not Rule.NONE:
            await seen.ask(over, row, path, **body)  # 401
            if row != "POST /api/tokens":
                await seen.ask(narrow, row, path, **body)  # 403
            if route.access is Rule.ANY:
                await seen.ask(held, row, path, **body)  # 403
        if method != "GET":
            await seen.ask(stranger, row, path, headers={"Origin": "http://evil.example"})  # 403
        if route.body:
            await seen.ask(client, row, path, json={"no-such": 1})  # 422
            seen.note(route, await begun(api, route, token, octets=1024 * 1024 + 1))  # 413
        if "{" in route.path:
            await seen.ask(client, row, path, **body)  # 404
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        for field in ("Content-Length: x\r\n\r\n", f"X: {'x' * 9000}\r\n\r\n"):  # 400, 431
            octets = await api.exchange((head + field).encode())
            seen.note(route, int(octets.split(b" ")[1]))


async def succeed(seen: Seen, client: aiohttp.ClientSession) -> None:
    """Each operation that can succeed does, as the administrator `client`; and its own problems."""
    api, ask = seen.api, seen.ask
    ann = await api.signed_in("ann")
    assert isinstance(api.parts.house, House)
    api.parts.house.missing = "store"
    await ask(client, "GET /readyz")
    api.parts.house.missing = ""
    await ask(client, "DELETE /api/limits", "/api/limits?ip=192.0.2.1")
    for row in ("GET /healthz", "GET /readyz", "GET /metrics", "GET /api/"):
        await ask(client, row)
    for row in (
        "GET /api/openapi.json",
        "GET /api/docs",
        "GET /api/server",
        "GET /api/config",
        "GET /api/server/doctor",
    ):
        await ask(client, row)
    await versions(seen, client, "/api/openapi.json", "/api/docs")
    await ask(client, "GET /problems/{slug}", "/problems/not-found")
    await versions(seen, client, "/problems/{slug}", place="/problems/not-found")

    await ask(client, "POST /api/domains", json={"name": "example.net"})
    await ask(client, "POST /api/domains", json={"name": "example.net"})
    await ask(client, "GET /api/domains")
    await managed(seen, client, "/api/domains/{name}", "/api/domains/example.net")
    await ask(client, "GET /api/domains/{name}/dns", "/api/domains/example.net/dns")
    check = "POST /api/domains/{name}/dns/check"
    await ask(client, check, "/api/domains/example.net/dns/check")
    await ask(client, "DELETE /api/domains/{name}", "/api/domains/example.org")
    await ask(client, "PUT /api/domains/{name}", "/api/domains/example.org",
              json={"alias_of": "example.net"})  # fmt: skip
    await ask(client, "DELETE /api/domains/{name}", "/api/domains/example.net")

    await ask(client, "POST /api/users")
    await ask(client, "POST /api/users")
    await ask(client, "GET /api/users")
    await ask(client, "POST /api/users/{id}/password", "/api/users/ada/password")
    await managed(seen, client, "/api/users/{id}", "/api/users/ada")
    await ask(client, "PUT /api/users/{id}", "/api/users/root", json={"role": "user"})
    await ask(client, "DELETE /api/users/{id}", "/api/users/root")
    await ask(client, "DELETE /api/users/{id}", "/api/users/ada")

    address = await ask(client, "POST /api/addresses")
    taken = {"address": "ann@example.org"}
    await ask(client, "POST /api/addresses", json=taken)
    await ask(ann, "POST /api/addresses", json={"address": "b@example.org"})
    await ask(client, "GET /api/addresses")
    place = f"/api/addresses/{address['id']}"
    await managed(seen, client, "/api/addresses/{id}", place)
    await ask(client, "DELETE /api/addresses/{id}", place)

    invite = await ask(client, "POST /api/invites", json={})
    await ask(client, "GET /api/invites")
    code = {"invite": invite["link"].partition("=")[2]}
    guest = {"login": "cid", "password": SECRET}
    for wish in (guest | {"login": "ann"} | code, guest | code, guest | {"login": "d"} | code):
        await ask(client, "POST /api/auth/register", json=wish)
    invite = await ask(client, "POST /api/invites", json={})
    await ask(client, "DELETE /api/invites/{id}", f"/api/invites/{invite['id']}")

    await mail(seen, ann)
    await collectors(seen)
    await account(seen)


async def mail(seen: Seen, ann: aiohttp.ClientSession) -> None:
    ask, api = seen.ask, seen.api
    uid = await api.deliver(ATTACHED)
    email = f"/api/emails/{uid}"
    await ask(ann, "GET /api/emails")
    parts = ("", "/headers", "/attachments", "/raw", "/body", "/attachments/1")
    rows = {f"{email}{part}": f"/api/emails/{{id}}{part}".replace("/1", "/{n}") for part in parts}
    for place, path in rows.items():
        await ask(ann, f"GET {path}", place)
        if OPERATIONS[f"GET {path}"].versioned:
            await versions(seen, ann, path, place=place)
        if path.endswith(("/raw", "{n}")):
            for octets in ("0-1", "99999-"):
                await ask(ann, f"GET {path}", place, headers={"Range": f"bytes={octets}"})
    put, delete = "PUT /api/emails/{id}", "DELETE /api/emails/{id}"
    for row in (put, delete):
        await ask(ann, row, email, headers={"If-Match": '"x"'})
    await ask(ann, put, email, json={"starred": True})
    await ask(ann, delete, email)
    await api.store.profiles.change("ann", quota_octets=1)
    await ask(ann, put, email, json={"folder": "inbox"})
    await ask(ann, delete, f"{email}?final=true")
    await ask(ann, put, email, json={"folder": "inbox"})
    for place, path in rows.items():
        await ask(ann, f"GET {path}", place)


async def collectors(seen: Seen) -> None:
    """eve's, at a provider that is shut, one that never answers, and some that nobody can use."""
    ask, api = seen.ask, seen.api
    await api.add_user("eve", None)
    eve = await api.signed_in("eve")
    await ask(eve, "POST /api/collectors/discover")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))
        remote = {"address": "eve@example.net", "password": "s", "host": "pop.example.net"}
        ports = [server.getsockname()[1] for server in (shut, silent)]
        made = await ask(eve, "POST /api/collectors", json=remote | {"test": False})
        await ask(eve, "POST /api/collectors", json=remote | {"test": False})
        place = f"/api/collectors/{made['id']}"
        configure = "POST /api/email-receive/configure"
        for row, path in (
            ("POST /api/collectors", "/api/collectors"),
            (configure, ""),
            ("PUT /api/collectors/{id}", place),
        ):
            for port in ports:
                await ask(eve, row, path, json=remote | {"port": port, "test": True})
        for name in ("x", "x"):
            wish = remote | {"test": False, "username": name}
            await ask(eve, configure, json=wish)
        await ask(eve, "PUT /api/collectors/{id}", place, json=remote | {"username": "x"})
    await ask(eve, "GET /api/collectors")
    await ask(eve, "POST /api/collectors/{id}/test", f"{place}/test")
    await managed(seen, eve, "/api/collectors/{id}", place)
    run, receive = "POST /api/collectors/{id}/run", "POST /api/email-receive/receive"
    for row, path in ((run, f"{place}/run"), (receive, "")):
        job = await ask(eve, row, path, json={})
        await ask(eve, row, path, json={})
        await ask(eve, "GET /api/jobs/{id}", f"/api/jobs/{job['job_id']}")
        await ask(eve, "DELETE /api/jobs/{id}", f"/api/jobs/{job['job_id']}")
    assert isinstance(api.parts.collecting, Collecting)
    worker = Worker(api.parts.collecting.tools)
    worker.start()
    for row, path in ((run, f"{place}/run"), (receive, "")):
        await ask(eve, row, path, json={"wait_s": 60})
    await worker.stop()
    await ask(eve, "DELETE /api/collectors/{id}", place)
    await ask(eve, receive, json={"collector_id": made["id"]})


async def versions(seen: Seen, client: aiohttp.ClientSession, *paths: str, place: str = "") -> None:
    for path in paths:
        headers = {"If-None-Match": "*"}
        await seen.ask(client, f"GET {path}", place or path, headers=headers)


async def managed(seen: Seen, client: aiohttp.ClientSession, path: str, place: str) -> None:
    """Read and changed, and in vain in another version."""
    await seen.ask(client, f"GET {path}", place)
    await versions(seen, client, path, place=place)
    await seen.ask(client, f"PUT {path}", place)
    for method in ("PUT", "DELETE"):
        await seen.ask(client, f"{method} {path}", place, headers={"If-Match": '"x"'})


async def account(seen: Seen) -> None:
    """bob, who may do so again, signs in, looks after his account, and signs out."""
    ask, stranger = seen.ask, seen.api.client()
    await seen.api.store.profiles.change("bob", must_change_password=False)
    credentials = {"login": "bob", "password": SECRET}
    given = await ask(stranger, "POST /api/auth/login", json=credentials)
    await ask(stranger, "POST /api/auth/login")
    bob = seen.api.client(given["access_token"])
    await ask(bob, "GET /api/me")
    await versions(seen, bob, "/api/me")
    await ask(bob, "PUT /api/me")
    await ask(bob, "PUT /api/me", headers={"If-Match": '"x"'})
    for row in ("GET /api/me/client-config", "GET /api/sessions", "GET /api/limits"):
        await ask(bob, row)
    for path, body in (
        ("/api/tokens", {"name": "t", "scopes": ["mail:read"]}),
        ("/api/app-passwords", {"name": "p"}),
    ):
        made = await ask(bob, f"POST {path}", json=body)
        await ask(bob, f"POST {path}", json=body)
        await ask(bob, f"GET {path}")
        await ask(bob, f"DELETE {path}/{{id}}", f"{path}/{made['id']}")
    right, wrong = {"current": SECRET}, {"current": "wrong"}
    await ask(bob, "POST /api/auth/recovery-codes", json=wrong)
    [code, *_] = (await ask(bob, "POST /api/auth/recovery-codes", json=right))["recovery_codes"]
    secret = (await ask(bob, "POST /api/auth/totp", json=right))["secret"]
    step = int(now().timestamp()) // totp.STEP_S
    on = {"enabled": True, "code": totp.code(base64.b32decode(secret), step)}
    await ask(bob, "PUT /api/auth/totp", json=on)
    await ask(bob, "POST /api/auth/totp", json=right)
    await ask(bob, "PUT /api/auth/totp", json={"enabled": False, **right})
    await ask(bob, "PUT /api/auth/totp", json={"enabled": False, **wrong})
    renewed = {"refresh_token": given["refresh_token"]}
    await ask(stranger, "POST /api/auth/refresh", json=renewed)
    await ask(stranger, "POST /api/auth/refresh", json=renewed)  # which ends the session
    bob = await seen.api.signed_in("bob")
    sessions = await ask(bob, "GET /api/sessions")
    other = await ask(stranger, "POST /api/auth/login", json=credentials)
    assert other["access_token"]
    new = "sobriety-lampoon-quartz-9"
    await ask(bob, "POST /api/auth/password", json={"current": SECRET, "new": new})
    [first, *_] = sessions["items"]
    await ask(bob, "DELETE /api/sessions/{id}", f"/api/sessions/{first['id']}")
    await ask(stranger, "POST /api/auth/recover")
    recovery = {"login": "bob", "recovery_code": code, "new": SECRET}
    await ask(stranger, "POST /api/auth/recover", json=recovery)
    bob = await seen.api.signed_in("bob")
    await ask(bob, "POST /api/auth/logout", json={})


async def slow_or_too_many(seen: Seen, token: str) -> None:
    """Bodies that do not come, and clients that are one too many."""
    api = seen.api
    assert api.server
    first = api.server
    await api.start(limits=HttpLimits(body_s=0.02, linger_s=0.02))
    slow = api.server
    for route in (each for each in DESCRIBED if each.body):
        seen.note(route, await begun(api, route, token, octets=40))  # 408
    await api.start(connections=Connections(total=0, clock=lambda: 0))
    for route in DESCRIBED:
        octets = await api.exchange(b"")
        seen.note(route, int(octets.split(b" ")[1]))  # 429
    for server in (first, slow):
        await server.stop(1)


async def test_every_status_that_is_listed_was_seen(idle: Api) -> None:
    api = idle
    await api.start(limits=HttpLimits(linger_s=0.02))
    await api.add_user("root", None, role=Role.ADMIN)
    token = await api.token("root")
    seen = Seen(api)
    await general(seen, token)
    await succeed(seen, api.client(token))
    await slow_or_too_many(seen, token)
    unseen: set[tuple[str, int]] = set()
    for route in DESCRIBED:
        listed = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        never = set(map(int, listed)) - seen.statuses[name(route)] - ANY_TIME
        unseen |= {(name(route), status) for status in never}
    assert not unseen
