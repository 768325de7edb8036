"""Certificates that can be replaced while serving.

IN        paths of a certificate chain and its key, PEM; `<name>.crt` and `<name>.key` beside them
OUT       `Certificate.context()`: a server-side SSLContext for a listener, TLS 1.2 or newer, that
          shows a client the pair named for the host it asks for, else the first
MAY       read those files; write a new self-signed pair where there is none
NEVER     load a pair into a context that is in service: a mismatched pair raises and leaves
          that context unable to shake hands. A new one is built, checked, then swapped in
FAILS     BadCertificate, with what is wrong with which file
RFC       8446, 5246, 6066 section 3 (the name asked for), 7301 (ALPN)
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from net.keyfile import write_new

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
SELF_SIGNED_DAYS = 3650


class BadCertificate(Exception):
    """The pair cannot be served; the text says which file and why."""


Pair = tuple[Path, Path]
Alpn = tuple[str, ...]


class Certificate:
    """Pairs of files, loaded. `reload` replaces them for every listener at once."""

    def __init__(self, cert_file: Path, key_file: Path, *, clock: Callable[[], datetime]) -> None:
        self._first: Pair = (cert_file, key_file)
        self._clock = clock
        self._fronts: dict[Alpn, ssl.SSLContext] = {}
        self._inner: dict[tuple[Alpn, str], ssl.SSLContext] = {}
        self._looked_at: frozenset[tuple[object, ...]] = frozenset()
        self._refused = ""
        self.reload()

    def context(self, alpn: Alpn = ()) -> ssl.SSLContext:
        """The context for a listener; its handshakes use the pairs in force at that moment."""
        if alpn not in self._fronts:
            self._inner |= {(alpn, name): _context(pair, alpn) for name, pair in self._pairs()}
            front = _context(self._first, alpn)
            front.sni_callback = lambda ssl_object, name, _front: self._point(
                ssl_object, name, alpn
            )
            self._fronts[alpn] = front
        return self._fronts[alpn]

    def _point(self, ssl_object: ssl.SSLObject, name: str | None, alpn: Alpn) -> None:
        named = self._inner.get((alpn, (name or "").lower()))
        ssl_object.context = named or self._inner[alpn, ""]

    def reload(self) -> None:
        """Reads the files again. On BadCertificate all pairs in force stay."""
        self._looked_at = self._seen()
        pairs = self._pairs()
        try:
            leaves = {name: check_pair(pair, now=self._clock()) for name, pair in pairs}
        except BadCertificate as error:
            self._refused = str(error)
            raise
        self._refused = ""
        self._inner = {
            (alpn, name): _context(pair, alpn) for alpn in self._fronts for name, pair in pairs
        }
        self.leaf = leaves[""]
        self._leaves = leaves

    def findings(self, warn_days: int) -> list[str]:
        """What a person should know of: files that were not taken, pairs in force that end soon."""
        found = [f"the files as they are now were not taken: {self._refused}"] * bool(self._refused)
        for name, leaf in self._leaves.items():
            left = self._days_left(leaf)
            if left < warn_days:
                whose = f"the certificate{name and f' of {name}'}"
                found.append(f"{whose} ends in {left} days" if left >= 0 else f"{whose} has ended")
        return found

    @property
    def changed(self) -> bool:
        """Whether a file came, went or was written since they were last read."""
        return self._seen() != self._looked_at

    def _pairs(self) -> list[tuple[str, Pair]]:
        """Every pair and the name it serves, which is "" for the first: all others."""
        others = (
            (path.stem.lower(), (path, path.with_suffix(".key")))
            for path in sorted(self._first[0].parent.glob("*.crt"))
            if path != self._first[0]
        )
        return [("", self._first), *(other for other in others if other[1][1].exists())]

    def _seen(self) -> frozenset[tuple[object, ...]]:
        seen = []
        for _, pair in self._pairs():
            for file in pair:
                try:
                    found = file.stat()
                except OSError:
                    continue
                seen.append((file, found.st_ino, found.st_size, found.st_mtime_ns))
        return frozenset(seen)

    @property
    def fingerprint(self) -> str:
        """SHA-256 as mail apps show it: `5A:1C:...`."""
        return self.leaf.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def key_sha256(self) -> str:
        """Of the public key of the first pair, in hex: what TLSA 3 1 1 has (RFC 6698)."""
        return key_sha256(self.leaf)

    @property
    def names(self) -> list[str]:
        """The hosts and addresses that it is for."""
        try:
            found = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return []
        return [str(each.value) for each in found.value]

    @property
    def days_left(self) -> int:
        return self._days_left(self.leaf)

    def _days_left(self, leaf: x509.Certificate) -> int:
        return (leaf.not_valid_after_utc - self._clock()).days


def check_pair(pair: Pair, *, now: datetime) -> x509.Certificate:
    """The leaf of a pair that can be served, tried in a context of its own."""
    _context(pair, ())
    file = pair[0]
    try:
        leaf = x509.load_pem_x509_certificate(file.read_bytes())
    except ValueError as error:
        raise BadCertificate(f"{file} holds no certificate in PEM") from error
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise BadCertificate(
            f"{file} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} "
            f"to {leaf.not_valid_after_utc:%Y-%m-%d} only"
        )
    return leaf


def key_sha256(leaf: x509.Certificate) -> str:
    spki = leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def _context(pair: Pair, alpn: Alpn) -> ssl.SSLContext:
    cert_file, key_file = pair
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 1
    if alpn:
        context.set_alpn_protocols(list(alpn))
    try:
        for file in pair:
            file.open("rb").close()  # load_cert_chain does not say which of them it misses
        # A password, so that nobody is asked for one on the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        raise BadCertificate(
            f"{cert_file} and {key_file} are no matching pair in PEM without a password"
        ) from error
    except OSError as error:
        raise BadCertificate(f"{error.filename or cert_file}: {error.strerror}") from error
    return context


def make_self_signed(cert_file: Path, key_file: Path, *, hostname: str, now: datetime) -> None:
    """Writes a certificate for `hostname` and loopback, unless there is a pair; a key that is there
    is taken. Raises BadCertificate if it cannot be.
    """
    if cert_file.exists() and key_file.exists():
        return
    make_key(key_file)
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise BadCertificate(f"{key_file} holds no key in PEM without a password") from error
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(hostname), x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(dict.fromkeys(names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    write_new(cert_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def make_key(file: Path) -> None:
    """Writes a new P-256 key, unless there is one."""
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    octets = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new(file, octets, mode=0o400)
