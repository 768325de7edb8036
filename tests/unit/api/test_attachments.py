"""Attachments and parts of messages, octet for octet and without harm."""

import base64
import hashlib

import pytest
from yarl import URL

from tests.unit.api.conftest import Api, problem

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


def attached(octets: bytes, *, kind: str = "image/png", name: str = 'filename="a.png"') -> bytes:
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n'
        + f"Content-Type: {kind}\r\nContent-Disposition: attachment; {name}\r\n".encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + encoded
        + b"--b--\r\n"
    )


async def test_an_attachment_is_told_and_given(api: Api) -> None:
    octets = bytes(range(256)) * 5000  # several blocks
    uid = await api.deliver(attached(octets, kind="application/x-thing", name='filename="a.bin"'))
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}/attachments") as answer:
        (told,) = (await answer.json())["items"]
    assert told == {
        "n": 1,
        "name": "a.bin",
        "type": "application/x-thing",
        "sniffed_type": None,
        "size": len(octets),
        "sha256": hashlib.sha256(octets).hexdigest(),
        "content_id": None,
    }
    async with client.get(f"/api/emails/{uid}/attachments/1") as answer:
        assert await answer.read() == octets
        head = answer.headers
    assert head["Content-Type"] == "application/octet-stream"
    assert head["Content-Disposition"] == "attachment; filename=\"a.bin\"; filename*=UTF-8''a.bin"
    assert head["Content-Security-Policy"].startswith("sandbox")
    assert head["X-Content-Type-Options"] == "nosniff"
    assert head["Content-Length"] == str(len(octets))
    etag = {"If-None-Match": head["ETag"]}
    async with client.get(f"/api/emails/{uid}/attachments/1", headers=etag) as answer:
        assert answer.status == 304


@pytest.mark.parametrize("number", ["0", "2", "-1", "01", "1.0", "x", "%31%00", "9" * 30, "٢"])
async def test_there_is_no_other_attachment(api: Api, number: str) -> None:
    uid = await api.deliver(attached(PNG))
    client = await api.signed_in()
    async with client.get(URL(f"/api/emails/{uid}/attachments/{number}")) as answer:
        await problem(answer, 404, "not-found")


@pytest.mark.parametrize(
    ("octets", "kind", "shown"),
    [
        (PNG, "image/png", "image/png"),
        (PNG, "text/html", "image/png"),
        (b"GIF89a", "image/gif", "image/gif"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", "image/jpeg"),
        (SVG, "image/svg+xml", None),
        (SVG, "image/png", None),
        (b"<script>alert(1)</script>", "text/html", None),
        (b"%PDF-1.7", "application/pdf", None),
        (b"", "image/png", None),
    ],
)
async def test_only_pictures_are_shown_in_place(
    api: Api, octets: bytes, kind: str, shown: str | None
) -> None:
    """By what they are; never what a browser would run in our name."""
    uid = await api.deliver(attached(octets, kind=kind))
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}/attachments/1?inline=1") as answer:
        assert await answer.read() == octets
        assert answer.headers["Content-Type"] == (shown or "application/octet-stream")
        place = answer.headers["Content-Disposition"].partition(";")[0]
        assert place == ("inline" if shown else "attachment")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    async with client.get(f"/api/emails/{uid}/attachments/1") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("given_name", "field"),
    [
        (
            "filename*=utf-8''%e2%82%ac%20rates",
            "filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates",
        ),
        (
            "filename*=utf-8''a%0d%0aX-Evil:%20y",
            "filename=\"aX-Evil_ y\"; filename*=UTF-8''aX-Evil%3A%20y",
        ),
        ("filename*=utf-8''..%2F..%2Fetc%2Fpasswd", "filename=\"passwd\"; filename*=UTF-8''passwd"),
        (r'filename="a\"b.txt"', "filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        (
            "filename*=utf-8''gpj.%e2%80%aeexe.txt",
            "filename=\"gpj.exe.txt\"; filename*=UTF-8''gpj.exe.txt",
        ),
    ],
)
async def test_a_name_is_made_anew(api: Api, given_name: str, field: str) -> None:
    uid = await api.deliver(attached(b"x", name=given_name))
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}/attachments/1") as answer:
        assert answer.headers["Content-Disposition"] == f"attachment; {field}"


