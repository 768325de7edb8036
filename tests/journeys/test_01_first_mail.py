"""One mail, end to end: in by SMTP, out by POP3 over TLS and by the REST API."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mail.address import Address
from tests.kit import PASSWORD, Live, body_of, live_server, retrieved
from tests.shapes import message


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_server(tmp_path) as live:
        live.add_user("ann", "ann@example.test", admin_role=True)
        yield live


def call(live: Live, path: str, *, token: str = "", body: object = None) -> tuple[Any, bytes]:
    request = urllib.request.Request(f"http://{live.http}{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        octets = answer.read()
        parsed = json.loads(octets) if "json" in answer.headers["Content-Type"] else None
        return parsed, octets


def sign_in(live: Live, login: str) -> str:
    answer, _ = call(live, "/api/auth/login", body={"login": login, "password": PASSWORD})
    token: str = answer["access_token"]
    return token


def test_one_id_and_the_same_octets_everywhere(live: Live) -> None:
    content = message(2)
    kept = live.send(content, "ann@example.test")

    client = live.pop3_client("ann@example.test")
    count, octets = client.stat()
    assert count == 1
    assert client.uidl()[1] == [f"1 {kept}".encode()]
    assert client.list()[1] == [f"1 {octets}".encode()]
    by_pop3 = retrieved(client, 1)
    assert len(by_pop3) == octets
    client.quit()

    token = sign_in(live, "ann")
    listed, _ = call(live, "/api/emails", token=token)
    [row] = listed["items"]
    assert row["id"] == kept
    assert row["subject"] == "Mixed shapes, number 2"
    assert row["size"] == octets
    shown, _ = call(live, f"/api/emails/{kept}", token=token)
    assert shown["id"] == kept
    _, by_api = call(live, f"/api/emails/{kept}/raw", token=token)

    assert by_api == by_pop3
    assert body_of(by_pop3) == content


def test_the_trace_lines_say_how_it_came(live: Live) -> None:
    kept = live.send(message(0), "Ann@Example.Test", sender="bob@example.net")
    [stored] = live.fetch("ann").values()
    lines = stored.split(b"\r\n")
    assert lines[0] == b"Return-Path: <bob@example.net>"
    assert lines[1] == b"Delivered-To: Ann@example.test"
    assert lines[2] == b"Received: from client.example.net ([127.0.0.1])"
    assert lines[3] == f"\tby mail.example.test with ESMTP id {kept}".encode()
    assert lines[4] == b"\tfor <Ann@example.test>;"


def test_several_recipients_share_one_arrival(live: Live) -> None:
    live.add_user("eve", "eve@example.test")
    live.run(live.store.domains.add_address(Address.parse("ann2@example.test"), "ann"))
    kept = live.send(message(0), "ann@example.test", "eve@example.test", "ann2@example.test")
    for user in ("ann", "eve"):
        messages = live.fetch(user)
        assert list(messages) == [kept]  # two addresses of one account: one message
        assert b"for <" not in messages[kept].split(b";")[0]
        assert body_of(messages[kept]) == message(0)


def test_deleting_takes_effect_at_quit_and_only_then(live: Live) -> None:
    kept = [live.send(message(n), "ann@example.test") for n in range(3)]
    client = live.pop3_client("ann")
    client.dele(2)
    client.close()  # the line drops
    client = live.pop3_client("ann")
    assert client.stat()[0] == 3
    client.dele(2)
    client.quit()
    assert list(live.fetch("ann")) == [kept[0], kept[2]]
    trash, _ = call(live, "/api/emails?folder=trash", token=sign_in(live, "ann"))
    assert [row["id"] for row in trash["items"]] == [kept[1]]


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    with live_server(tmp_path) as live:
        live.add_user("ann", "ann@example.test")
        kept = {live.send(message(n), "ann@example.test"): message(n) for n in range(5)}
    with live_server(tmp_path) as live:
        found = {uid: body_of(stored) for uid, stored in live.fetch("ann").items()}
    assert found == kept


def test_a_line_of_65534_octets_comes_back(live: Live) -> None:
    content = b"Subject: long\r\n\r\n" + b"y" * 65_534 + b"\r\n"
    live.send(content, "ann@example.test")
    [stored] = live.fetch("ann").values()
    assert body_of(stored) == content


def test_postmaster_always_has_a_mailbox(live: Live) -> None:
    live.add_user("eve", "eve@example.test")
    live.send(message(0), "postmaster@example.test")
    live.send(message(0), "Postmaster")
    assert len(live.fetch("ann")) == 2
    assert not live.fetch("eve")
