"""The MTA-STS policy of a domain (RFC 8461 section 3.2), and the id that its DNS record has.

`none` tells senders who remember a policy that there is none any more (section 8.3).
"""

from __future__ import annotations

import hashlib
from typing import Literal

Mode = Literal["none", "testing", "enforce"]

_AGE_S = {"none": 86_400, "testing": 86_400, "enforce": 604_800}


def policy_text(host: str, mode: Mode) -> str:
    """`host`: what the domain's MX record says."""
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: {_AGE_S[mode]}\r\n"


def policy_id(policy: str) -> str:
    """Another one for each other policy; up to 32 letters and digits (RFC 8461 section 3.1)."""
    return hashlib.sha256(policy.encode()).hexdigest()[:32]
