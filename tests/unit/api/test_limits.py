"""Requests in 15 minutes, whose they are, and proxies in between."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from api.call import Site
from api.doors import check_way, client_of
from net.rates import Rates
from store.records import Role
from tests.unit.api.conftest import SECRET, Api, problem
from tests.unit.api.test_page import Browser

LIMITS = {"auth": 5, "api": 200, "general": 100, "page": 1000}
LOGIN = "/api/auth/login"
GOOD = {"login": "ann", "password": SECRET}
PROXY = Site(proxies=[ip_network("127.0.0.0/8")])


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


async def limited(idle: Api, site: Site | None = None, **limits: int) -> Clock:
    clock = Clock()
    await idle.start(rates=Rates(LIMITS | limits, clock=clock), site=site or Site())
    return clock


async def test_the_sixth_sign_in_of_15_minutes_waits(idle: Api) -> None:
    clock = await limited(idle)
    client = idle.client()
    for n in range(5):
        async with client.post(LOGIN, json=GOOD) as answer:
            assert answer.status == 200
            assert answer.headers["RateLimit-Policy"] == '"auth";q=5;w=900'
            assert answer.headers["RateLimit"] == f'"auth";r={4 - n};t={900 - 10 * n}'
        clock.now += 10
    async with client.post(LOGIN, json=GOOD) as answer:
        document = await problem(answer, 429, "rate-limited")
        assert answer.headers["Retry-After"] == "850"
        assert answer.headers["RateLimit"] == '"auth";r=0;t=850'
    assert (document["class"], document["limit"], document["window_s"]) == ("auth", 5, 900)
    assert document["retry_at"].endswith("Z")
    for path in ("/api/auth/register", "/api/auth/recover"):
        async with client.post(path, json={}) as answer:
            assert answer.status == 429
    async with client.get("/api/") as answer:  # another class
        assert answer.status == 200
    clock.now += 849
    async with client.post(LOGIN, json=GOOD) as answer:
        assert answer.headers["Retry-After"] == "1"
    clock.now += 1
    async with client.post(LOGIN, json=GOOD) as answer:
        assert answer.status == 200


async def test_the_201st_call_waits_whatever_it_asks_for(idle: Api) -> None:
    await limited(idle)
    client = await idle.signed_in()
    for path in ("/api/me", "/api/nothing", "/api/emails?no-such=1", "/api/"):
        for _ in range(50):
            async with client.get(path) as answer:
                assert answer.status in (200, 400, 404)
    for path in ("/api/me", "/api/nothing"):
        async with client.get(path) as answer:
            await problem(answer, 429, "rate-limited")
    async with client.get("/login") as answer:
        assert answer.status == 200


async def test_a_stranger_cannot_lock_out_a_signed_in_page(idle: Api) -> None:
    await limited(idle, api=3, general=3, page=10)
    browser = Browser(idle)
    await browser.sign_in()
    stranger = Browser(idle)
    stranger.cookies = {"restante_local": "x" * 43}  # it counts as no session
    for path in ("/api/me", "/nothing"):
        for _ in range(4):
            await stranger.status("GET", path)
        assert await stranger.status("GET", path) == 429
    for _ in range(9):
        assert await browser.status("GET", "/api/me") == 200
    async with browser.ask("GET", "/api/me") as answer:
        await problem(answer, 429, "rate-limited")
        assert answer.headers["RateLimit-Policy"] == '"page";q=10;w=900'


async def test_only_failures_count_where_that_is_set(idle: Api) -> None:
    await limited(idle, Site(failures_only=True), auth=2)
    client = idle.client()
    for _ in range(4):
        async with client.post(LOGIN, json=GOOD) as answer:
            assert answer.status == 200
    for body in ({"login": "x", "password": "x"}, {"login": "x"}):
        async with client.post(LOGIN, json=body) as answer:
            assert answer.status in (401, 422)
    async with client.post(LOGIN, json=GOOD) as answer:
        assert answer.status == 429


async def test_exempt_networks_and_probes_are_not_counted(idle: Api) -> None:
    await limited(idle, Site(exempt=[ip_network("127.0.0.1")]), auth=1, api=1, general=1)
    for method, path in (("POST", LOGIN), ("GET", "/api/"), ("GET", "/login")):
        for _ in range(3):
            async with idle.client().request(method, path, json=GOOD) as answer:
                assert answer.status == 200
                assert "RateLimit" not in answer.headers


async def test_probes_of_this_machine_are_not_counted(idle: Api) -> None:
    await limited(idle, general=1)
    for _ in range(3):
        async with idle.client().get("/healthz") as answer:
            assert answer.status == 200


async def test_limits_are_shown_and_forgotten(idle: Api) -> None:
    await limited(idle)
    await idle.add_user("root", None, role=Role.ADMIN)
    ann, root = await idle.signed_in(), await idle.signed_in("root")
    async with ann.get("/api/limits") as answer:
        left = {each["class"]: each["left"] for each in (await answer.json())["items"]}
    assert left == {"auth": 3, "api": 199, "general": 100}
    async with ann.delete("/api/limits?ip=127.0.0.1") as answer:
        await problem(answer, 403, "scope-missing")
    async with root.delete("/api/limits?ip=x") as answer:
        await problem(answer, 400, "bad-query")
    async with root.delete("/api/limits?ip=127.0.0.1") as answer:
        assert answer.status == 204
    async with root.get("/api/limits") as answer:
        left = {each["class"]: each["left"] for each in (await answer.json())["items"]}
    assert left == {"auth": 5, "api": 199, "general": 100}


async def test_behind_a_trusted_proxy_each_client_counts_alone(idle: Api) -> None:
    await limited(idle, PROXY, auth=1)
    for client, status in (
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),  # of the same /64
        ("2001:db8:0:1::1", 200),
        ("198.51.100.1, 192.0.2.1", 429),  # what a client writes itself does not count
    ):
        fields = {"X-Forwarded-For": client, "Host": "mail.example.org"}
        async with idle.client().post(LOGIN, json=GOOD, headers=fields) as answer:
            assert answer.status == status, client


async def test_a_proxy_that_nobody_named_is_told_so(api: Api) -> None:
    fields = {"X-Forwarded-For": "192.0.2.1"}
    async with api.client().get("/api/", headers=fields) as answer:
        await problem(answer, 421, "proxy-not-trusted")


async def test_behind_tls_of_a_proxy_the_cookie_is_for_tls_alone(idle: Api) -> None:
    await idle.start(site=PROXY)
    fields = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    fields |= {"Host": "mail.example.org", "Origin": "https://mail.example.org"}
    browser = Browser(idle)
    async with browser.ask("GET", "/login", headers=dict(fields)) as answer:
        token = (await answer.text()).partition('csrf_token" value="')[2][:64]
    form: dict[str, Any] = {"login": "ann", "password": SECRET, "csrf_token": token}
    async with browser.ask("POST", "/login", headers=dict(fields), data=form) as answer:
        assert answer.status == 303
    for field in browser.given:
        assert field.startswith("__Host-restante=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} == set(field.split("; ")[1:])
    async with browser.ask("GET", "/api/sessions", headers=dict(fields)) as answer:
        assert (await answer.json())["items"][0]["ip"] == "192.0.2.1"


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


class Transport:
    def __init__(self, ip: str) -> None:
        self._ip = ip

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._ip, 4000) if name == "peername" else default


def client_behind(ip: str, fields: Mapping[str, str]) -> tuple[str, str]:
    request = make_mocked_request("GET", "/", headers=fields, transport=Transport(ip))
    peer, scheme = client_of(request, PROXIES)
    return peer.ip, scheme


@pytest.mark.parametrize(
    ("ip", "forwarded", "client"),
    [
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.9,198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.7", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense, 10.0.0.7", "10.0.0.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
    ],
)
def test_who_the_client_is(ip: str, forwarded: str, client: str) -> None:
    assert client_behind(ip, {"X-Forwarded-For": forwarded})[0] == client


@pytest.mark.parametrize(
    ("ip", "told", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTPS", "https"),
        ("10.0.0.1", "http", "http"),
        ("10.0.0.1", "wss", "http"),
        ("192.0.2.1", "https", "http"),
    ],
)
def test_which_scheme_it_used(ip: str, told: str, scheme: str) -> None:
    assert client_behind(ip, {"X-Forwarded-Proto": told})[1] == scheme


@pytest.mark.parametrize(
    ("ip", "may"), [("192.0.2.1", False), ("10.0.0.1", True), ("127.0.0.1", True), ("::1", True)]
)
def test_plain_http_is_for_this_machine_and_trusted_proxies(ip: str, *, may: bool) -> None:
    request = make_mocked_request("GET", "/", transport=Transport(ip))
    assert check_way(request, PROXIES) is may
