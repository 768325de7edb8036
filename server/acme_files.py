"""What is in `tls/acme` of the data folder: certificates, keys, challenges, and how it went.

Each name that is served has a key, made once and kept, and a certificate that is replaced: so a
pair never stops to fit, and a TLSA record of the key stays right.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from net.keyfile import write_new

Pair = tuple[Path, Path]

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,256}")  # RFC 8555 section 8.3: base64url of 128 bits


def folder(data_dir: Path) -> Path:
    return data_dir / "tls" / "acme"


def pair(data_dir: Path, name: str) -> Pair:
    """The certificate and the key of a name."""
    return folder(data_dir) / f"{name}.crt", folder(data_dir) / f"{name}.key"


def challenge_file(data_dir: Path, token: str) -> Path | None:
    """None for what is no token, and so could name another file."""
    return folder(data_dir) / "challenges" / token if _TOKEN.fullmatch(token) else None


def challenge(data_dir: Path, token: str) -> bytes | None:
    """The key authorization that is awaited, if one is: any process can give it."""
    file = challenge_file(data_dir, token)
    try:
        return file.read_bytes() if file else None
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Failed:
    """The last tries for a name, that all failed: how many, when the last, why, and how long the
    authority wants to be left alone after it."""

    tries: int
    at: datetime
    why: str
    wait_s: int = 0


def read_failures(data_dir: Path) -> dict[str, Failed]:
    """By name. What cannot be read counts as none."""
    try:
        found: dict[str, Any] = json.loads((folder(data_dir) / "failed.json").read_text())
        return {
            name: Failed(
                *(int(row["tries"]), datetime.fromisoformat(row["at"]), str(row["why"])),
                int(row["wait_s"]),
            )
            for name, row in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_failures(data_dir: Path, failures: dict[str, Failed]) -> None:
    rows = {name: asdict(failed) for name, failed in failures.items()}
    text = json.dumps(rows, default=datetime.isoformat)
    write_new(folder(data_dir) / "failed.json", text.encode(), mode=0o600)
