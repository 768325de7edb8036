"""Certificates of an ACME authority: got, renewed, and refused."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from server import acme, acme_files
from server.acme import Place, Renewal
from tests.acme import Answer, Change, Pebble, answering, pebble
from tests.kit import CONFIG, Live, live_server
from tests.waiting import free_port, until
from tests.wire import Wire

Needs = Callable[[str], str]
HOST = "mail.example.test"
POLICY = "mta-sts.example.test"
LIFE_S = 90 * 24 * 3600


def shown(live: Live, name: str, *, smtp: bool = False, trust: str | None = None) -> bytes:
    """The certificate that a client is shown that asks for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = trust is not None
    context.verify_mode = ssl.CERT_REQUIRED if trust else ssl.CERT_NONE
    if trust:
        context.load_verify_locations(cadata=trust)
    where = live.smtp if smtp else live.pop3
    with Wire(where, hello=smtp) as wire:
        if smtp:
            assert wire.say("STARTTLS").startswith("220 ")
        with context.wrap_socket(wire.socket, server_hostname=name) as wrapped:
            leaf = wrapped.getpeercert(binary_form=True)
    assert leaf
    return leaf


def key_of(leaf: bytes) -> bytes:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public = x509.load_der_x509_certificate(leaf).public_key()
    return public.public_bytes(serialization.Encoding.DER, spki)


def renewal(live: Live, directory: str, *, later_s: float = 0) -> Renewal:
    """One of whose names all lead here, as of a later moment."""

    async def here(_name: str) -> frozenset[str]:
        return frozenset({"192.0.2.1"})

    async def domains() -> list[str]:
        return ["example.test"]

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=later_s)

    data_dir = live.server.config.server.data_dir
    return Renewal(
        Place(data_dir, HOST, directory),
        domains=domains,
        changed=live.server.reload,
        resolve=here,
        clock=clock,
    )


@contextmanager
def serving(folder: Path, directory: str, http_port: int) -> Iterator[Live]:
    text = CONFIG.format(smtp=0, pop3=0, http=http_port)
    tls = f'[tls]\nmode = "acme"\nacme_directory = "{directory}"\n'
    (folder / "config.toml").write_text(text + tls)
    with live_server(folder) as live:
        yield live


@pytest.fixture
def place(
    tmp_path: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Pebble, Live]]:
    http_port = free_port()
    aside = tmp_path / "pebble"
    aside.mkdir()
    with pebble(needs, aside, http_port=http_port, life_s=LIFE_S) as found:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(found.ca_file))
        with serving(tmp_path, found.directory, http_port) as live:
            first = live.server.certificate.leaf
            # The server asks for one for its own name by itself; until then it serves its own.
            until(lambda: live.server.certificate.leaf != first, "a certificate for its name")
            yield found, live


def test_certificates_are_got_and_renewed_and_keep_their_keys(place: tuple[Pebble, Live]) -> None:
    found, live = place
    root = found.root()
    issued = shown(live, HOST, trust=root)
    assert issued == shown(live, HOST, smtp=True, trust=root)

    # The names of a domain that lead here have one each.
    assert live.run(renewal(live, found.directory).run()) == []
    policy = shown(live, POLICY, trust=root)
    assert policy != issued
    assert shown(live, "autoconfig.example.test", trust=root) not in (policy, issued)
    assert shown(live, HOST) == shown(live, "other.example") == issued

    # Nothing is asked for before its time; then all are renewed, each with its key.
    assert live.run(renewal(live, found.directory, later_s=LIFE_S / 2).run()) == []
    assert (shown(live, HOST), shown(live, POLICY)) == (issued, policy)
    live.run(renewal(live, found.directory, later_s=LIFE_S * 0.8).run())
    for name, before in ((HOST, issued), (POLICY, policy)):
        after = shown(live, name, trust=root)
        assert after != before
        assert key_of(after) == key_of(before)
    assert live.run(live.server.status())["certificate_findings"] == []
    folder = acme_files.folder(live.server.config.server.data_dir)
    assert not list((folder / "challenges").iterdir())


def test_a_refused_order_changes_nothing_and_is_told(place: tuple[Pebble, Live]) -> None:
    found, live = place
    assert live.run(renewal(live, found.directory).run()) == []
    before = shown(live, HOST)
    for name in (HOST, POLICY):
        found.point(name, "127.0.0.9")  # nothing listens there
    late = renewal(live, found.directory, later_s=LIFE_S * 0.8)
    told = live.run(late.run())
    assert told[0].startswith(f"{HOST}: no new certificate (connection: ")
    assert told[0].endswith("; the one that is served ends in 17 days")
    assert shown(live, HOST) == before
    told = live.run(live.server.status())["certificate_findings"]
    assert [each.partition(":")[0] for each in told] == [HOST, POLICY]

    # It is not asked for again at once, unless somebody says so.
    for name in (HOST, POLICY):
        found.point_back(name)
    live.run(late.run())
    assert shown(live, HOST) == before
    live.run(late.run(waiting=False))
    assert shown(live, HOST) != before
    assert live.run(live.server.status())["certificate_findings"] == []


