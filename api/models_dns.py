"""The DNS records of a domain: those it should have, and what was found of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from api.models import Answer, Query

StateName = Literal["ok", "missing", "wrong", "extra", "skipped"]
SourceName = Literal["authoritative", "configured"]
# fmt: off
KeyName = Literal[
    "mx", "address", "spf", "dmarc", "dkim", "mta-sts", "tls-rpt", "autoconfig",
    "tlsa", "caa", "srv",
]
# fmt: on

NOT_NEEDED: Final = (
    "Not needed, because this server never sends: PTR, DKIM keys, IP reputation, outbound port 25."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What its owner has said of a domain that its records follow from, as the API says it."""

    name: str
    sends_via: str | None
    mta_sts: Literal["off", "testing", "enforce"]


class RecordsQuery(Query):
    """`only`: of this key."""

    format: Literal["json", "table", "zone", "csv"] = "json"
    only: KeyName | None = None


class CheckQuery(Query):
    """`resolver`: whom to ask; both, unless one is named."""

    resolver: SourceName | None = None


class RecordDetail(Answer):
    """`values` as a zone file has them, TXT unquoted; none: any that leads to this server.

    `tier` 1: needed; 2: nobody can pose as the domain, encryption, mail apps; 3: small benefit.
    """

    key: KeyName
    tier: Literal[1, 2, 3]
    name: str
    type: str
    values: list[str]
    why: str


class Records(Answer):
    items: list[RecordDetail]


class SightingDetail(Answer):
    """`ttl_s`: for how long it may be remembered. With a `problem` nothing was said."""

    source: SourceName
    state: StateName
    found: list[str]
    ttl_s: int
    problem: str


class CheckedDetail(RecordDetail):
    """`state` by the zone's own name servers, or by the resolver where they say nothing.

    `reason`: of `skipped`.
    """

    state: StateName
    reason: str
    answers: list[SightingDetail]


class Check(Answer):
    """`problems`: of the name servers, whatever they say. `behind`: some have an older zone."""

    items: list[CheckedDetail]
    problems: list[str]
    behind: bool


def fine(item: CheckedDetail) -> bool:
    """Nothing is to be done about it: what brings little may be missing."""
    if item.state in ("ok", "skipped") or item.key == "srv":
        return True
    return item.tier == 3 and item.state == "missing"


def settled(item: CheckedDetail) -> bool:
    """The resolver has heard of it too."""
    heard = all(each.state in ("ok", "skipped") for each in item.answers)
    return fine(item) and (heard or item.state != "ok")


def entered(check: Check) -> bool:
    """Nothing is to be done, and of no record that matters it is unknown whether it is there."""
    return all(fine(item) and (item.tier == 3 or item.state == "ok") for item in check.items)


def spread(check: Check) -> bool:
    """And no server still tells what was there before."""
    return entered(check) and not check.behind and all(map(settled, check.items))
