"""What the command line, the API and doctor tell of a domain's DNS records."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from api.models_dns import (
    Check,
    CheckedDetail,
    RecordDetail,
    Records,
    SightingDetail,
    Subject,
    fine,
)
from net.lookup import own_addresses
from server.config import Config
from server.zone import (
    UNKNOWN,
    Plan,
    Record,
    Source,
    aligned,
    as_csv,
    as_table,
    as_zone,
    wanted,
)
from server.zone_survey import SOURCES, Survey, Surveyor

TextForm = Literal["table", "zone", "csv"]
TEXTS: Final[Mapping[TextForm, Callable[[Sequence[Record]], str]]] = {
    "table": as_table,
    "zone": as_zone,
    "csv": as_csv,
}
ACME_CA = "letsencrypt.org"


@dataclass(frozen=True, slots=True)
class DomainDns:
    """`key_sha256`: of the public key that the listeners show; empty: not known."""

    config: Config
    key_sha256: str = ""

    def records(self, subject: Subject) -> tuple[Record, ...]:
        config = self.config
        trusted = config.tls.mode != "self-signed"
        return wanted(
            Plan(
                subject.name,
                config.server.hostname,
                addresses=_addresses(config),
                sends_via=subject.sends_via,
                # Senders fetch the policy only from a server whose certificate they trust.
                mta_sts=subject.mta_sts if trusted else "off",
                tlsa=self.key_sha256,
                ca=ACME_CA if config.tls.mode == "acme" else "",
                pop3_port=config.pop3.listen[0].port if config.pop3.listen else 995,
            )
        )

    def told(self, subject: Subject, only: str | None) -> Records:
        return records_detail(self._only(subject, only))

    def text(self, subject: Subject, only: str | None, *, form: TextForm) -> str:
        return TEXTS[form](self._only(subject, only))

    def _only(self, subject: Subject, only: str | None) -> list[Record]:
        return [record for record in self.records(subject) if only in (None, record.key)]

    async def check(self, subject: Subject, only: Source | None = None) -> Check:
        surveyor = Surveyor(self.config.server.resolvers)
        records = self.records(subject)
        sources = (only,) if only else SOURCES
        return check_detail(await surveyor.survey(records, self.config.server.hostname, sources))


WHO: Final = {"authoritative": "at its name servers", "configured": "at the resolver"}
CELL: Final = 44  # characters of a value in the table; --json has all of it


def check_table(check: Check) -> str:
    """Both sides beside each other, then what is to be changed."""
    rows = [("state", "name", "type", *WHO.values())]
    for item in check.items:
        said = {each.source: each for each in item.answers}
        cells = (_cell(said.get("authoritative")), _cell(said.get("configured"), ttl=True))
        rows.append((item.state, item.name, item.type, *cells))
    lines = [
        f"{item.name} {item.type} should be: {' | '.join(item.values) or UNKNOWN}\n"
        for item in check.items
        if not fine(item)
    ]
    silent = (
        f"{WHO[each.source]}: {each.problem}"
        for item in check.items
        for each in item.answers
        if each.problem
    )
    notes = [f"{problem}\n" for problem in dict.fromkeys([*check.problems, *silent])]
    return "".join([aligned(rows), *(["\n"] if lines or notes else []), *lines, *notes])


def _cell(sighting: SightingDetail | None, *, ttl: bool = False) -> str:
    if sighting is None:
        return "not asked"
    if sighting.problem:
        return "no answer"
    text = " | ".join(sighting.found) or "nothing"
    text = text if len(text) <= CELL else f"{text[:CELL]}..."
    return f"{text} ({sighting.ttl_s} s left)" if ttl else text


def _addresses(config: Config) -> tuple[str, ...]:
    """Where mail comes in, as far as this machine knows: not behind a NAT, a proxy or a tunnel."""
    listening = [ipaddress.ip_address(endpoint.host) for endpoint in config.smtp.listen]
    if any(each.is_unspecified for each in listening) and not config.server.proxy_protocol:
        return own_addresses()
    return tuple(str(each) for each in listening if each.is_global)


def records_detail(records: Sequence[Record]) -> Records:
    return Records(items=[_record(record) for record in records])


def check_detail(survey: Survey) -> Check:
    return Check(
        items=[
            CheckedDetail(
                **dict(_record(checked.record)),
                state=checked.state,
                reason=checked.reason,
                answers=[
                    SightingDetail(
                        source=sighting.source,
                        state=sighting.state,
                        found=list(sighting.found.values),
                        ttl_s=sighting.found.ttl_s,
                        problem=sighting.found.problem,
                    )
                    for sighting in checked.sightings
                ],
            )
            for checked in survey.checked
        ],
        problems=list(survey.problems),
        behind=survey.behind,
    )


def _record(record: Record) -> RecordDetail:
    return RecordDetail(
        key=record.key,
        tier=record.tier,
        name=record.name,
        type=record.kinds[0],
        values=list(record.values),
        why=record.why,
    )
