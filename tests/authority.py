"""A certificate authority of one test."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """`ca_file` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca_file = folder / "ca.pem"
        made = self._sign("test authority", self._key.public_key(), [], days=30, ca=True)
        self.ca_file.write_bytes(made.public_bytes(PEM))

    def issue(self, *names: str, days: int = 30) -> tuple[Path, Path]:
        """A pair of files that is named for the first of the names, with so many days left."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(names[0], key.public_key(), list(names), days=days, ca=False)
        cert_file, key_file = (self._folder / f"{names[0]}.{kind}" for kind in ("crt", "key"))
        cert_file.write_bytes(made.public_bytes(PEM))
        key_file.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert_file, key_file

    def _sign(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        names: list[str],
        *,
        days: int,
        ca: bool,
    ) -> x509.Certificate:
        end = datetime.now(UTC) + timedelta(days=days, minutes=5)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=90))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if names:
            listed = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
            builder = builder.add_extension(listed, critical=False)
        return builder.sign(self._key, hashes.SHA256())
