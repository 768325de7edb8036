"""What the configuration says of the store, the certificate and the keys, opened or loaded.

Apart from `server.compose`, so that a command which needs no more does not import what serves.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from auth.tokens import load_key
from net.tls import BadCertificate, Certificate, make_self_signed
from server import acme, acme_files
from server.config import Config
from server.trouble import Trouble, url_in
from store.database import StoreInUse
from store.engines import StoreUnfit
from store.records import Folder, StoreSettings
from store.store import Store

MIB = 1024 * 1024
ON_DELETE = {"trash": Folder.TRASH, "archive": Folder.ARCHIVE, "purge": Folder.PURGED}


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_store(config: Config) -> Store:
    """Raises Trouble."""
    settings = StoreSettings(
        url=store_url(config),
        on_delete=ON_DELETE[config.pop3.on_delete],
        quota_octets=config.store.quota_mib * MIB,
        trash_days=config.store.trash_days,
        max_listed=config.pop3.max_listed,
        backup_dir=config.store.backup_dir,
        floor_octets=floor_octets(config),
    )
    try:
        return Store(settings, clock=utc_now)
    except StoreInUse as error:
        raise Trouble(
            "The mail store is in use.",
            f"{error}.",
            "Use that server, or stop it first.",
            exit_code=3,
        ) from error
    except StoreUnfit as error:
        raise Trouble(
            "The mail store cannot keep its promises.",
            f"{error}.",
            "Mend that, or set store.url to another place.",
            exit_code=3,
        ) from error


def floor_octets(config: Config) -> int:
    """Free space that mail leaves on the disk: three messages of the largest size must fit."""
    return MIB * max(config.store.min_free_mib, 3 * config.smtp.max_message_mib)


def store_url(config: Config) -> str:
    """Of the file that is named for it, or as configured. Raises Trouble."""
    file = config.store.url_file
    return config.store.url if file is None else url_in(file, "store.url_file")


def app_password_key(config: Config) -> bytes:
    """Without this file no app password is known any more."""
    return load_key(config.server.data_dir / "credential.key")


def certificate_pair(config: Config) -> tuple[Path, Path]:
    """Where the certificate and its key are, or will be made."""
    if config.tls.mode == "files":
        assert config.tls.cert_file is not None  # the configuration demands both
        assert config.tls.key_file is not None
        return config.tls.cert_file, config.tls.key_file
    if config.tls.mode == "acme":
        return acme_files.pair(config.server.data_dir, config.server.hostname)
    tls = config.server.data_dir / "tls"
    return tls / "self-signed.crt", tls / "self-signed.key"


def load_certificate(config: Config) -> Certificate:
    """Raises Trouble."""
    pair = certificate_pair(config)
    if config.tls.mode == "self-signed":
        make_self_signed(*pair, hostname=config.server.hostname, now=utc_now())
    try:
        if config.tls.mode == "acme":
            acme.prepare(config.server.data_dir, config.server.hostname, now=utc_now())
        return Certificate(*pair, clock=utc_now)
    except BadCertificate as error:
        raise Trouble(
            "The certificate cannot be used.",
            f"{error}.",
            "Put a pair in place that belongs together and is in date.",
            exit_code=3,
        ) from error


def certificate_findings(config: Config, certificate: Certificate) -> list[str]:
    """What a person should know of the certificates, in sentences."""
    if config.tls.mode == "acme":
        return acme.findings(config.server.data_dir, config.server.hostname, now=utc_now())
    return certificate.findings(acme.WARN_DAYS)
