"""Certificates: real handshakes, before and after the files change."""

import hashlib
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from mail.address import Address, DomainName
from mail.ident import UniqueId
from mail.trace import Hop, prefix
from net.tls import BadCertificate, Certificate, make_self_signed

HOST = "mx.example.org"
NOW = datetime.now(UTC).replace(microsecond=0)
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True)
class Pair:
    """The files of one certificate and its key."""

    cert: Path
    key: Path

    def loaded(self, *, clock: Callable[[], datetime] = lambda: NOW) -> Certificate:
        return Certificate(self.cert, self.key, clock=clock)

    def become(self, other: "Pair") -> None:
        for path, new in ((self.cert, other.cert), (self.key, other.key)):
            replace(path, new.read_bytes())

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.cert.read_bytes())

    @property
    def der(self) -> bytes:
        return self.leaf.public_bytes(serialization.Encoding.DER)


def replace(path: Path, octets: bytes) -> None:
    path.unlink()
    path.write_bytes(octets)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Pair]:
    """Makes a new pair in a folder of that name."""

    def made(name: str, *, hostname: str = HOST, now: datetime = NOW) -> Pair:
        pair = Pair(tmp_path / name / "cert.pem", tmp_path / name / "key.pem")
        make_self_signed(pair.cert, pair.key, hostname=hostname, now=now)
        return pair

    return made


@pytest.fixture
def pair(make: Callable[..., Pair]) -> Pair:
    return make("first")


def client(
    *, version: ssl.TLSVersion | None = None, alpn: tuple[str, ...] = (), ciphers: str = ""
) -> ssl.SSLContext:
    """A client that judges nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def shake_hands(
    serving: ssl.SSLContext, asking: ssl.SSLContext, name: str | None = HOST
) -> ssl.SSLObject:
    """A whole handshake in memory, as asyncio does it; gives the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = serving.wrap_bio(to_server, to_client, server_side=True)
    theirs = asking.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [theirs, ours]
    for _ in range(6):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    return theirs


def seen(serving: ssl.SSLContext, asking: ssl.SSLContext, name: str | None = HOST) -> bytes:
    """The certificate that a client is shown."""
    leaf = shake_hands(serving, asking, name).getpeercert(binary_form=True)
    assert leaf is not None
    return leaf


