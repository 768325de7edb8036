"""What it costs to verify the sender of a message, when DNS has been asked before.

    python bench/verify.py [--messages N]

Time of the processor, of all threads together, for messages of a mailing from one domain: SPF with
an include, DKIM by RSA of 2,048 bits and by Ed25519, DMARC. Beside it what SHA-256 of the same
octets takes, which nobody can do without.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from intake.judge import Client
from intake.verify import Verifier
from mail.address import Address
from net.resolve import Resolver
from store.records import Proof
from tests.nameserver import Nameserver, Records, nameserver, quoted
from tests.verification.conftest import Keys, made_keys

SIZES = (2_000, 20_000, 200_000, 2_000_000)
CLIENT = Client("192.0.2.1", "mx.example.net", Address.parse("bounce@example.net"))


def zone(keys: Keys) -> dict[str, Records]:
    return {
        "example.net": [("TXT", quoted("v=spf1 include:spf.example.net -all"))],
        "spf.example.net": [("TXT", quoted("v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all"))],
        "mx.example.net": [("TXT", quoted("v=spf1 a -all")), ("A", "192.0.2.1")],
        "_dmarc.example.net": [("TXT", quoted("v=DMARC1; p=reject"))],
        "r._domainkey.example.net": [("TXT", quoted(keys.record))],
        "e._domainkey.example.net": [("TXT", quoted(keys.ed25519_record))],
    }


def message(octets: int, keys: Keys) -> bytes:
    header = (
        "From: Example <news@example.net>\r\nTo: Ann <ann@example.test>\r\nSubject: The news\r\n"
        "Date: Fri, 1 May 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\r\n"
    )
    line = "Some words of an ordinary letter, as long as most lines are.\r\n"
    plain = (header + line * (octets // len(line) + 1)).encode()
    names = [b"from", b"to", b"subject", b"date", b"message-id"]
    forms = (b"relaxed", b"relaxed")
    once = keys.sign(plain, "example.net", selector="r", names=names, forms=forms)
    return keys.sign(once, "example.net", selector="e", names=names, forms=forms, elliptic=True)


async def measured(server: Nameserver, content: bytes, messages: int) -> float:
    """Seconds of the processor for one message."""
    verifier = Verifier(Resolver([server.endpoint]))
    found = await verifier.examine(CLIENT, content, time.monotonic() + 5)
    assert found.proof is Proof.VERIFIED, found
    assert [each.result for each in found.results if each.method == "dkim"] == ["pass"] * 2
    asked = len(server.asked)
    started = time.process_time()
    for _ in range(messages):
        await verifier.examine(CLIENT, content, time.monotonic() + 5)
    spent = time.process_time() - started
    assert len(server.asked) == asked
    return spent / messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500)
    messages = parser.parse_args().messages
    keys = made_keys()
    print(f"{'octets':>10} {'verified, ms':>14} {'SHA-256, ms':>14}")
    with nameserver(zone(keys)) as server:
        server.ttl = 3600
        for octets in SIZES:
            content = message(octets, keys)
            few = max(messages * SIZES[0] // octets, 20)
            spent = uvloop.run(measured(server, content, min(few, messages)))
            started = time.process_time()
            for _ in range(20):
                hashlib.sha256(content).digest()
            plain = (time.process_time() - started) / 20
            print(f"{len(content):>10,} {1000 * spent:>14.2f} {1000 * plain:>14.2f}")


if __name__ == "__main__":
    main()