async def test_ranges(api: Api) -> None:
    """RFC 9110 section 14: the octets that are asked for, or all where that is no range."""
    octets = bytes(range(256)) * 3000
    uid = await api.deliver(attached(octets))
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}/raw") as answer:
        raw = await answer.read()
        tag = answer.headers["ETag"]
    for path, whole in (
        (f"/api/emails/{uid}/raw", raw),
        (f"/api/emails/{uid}/attachments/1", octets),
    ):
        size = len(whole)
        for wanted, first, last in (
            ("bytes=0-0", 0, 0),
            ("bytes=0-", 0, size - 1),
            ("bytes=300000-700000", 300_000, min(700_000, size - 1)),
            (f"bytes={size - 1}-", size - 1, size - 1),
            ("bytes=-5", size - 5, size - 1),
            (f"bytes=-{size * 2}", 0, size - 1),
            (f"bytes=5-{size * 2}", 5, size - 1),
        ):
            async with client.get(path, headers={"Range": wanted}) as answer:
                assert answer.status == 206, wanted
                assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
                assert await answer.read() == whole[first : last + 1], wanted
        for wanted in (f"bytes={size}-", "bytes=-0"):
            async with client.get(path, headers={"Range": wanted}) as answer:
                await problem(answer, 416, "range-not-satisfiable")
                assert answer.headers["Content-Range"] == f"bytes */{size}"
        for wanted in ("bytes=", "bytes=-", "bytes=2-1", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4"):
            async with client.get(path, headers={"Range": wanted}) as answer:
                assert (answer.status, len(await answer.read())) == (200, size), wanted
        async with client.head(path, headers={"Range": "bytes=0-0"}) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))
    for condition, status in ((tag, 206), ('"x"', 200), ("Mon, 23 Nov 2026 09:00:00 GMT", 200)):
        headers = {"Range": "bytes=0-0", "If-Range": condition}
        async with client.get(f"/api/emails/{uid}/raw", headers=headers) as answer:
            assert answer.status == status


async def test_html_is_made_safe_and_text_is_told(api: Api) -> None:
    uid = await api.deliver(
        b"Content-Type: text/html; charset=utf-8\r\n\r\n"
        b"<p onclick=x()>Hello <script>alert(1)</script><img src=https://spy.example/x>"
        b"<a href='javascript:x()'>there</a></p>\r\n"
    )
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}") as answer:
        body = (await answer.json())["body"]
    assert body["text"] == "Hello there"
    for gone in ("onclick", "script", "spy.example"):
        assert gone not in body["html"]
    for wish, members in (("text", ("text",)), ("html", ("html",)), ("none", ())):
        async with client.get(f"/api/emails/{uid}?body={wish}") as answer:
            found = (await answer.json())["body"]
        assert found == ({m: body[m] if m in members else None for m in body} if members else None)


async def test_what_is_beyond_a_limit_can_be_had_raw(api: Api) -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(60)
    )
    uid = await api.deliver(b"Subject: deep\r\n" + deep + b"\r\nend\r\n")
    await api.store.indexer.catch_up()
    client = await api.signed_in()
    async with client.get("/api/emails") as answer:
        (row,) = (await answer.json())["items"]
    assert (row["subject"], row["attachment_count"]) == ("deep", None)
    async with client.get(f"/api/emails/{uid}") as answer:
        email = await answer.json()
    assert email["limit"] == "nesting"
    assert email["body"] == {"text": None, "html": None}
    assert email["attachments"] == []
    assert email["attachment_count"] is None
    async with client.get(f"/api/emails/{uid}/raw") as answer:
        assert (await answer.read()).endswith(deep + b"\r\nend\r\n")
