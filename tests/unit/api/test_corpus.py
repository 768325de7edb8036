"""Real mail, and mail that others found hard to read, over the API."""

import re
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.api.conftest import Api

CORPUS = Path(__file__).parents[4] / "shared" / "data" / "corpus"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[2] / "corpora" / "content.toml").read_text("utf-8")
)


def canonical(octets: bytes) -> bytes:
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


async def told(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, (path, await answer.text())
        return await answer.json()


async def test_every_message_is_listed_and_shown(api: Api) -> None:
    if not CORPUS.is_dir():
        pytest.skip("../shared/data/corpus is not beside this checkout")
    files = sorted(CORPUS.glob("*/*.eml"))
    assert len(files) > 300
    delivered = {await api.deliver(canonical(file.read_bytes())): file for file in files}
    await api.store.indexer.catch_up()
    client = await api.signed_in()
    rows: dict[str, Any] = {}
    following: str | None = ""
    while following is not None:
        page = await told(client, "/api/emails?limit=200" + following)
        rows |= {row["id"]: row for row in page["items"]}
        following = f"&cursor={page['next']}" if page["next"] else None
    assert rows.keys() == delivered.keys()
    found = {}
    for uid, file in delivered.items():
        email = await told(client, f"/api/emails/{uid}?headers=true")
        assert email["limit"] is None, file
        assert email["body"] is not None
        for member in ("subject", "from", "snippet", "attachment_count"):
            assert email[member] == rows[uid][member], (file, member)
        listed = await told(client, f"/api/emails/{uid}/attachments")
        assert listed["items"] == email["attachments"]
        found[f"{file.parent.name}/{file.name}"] = email
    assert len(EXPECTED) >= 40
    for name, expected in EXPECTED.items():
        email = found[name]
        assert email["subject"] == expected["subject"], name
        assert email["from"]["address"] == expected["from"], name
        assert [each["name"] for each in email["attachments"]] == expected["attachments"], name