def expired_authorization(path: str, answer: Answer) -> None:
    """From valid to expired (RFC 8555 section 7.1.6): before the order is finalized."""
    if path.startswith("/authZ/") and answer.body.get("status") == "valid":
        answer.body["status"] = "expired"


def expired_order(path: str, answer: Answer) -> None:
    """An order past its `expires` is invalid, and need not have an error (section 7.1.6)."""
    if path.startswith("/my-order/") and "status" in answer.body:
        answer.body["status"] = "invalid"
        answer.body.pop("certificate", None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (expired_authorization, f"the authorization of {HOST} is expired"),
        (expired_order, "The certificate order failed."),
    ],
)
def test_an_order_that_expires_changes_nothing_and_is_told(
    place: tuple[Pebble, Live], change: Change, why: str
) -> None:
    found, live = place
    served = shown(live, HOST)
    with answering(found, change) as directory:
        told = live.run(renewal(live, directory, later_s=LIFE_S * 0.8).run())
    assert told[0].startswith(f"{HOST}: no new certificate ({why}")
    assert told[0].endswith("; the one that is served ends in 17 days")
    assert shown(live, HOST) == served
    assert live.run(live.server.status())["certificate_findings"][0].startswith(f"{HOST}: no new")
    live.run(renewal(live, found.directory, later_s=LIFE_S * 0.8).run(waiting=False))
    assert shown(live, HOST) != served


def test_an_authority_that_has_enough_is_left_alone_as_long_as_it_asks(
    place: tuple[Pebble, Live],
) -> None:
    """RFC 8555 section 6.6: 429, rateLimited, and when to come again."""
    found, live = place
    served = shown(live, HOST)
    day_s = 24 * 3600
    orders = 0

    def limited(path: str, answer: Answer) -> None:
        nonlocal orders
        if path == "/order-plz" and answer.status == 201:
            orders += 1
            answer.status = 429
            kind = "urn:ietf:params:acme:error:rateLimited"
            answer.body = {"type": kind, "detail": "too many orders", "status": 429}
            at = datetime.now(UTC) + timedelta(seconds=day_s)
            # As RFC 9110 section 10.2.3 allows both: for the first name a date, then seconds.
            wait = format_datetime(at, usegmt=True) if orders == 1 else str(day_s)
            answer.fields |= {"Content-Type": "application/problem+json", "Retry-After": wait}

    with answering(found, limited) as directory:
        late_s = LIFE_S * 0.8
        told = live.run(renewal(live, directory, later_s=late_s).run())
        assert "rateLimited: too many orders" in told[0]
        assert told[0].endswith("; the one that is served ends in 17 days")
        assert shown(live, HOST) == served
        [said, *_] = live.run(live.server.status())["certificate_findings"]
        assert "rateLimited: too many orders" in said
        # One for each name; and before that day is over, which is longer than our own pause, none.
        assert orders == 3
        live.run(renewal(live, directory, later_s=late_s + 0.9 * day_s).run())
        assert orders == 3
        live.run(renewal(live, directory, later_s=late_s + 1.1 * day_s).run())
        assert orders == 6


@pytest.mark.parametrize(("tries", "hours"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 24), (60, 24)])
def test_pauses_grow_to_a_day(tries: int, hours: int) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    failed = acme_files.Failed(tries, at, "why")
    assert acme.waits(failed, now=at + timedelta(hours=hours, seconds=-1))
    assert not acme.waits(failed, now=at + timedelta(hours=hours))


@pytest.mark.parametrize(("asked_s", "waits_s"), [(60, 3600), (9000, 9000), (10**9, 7 * 86400)])
def test_an_authority_gets_the_longer_pause_up_to_a_week(asked_s: int, waits_s: int) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    failed = acme_files.Failed(1, at, "why", asked_s)
    assert acme.waits(failed, now=at + timedelta(seconds=waits_s - 1))
    assert not acme.waits(failed, now=at + timedelta(seconds=waits_s))


async def test_only_names_that_lead_here_are_asked_for() -> None:
    known = {
        HOST: {"192.0.2.1", "2001:db8::1"},
        "mta-sts.one.example": {"192.0.2.1"},
        "autoconfig.one.example": {"192.0.2.99"},
        "autoconfig.two.example": {"2001:db8::1", "2001:db8::2"},
    }

    async def resolve(name: str) -> frozenset[str]:
        return frozenset(known.get(name, ()))

    names = await acme.wanted(HOST, ["one.example", "two.example"], resolve)
    assert names == [HOST, "mta-sts.one.example", "autoconfig.two.example"]


def test_a_certificate_that_cannot_be_served_is_replaced_over_its_key(tmp_path: Path) -> None:
    then = datetime.now(UTC) - timedelta(days=4000)
    acme.prepare(tmp_path, HOST, now=then)
    cert_file, key_file = acme_files.pair(tmp_path, HOST)
    other = acme_files.pair(tmp_path, POLICY)[0]
    other.write_bytes(cert_file.read_bytes())  # without a key
    before = cert_file.read_bytes(), key_file.read_bytes()
    acme.prepare(tmp_path, HOST, now=datetime.now(UTC))
    assert not other.exists()
    assert key_file.read_bytes() == before[1]
    assert cert_file.read_bytes() != before[0]
    assert acme.due(tmp_path, [HOST], now=datetime.now(UTC)) == [HOST]