def test_what_is_in_a_self_signed_certificate(pair: Pair) -> None:
    key = pair.leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    extensions = pair.leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST, "localhost"]
    assert list(map(str, names.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert pair.leaf.not_valid_before_utc < NOW < pair.leaf.not_valid_after_utc


def test_the_private_key_is_for_nobody_else(pair: Pair) -> None:
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o400
    assert stat.S_IMODE(pair.key.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in pair.key.parent.iterdir()) == ["cert.pem", "key.pem"]


def test_a_pair_that_exists_is_not_made_again(pair: Pair, make: Callable[..., Pair]) -> None:
    before = pair.cert.read_bytes(), pair.key.read_bytes()
    make("first", hostname="other.example.org", now=NOW + timedelta(days=1))
    assert (pair.cert.read_bytes(), pair.key.read_bytes()) == before


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_half_a_pair_is_made_anew(missing: str, pair: Pair, make: Callable[..., Pair]) -> None:
    before = pair.der
    getattr(pair, missing).unlink()
    make("first")
    assert pair.der != before
    assert seen(pair.loaded().context(), client()) == pair.der


def test_localhost_and_long_names(make: Callable[..., Pair]) -> None:
    for hostname in ("localhost", ".".join(["a" * 60] * 4)):
        assert seen(make(hostname[:9], hostname=hostname).loaded().context(), client())


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("name", [HOST, "localhost", "127.0.0.1", "::1"])
def test_who_trusts_the_certificate_is_satisfied(
    pair: Pair, version: ssl.TLSVersion, name: str
) -> None:
    asking = ssl.create_default_context(cafile=pair.cert)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    asking.minimum_version = asking.maximum_version = version
    assert seen(pair.loaded().context(), asking, name) == pair.der


def test_another_name_is_the_clients_to_judge(pair: Pair) -> None:
    serving = pair.loaded().context()
    assert seen(serving, client(), "other.example.org") == pair.der
    assert seen(serving, client(), None) == pair.der
    with pytest.raises(ssl.SSLCertVerificationError):
        seen(serving, ssl.create_default_context(cafile=pair.cert), "other.example.org")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_tls_versions(pair: Pair, version: ssl.TLSVersion) -> None:
    done = shake_hands(pair.loaded().context(), client(version=version))
    assert done.version() == {TLS_1_2: "TLSv1.2", TLS_1_3: "TLSv1.3"}[version]


def test_tls_1_1_is_refused(pair: Pair) -> None:
    serving = pair.loaded().context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        asking = client(version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError) as raised:
        shake_hands(serving, asking)
    assert raised.value.reason == "UNSUPPORTED_PROTOCOL"


def test_old_cipher_suites_are_refused(pair: Pair) -> None:
    asking = client(version=TLS_1_2, ciphers="ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA")
    with pytest.raises(ssl.SSLError) as raised:
        shake_hands(pair.loaded().context(), asking)
    assert raised.value.reason == "NO_SHARED_CIPHER"


def test_every_suite_has_its_registered_name_in_received(pair: Pair) -> None:
    # RFC 8314 section 4.3 takes names of the IANA registry: TLS_ and no hyphen.
    suites = [suite["name"] for suite in pair.loaded().context().get_ciphers()]
    assert len(suites) >= 5
    ann = Address("ann", DomainName("example.org"))
    for suite in suites:
        hop = Hop("192.0.2.1", HOST, HOST, "ESMTPS", suite, UniqueId.first_of(NOW), NOW)
        (clause,) = (
            line
            for line in prefix(hop, sender=None, recipient=ann, shown=False).split(b"\r\n")
            if line.startswith(b"\ttls ")
        )
        assert clause.startswith(b"\ttls TLS_")
        assert b"-" not in clause


@pytest.mark.parametrize(
    ("offered", "asked", "agreed"),
    [
        (("pop3",), ("pop3",), "pop3"),
        (("pop3", "h2", "http/1.1"), ("http/1.1", "pop3"), "pop3"),  # the server's order
        (("pop3", "h2", "http/1.1"), ("h2",), "h2"),
        (("pop3",), ("imap",), None),
        (("pop3",), (), None),
        ((), ("pop3",), None),
    ],
)
def test_alpn(
    pair: Pair, offered: tuple[str, ...], asked: tuple[str, ...], agreed: str | None
) -> None:
    # RFC 7301 section 3.1
    certificate = pair.loaded()
    serving = certificate.context(offered)
    assert shake_hands(serving, client(alpn=asked)).selected_alpn_protocol() == agreed
    certificate.reload()
    assert shake_hands(serving, client(alpn=asked)).selected_alpn_protocol() == agreed


def test_one_context_for_each_list_of_protocols(pair: Pair) -> None:
    certificate = pair.loaded()
    assert certificate.context() is certificate.context(())
    assert certificate.context(("pop3",)) is not certificate.context()


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("name", [HOST, None])
@pytest.mark.parametrize("alpn", [(), ("pop3",)])
def test_a_new_pair_is_shown_from_the_next_handshake_on(
    pair: Pair,
    make: Callable[..., Pair],
    version: ssl.TLSVersion,
    name: str | None,
    alpn: tuple[str, ...],
) -> None:
    certificate = pair.loaded()
    serving = certificate.context(alpn)
    asking = client(version=version, alpn=alpn)
    first = pair.der
    assert seen(serving, asking, name) == first
    fingerprint = certificate.fingerprint

    pair.become(make("second"))
    assert seen(serving, asking, name) == first
    certificate.reload()
    assert seen(serving, asking, name) == pair.der != first
    assert certificate.fingerprint != fingerprint


def encrypted(pair: Pair) -> bytes:
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    "fault",
    [
        "key of another",
        "certificate of another",
        "no certificate",
        "no key",
        "empty certificate",
        "garbage key",
        "encrypted key",
        "expired",
        "not yet valid",
    ],
)
def test_a_bad_pair_is_refused_and_the_old_one_keeps_serving(
    fault: str, pair: Pair, make: Callable[..., Pair]
) -> None:
    certificate = pair.loaded()
    serving, with_alpn = certificate.context(), certificate.context(("pop3",))
    first, fingerprint = pair.der, certificate.fingerprint
    match fault:
        case "key of another":
            replace(pair.key, make("second").key.read_bytes())
        case "certificate of another":
            replace(pair.cert, make("second").cert.read_bytes())
        case "no certificate":
            pair.cert.unlink()
        case "no key":
            pair.key.unlink()
        case "empty certificate":
            replace(pair.cert, b"")
        case "garbage key":
            replace(pair.key, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        case "encrypted key":
            replace(pair.key, encrypted(pair))  # nobody is there to type its password
        case "expired":
            pair.become(make("second", now=NOW - timedelta(days=3651)))
        case "not yet valid":
            pair.become(make("second", now=NOW + timedelta(days=2)))

    with pytest.raises(BadCertificate) as raised:
        certificate.reload()
    assert str(pair.key if "key" in fault else pair.cert) in str(raised.value)
    with pytest.raises(BadCertificate):
        pair.loaded()
    for context in (serving, with_alpn):
        for version in (TLS_1_2, TLS_1_3):
            assert seen(context, client(version=version)) == first
    assert certificate.fingerprint == fingerprint


def test_a_mended_pair_is_taken_after_a_bad_one(pair: Pair, make: Callable[..., Pair]) -> None:
    certificate = pair.loaded()
    serving = certificate.context()
    second = make("second")
    replace(pair.cert, second.cert.read_bytes())
    with pytest.raises(BadCertificate):
        certificate.reload()
    replace(pair.key, second.key.read_bytes())
    certificate.reload()
    assert seen(serving, client()) == second.der


def test_the_fingerprint_is_that_of_the_der(pair: Pair) -> None:
    digest = hashlib.sha256(pair.der).digest()
    assert pair.loaded().fingerprint == ":".join(f"{octet:02X}" for octet in digest)


def test_days_left(pair: Pair) -> None:
    ends = pair.leaf.not_valid_after_utc
    now = ends - timedelta(days=10, seconds=1)
    certificate = pair.loaded(clock=lambda: now)
    assert certificate.days_left == 10
    assert pair.loaded(clock=lambda: ends).days_left == 0
    with pytest.raises(BadCertificate):
        pair.loaded(clock=lambda: ends + timedelta(seconds=1))


@pytest.fixture
def three(tmp_path: Path) -> dict[str, Pair]:
    """A first pair, and two beside it that are named for the host they serve."""
    names = {"": "fullchain", "one.example": "one.example", "Two.Example": "Two.Example"}
    pairs = {
        name: Pair(tmp_path / f"{stem}.crt", tmp_path / f"{stem}.key")
        for name, stem in names.items()
    }
    for name, pair in pairs.items():
        make_self_signed(pair.cert, pair.key, hostname=name or HOST, now=NOW)
    return pairs


def test_a_host_is_shown_the_pair_that_is_named_for_it(three: dict[str, Pair]) -> None:
    context = three[""].loaded().context()
    assert seen(context, client(), "one.example") == three["one.example"].der
    assert seen(context, client(), "ONE.example") == three["one.example"].der
    assert seen(context, client(), "two.example") == three["Two.Example"].der
    for name in (HOST, "three.example", "x.one.example", None):
        assert seen(context, client(), name) == three[""].der


def test_pairs_that_come_change_and_go_are_noticed(
    three: dict[str, Pair], make: Callable[..., Pair]
) -> None:
    certificate = three[""].loaded()
    context = certificate.context(("pop3",))
    assert not certificate.changed
    newer = make("newer", hostname="one.example")
    three["one.example"].become(newer)
    assert certificate.changed
    certificate.reload()
    assert not certificate.changed
    assert seen(context, client(), "one.example") == newer.der
    three["Two.Example"].cert.unlink()
    assert certificate.changed
    certificate.reload()
    assert seen(context, client(), "two.example") == three[""].der
    replacement = make("again", hostname="two.example")
    (three["Two.Example"].cert).write_bytes(replacement.cert.read_bytes())
    replace(three["Two.Example"].key, replacement.key.read_bytes())
    assert certificate.changed
    certificate.reload()
    assert seen(context, client(), "two.example") == replacement.der


def test_one_bad_pair_replaces_no_good_one(
    three: dict[str, Pair], make: Callable[..., Pair]
) -> None:
    certificate = three[""].loaded()
    context = certificate.context()
    before = three[""].der, three["one.example"].der
    three[""].become(make("newer"))
    replace(three["one.example"].key, make("stray").key.read_bytes())
    with pytest.raises(BadCertificate, match=r"one\.example"):
        certificate.reload()
    assert seen(context, client()) == before[0]
    assert seen(context, client(), "one.example") == before[1]
    assert not certificate.changed  # it is told once, not every time it is looked at
