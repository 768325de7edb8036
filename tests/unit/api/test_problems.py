"""Every refusal is a problem document, also for what never was a request."""

import json
from collections.abc import Iterator

import pytest

from api.problems import CANNOT_OCCUR, FAILURES, KINDS, Problem, of_failure
from mail.errors import Failure, OverQuota, StorageBusy, TooMany
from tests.unit.api.conftest import Api, Log, problem


def every(kind: type[Failure]) -> Iterator[type[Failure]]:
    for child in kind.__subclasses__():
        yield child
        yield from every(child)


def test_every_failure_has_its_row_or_cannot_occur() -> None:
    failures = {failure for failure in every(Failure) if failure.__module__ == "mail.errors"}
    assert failures == FAILURES.keys() | CANNOT_OCCUR
    assert not FAILURES.keys() & CANNOT_OCCUR
    assert set(FAILURES.values()) <= KINDS.keys()


@pytest.mark.parametrize("failure", list(FAILURES))
def test_a_failure_is_told_by_its_public_text(failure: type[Failure]) -> None:
    found = of_failure(failure("the public text", private="private text"))
    document = json.loads(found.document(instance="/api/", request_id="1"))
    assert "private" not in str(document)
    told = found.status < 500 or found.slug.startswith("upstream-")  # a provider's fault, not ours
    assert document.get("detail") == ("the public text" if told else None)
    assert document["instance"] == "/api/"


def test_a_full_mailbox_is_507_and_a_busy_store_503() -> None:
    assert of_failure(OverQuota("full")).status == 507
    assert of_failure(StorageBusy("busy")).status == 503


def test_a_limit_says_when_to_come_back() -> None:
    found = of_failure(TooMany("slower", retry_after_s=7))
    assert (found.status, found.headers) == (429, {"Retry-After": "7"})


def test_an_unknown_failure_is_a_fault_of_ours() -> None:
    class Unheard(Failure):
        pass

    assert of_failure(Unheard("x")).slug == "internal-error"


def test_only_known_slugs_can_be_raised() -> None:
    with pytest.raises(KeyError):
        Problem("no-such-slug")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api", "/api/nothing", "/api/emails/", "/api/emails/x/y", "//api/emails", "/%00"],
)
async def test_an_unknown_path_is_404(api: Api, path: str) -> None:
    answer = await api.exchange(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    document = json.loads(body)
    assert (document["code"], document["instance"]) == ("not-found", path)


async def test_another_method_is_405_and_names_what_is_possible(api: Api) -> None:
    for method, path, allowed in (
        ("DELETE", "/api/emails", "GET, HEAD, OPTIONS"),
        ("GET", "/api/auth/login", "OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
    ):
        async with api.client().request(method, path) as answer:
            await problem(answer, 405, "method-not-allowed")
            assert answer.headers["Allow"] == allowed


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"<script>alert(1)</script>\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03script", 400),
        (b"SCRIPT /api/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /script HTTP/9.9\r\n" + HOST + b"\r\n", 400),
        (b"GET /api/ HTTP/1.1\r\nscript: no host\r\n\r\n", 400),
        (b"GET /api/ HTTP/1.1\r\n" + HOST * 2 + b"\r\n", 400),
        (b"GET /api/ HTTP/1.1\r\n" + HOST + b"scr ipt: x\r\n\r\n", 400),
        (b"GET /api/ HTTP/1.1\r\n" + HOST + b"X: a\0script\r\n\r\n", 400),
        (b"GET /api/ HTTP/1.1\r\n" + HOST + b"Content-Length: script\r\n\r\n", 400),
        (
            b"POST /api/ HTTP/1.1\r\n" + HOST
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"GET /api/ HTTP/1.1\r\n" + HOST + b"script: 1\r\n" * 80 + b"\r\n", 400),
        (b"GET /" + b"script" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"GET /api/ HTTP/1.1\r\n" + HOST + b"X: " + b"script" * 2000 + b"\r\n\r\n", 431),
        (b"GET /script HTTP/1.1\r\n" + HOST + b"Expect: script\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Expect: script\r\n\r\n", 400),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_not_echoed(
    api: Api, log: Log, octets: bytes, status: int
) -> None:
    answer = await api.exchange(octets)
    head, _, body = answer.partition(b"\r\n\r\n")
    start, *fields = head.decode("ascii").split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    assert start.startswith(f"HTTP/1.1 {status} ")
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"
    assert headers["date"].endswith(" gmt")
    assert "server" not in headers
    assert b"script" not in answer.lower()
    document = json.loads(body)
    assert document["code"] == {400: "malformed-request", 431: "header-too-large"}[status]
    assert document["request_id"] == headers["x-request-id"]
    line = await log.line("api.refused")
    assert (line["status"], line["why"], line["peer"]) == (status, document["code"], "127.0.0.1")
    assert "script" not in str(line)
