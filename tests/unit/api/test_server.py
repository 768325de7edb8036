"""The server as a whole: health, readiness, metrics, what it is and how it is set."""

import re

from tests.unit.api.admin import signed_in_admin
from tests.unit.api.conftest import Api, House, problem

LINE = re.compile(r'(?P<name>[a-z0-9_]+)(\{[a-z]+="(?P<value>\w+)"\})? (?P<number>[0-9.]+)')


async def metrics(api: Api) -> dict[str, float]:
    """By name, with the label's value behind a dot; after what the text format demands."""
    async with api.client().get("/metrics", headers={"Host": "192.0.2.1:9090"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await answer.text()
    assert text.endswith("\n")
    found: dict[str, float] = {}
    told: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in told
            told[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.fullmatch(line)
            assert match, line
            assert match["name"] in told
            key = match["name"] + (f".{match['value']}" if match["value"] else "")
            assert key not in found
            found[key] = float(match["number"])
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in told.items())
    return found


async def test_metrics_count_from_this_machine_without_a_credential(api: Api) -> None:
    before = await metrics(api)
    assert before["restante_mail_kept_total"] == 0
    assert before["restante_store_queue_jobs"] == 3
    assert before["restante_connections.http"] == 2
    for path in ("/nothing", "/api/users", "/api/"):
        async with api.client().get(path):
            pass
    after = await metrics(api)
    told = {name: after[name] - before.get(name, 0) for name in after}
    assert told["restante_http_answers_total.4xx"] == 2
    assert told["restante_http_answers_total.2xx"] == 2  # the first of the metrics too


async def test_readiness_in_parts_for_this_machine(api: Api) -> None:
    house = api.parts.house
    assert isinstance(house, House)
    async with api.client().get("/readyz", headers={"Host": "192.0.2.1"}) as answer:
        assert answer.status == 200
        every = {"listeners": True, "store": True, "space": True}
        assert await answer.json() == {"ready": True, "parts": every}
    house.missing = "space"
    async with api.client().get("/readyz") as answer:
        assert answer.status == 503
        assert await answer.json() == {"ready": False, "parts": every | {"space": False}}
    async with api.client("x").get("/readyz") as answer:
        await problem(answer, 401, "not-signed-in")
    admin = await signed_in_admin(api)
    async with admin.get("/readyz") as answer:
        assert answer.status == 503


async def test_what_the_server_is(api: Api) -> None:
    admin = await signed_in_admin(api)
    await api.deliver(b"Subject: x\r\n\r\n")
    async with admin.get("/api/server") as answer:
        assert answer.status == 200
        found = await answer.json()
    store = found.pop("store")
    assert found.pop("started_at").endswith("Z")
    assert found == {
        "version": "1.2.3",
        "hostname": "mail.example.org",
        "listeners": {"smtp": ["127.0.0.1:2525"]},
        "certificates": [{"sha256": "5A:1C", "days_left": 90}],
        "backup_age_s": 7200,
    }
    assert (store["accounts"], store["messages"], store["free_octets"]) == (3, 1, 1000)
    assert store["file_octets"] > store["stored_octets"] > 0


async def test_how_it_is_set(api: Api) -> None:
    admin = await signed_in_admin(api)
    async with admin.get("/api/config") as answer:
        [setting] = (await answer.json())["items"]
    assert setting == {
        "key": "smtp.listen",
        "value": ["[::]:25"],
        "source": "file",
        "default": [],
        "meaning": "Where mail comes in.",
        "accepted": "a list",
    }
    async with (await api.signed_in("ann")).get("/api/config") as answer:
        await problem(answer, 403, "scope-missing")
