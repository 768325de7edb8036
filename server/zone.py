"""The DNS records that a domain should have, and what is to be said of those that it has.

Values alone: no name server is asked here. docs/set-up.md tells what each record is for.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mail.mta_sts import policy_id, policy_text
from net.lookup import Kind

# fmt: off
Key = Literal[
    "mx", "address", "spf", "dmarc", "dkim", "mta-sts", "tls-rpt", "autoconfig",
    "tlsa", "caa", "srv",
]
# fmt: on
State = Literal["ok", "missing", "wrong", "extra", "skipped"]
Source = Literal["authoritative", "configured"]
Policy = Literal["off", "testing", "enforce"]

NOBODY: Final = ""  # sends mail as this domain; None: not known
TTL_S: Final = 3600  # of the records in the text of a zone
STRING_OCTETS: Final = 255  # of one string of a TXT record (RFC 1035 section 3.3)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the records of a domain follow from."""

    domain: str
    host: str  # whose addresses mail and mail apps connect to
    addresses: tuple[str, ...] = ()  # of the host; none: not known here
    sends_via: str | None = None  # SPF terms of who sends for it, NOBODY, or None
    mta_sts: Policy = "off"
    tlsa: str = ""  # SHA-256 of the public key that the listeners show, in hex
    ca: str = ""  # who issues the host's certificate, as CAA names it
    autoconfig: bool = True
    pop3_port: int = 995


@dataclass(frozen=True, slots=True)
class Record:
    """`values`: what should be there, as a zone file has it, TXT unquoted; none: any will do."""

    key: Key
    tier: Literal[1, 2, 3]
    name: str
    kinds: tuple[Kind, ...]  # to ask for; the first is what is shown
    values: tuple[str, ...]
    why: str
    accepted: tuple[str, ...] = ()  # other values that are as good

    def lines(self) -> Iterator[tuple[str, str]]:
        """Type and value of each record, as one enters them."""
        for value in self.values:
            kind = self.kinds[0]
            if self.key == "address":
                kind = "AAAA" if ":" in value else "A"
            yield kind, value


@dataclass(frozen=True, slots=True)
class Found:
    """What one side says. With a `problem` it says nothing."""

    values: tuple[str, ...] = ()
    ttl_s: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one side says, judged."""

    source: Source
    state: State
    found: Found


@dataclass(frozen=True, slots=True)
class Checked:
    """`state` is what the zone's own servers say, or the resolver where they say nothing."""

    record: Record
    state: State
    sightings: tuple[Sighting, ...]
    reason: str = ""  # of `skipped`


def wanted(plan: Plan) -> tuple[Record, ...]:
    """In the order in which one would enter them."""
    return (*_needed(plan), *_against_forgery(plan), *_for_senders_and_apps(plan), *_rest(plan))


def _needed(plan: Plan) -> Iterator[Record]:
    yield Record("mx", 1, plan.domain, ("MX",), (f"10 {plan.host}.",), "where mail goes")
    yield Record("address", 1, plan.host, ("A", "AAAA"), plan.addresses, "where that is")


def _against_forgery(plan: Plan) -> Iterator[Record]:
    """Nobody can pose as the domain: what would break the mail of who sends for it is left out."""
    if plan.sends_via is not None:
        terms = " ".join(["v=spf1", *plan.sends_via.split(), "-all"])
        why = "only they may send" if plan.sends_via else "nobody may send"
        yield Record("spf", 2, plan.domain, ("TXT",), (terms,), why)
        if plan.host != plan.domain:
            yield Record("spf", 2, plan.host, ("TXT",), ("v=spf1 -all",), "nobody may send")
    strict = "p=reject; sp=reject; adkim=s; aspf=s" if plan.sends_via == NOBODY else "p=none"
    why = "refuse forgeries, report them" if plan.sends_via == NOBODY else "report forgeries"
    value = f"v=DMARC1; {strict}; rua=mailto:dmarc@{plan.domain}"
    yield Record("dmarc", 2, f"_dmarc.{plan.domain}", ("TXT",), (value,), why)
    if plan.sends_via == NOBODY:
        name = f"*._domainkey.{plan.domain}"
        yield Record("dkim", 2, name, ("TXT",), ("v=DKIM1; p=",), "no key is valid")


def _for_senders_and_apps(plan: Plan) -> Iterator[Record]:
    def alias(key: Key, label: str, why: str) -> Record:
        name = f"{label}.{plan.domain}"
        kinds: tuple[Kind, ...] = ("CNAME", "A", "AAAA")
        return Record(key, 2, name, kinds, (f"{plan.host}.",), why, accepted=plan.addresses)

    if plan.mta_sts != "off":
        value = f"v=STSv1; id={policy_id(policy_text(plan.host, plan.mta_sts))}"
        why = "senders must use TLS"
        yield Record("mta-sts", 2, f"_mta-sts.{plan.domain}", ("TXT",), (value,), why)
        yield alias("mta-sts", "mta-sts", "where the policy is")
    value = f"v=TLSRPTv1; rua=mailto:tlsrpt@{plan.domain}"
    yield Record(
        "tls-rpt", 2, f"_smtp._tls.{plan.domain}", ("TXT",), (value,), "failures get reported"
    )
    if plan.autoconfig:
        yield alias("autoconfig", "autoconfig", "Thunderbird sets itself up")


def _rest(plan: Plan) -> Iterator[Record]:
    if plan.tlsa:
        value = f"3 1 1 {plan.tlsa}"
        why = "senders know the key; only in a signed zone"
        yield Record("tlsa", 3, f"_25._tcp.{plan.host}", ("TLSA",), (value,), why)
    if plan.ca:
        value = f'0 issue "{plan.ca}"'
        yield Record("caa", 3, plan.domain, ("CAA",), (value,), "only it may issue certificates")
    value = f"0 1 {plan.pop3_port} {plan.host}."
    yield Record(
        "srv", 3, f"_pop3s._tcp.{plan.domain}", ("SRV",), (value,), "where mail is; few apps ask"
    )


def check(
    records: Sequence[Record],
    found: Mapping[tuple[Record, Source], Found],
    *,
    host_signed: bool,
) -> tuple[Checked, ...]:
    """What is to be said of each record. Of a zone that is not signed TLSA records say nothing."""
    return tuple(_checked(record, found, host_signed=host_signed) for record in records)


def _checked(
    record: Record, found: Mapping[tuple[Record, Source], Found], *, host_signed: bool
) -> Checked:
    sources: tuple[Source, ...] = ("authoritative", "configured")
    sightings = tuple(
        Sighting(source, judge(record, found[record, source]), found[record, source])
        for source in sources
        if (record, source) in found
    )
    if record.key == "tlsa" and not host_signed:
        return Checked(record, "skipped", sightings, "the zone is not signed")
    for sighting in sightings:
        if sighting.state != "skipped":
            return Checked(record, sighting.state, sightings)
    reason = "; ".join(sighting.found.problem for sighting in sightings) or "nobody was asked"
    return Checked(record, "skipped", sightings, reason)


def judge(record: Record, found: Found) -> State:
    """What is to be said of one answer."""
    if found.problem:
        return "skipped"
    return JUDGES[record.key](record, found.values)


def _mx(record: Record, values: tuple[str, ...]) -> State:
    [wanted_value] = record.values
    return _one_of_them([value.split()[-1] for value in values], wanted_value.split()[-1])


def _address(record: Record, values: tuple[str, ...]) -> State:
    """Those of ours that are not there are no fault: mail comes by the others."""
    if not values:
        return "missing"
    if not record.values or set(values) <= set(record.values):
        return "ok"
    return "extra" if set(values) & set(record.values) else "wrong"


def _alias(record: Record, values: tuple[str, ...]) -> State:
    names = [value for value in values if value.endswith(".")]
    if names:
        return "ok" if names == list(record.values) else "wrong"
    if not values:
        return "missing"
    return "ok" if not record.accepted or set(values) <= set(record.accepted) else "wrong"


def _one_of_them(values: Sequence[str], value: str) -> State:
    if not values:
        return "missing"
    if value not in values:
        return "wrong"
    return "extra" if set(values) != {value} else "ok"


def _text(
    mark: str, fits: Callable[[str, str], bool]
) -> Callable[[Record, tuple[str, ...]], State]:
    """Of the TXT records at a name those that begin with `mark` count; two of them void both."""

    def read(record: Record, values: tuple[str, ...]) -> State:
        marked = [value for value in values if _begins(value, mark)]
        if len(marked) > 1:
            return "extra"
        if not marked:
            return "missing"
        return "ok" if fits(marked[0], record.values[0]) else "wrong"

    return read


def _begins(value: str, mark: str) -> bool:
    rest = value.strip()[len(mark) :]
    return value.strip().lower().startswith(mark.lower()) and (
        not mark or rest[:1] in ("", " ", ";")
    )


def _spf_fits(found: str, value: str) -> bool:
    """Who sends for a domain may like ~all better; it says the same to DMARC."""
    has, should = found.lower().split(), value.lower().split()
    if len(should) == 2:  # nobody may
        return has == should
    return set(should[1:-1]) <= set(has) and has[-1] in ("-all", "~all")


def tags(text: str) -> dict[str, str]:
    """Of `a=b; c=d`: names in lower case."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


def _dmarc_fits(found: str, value: str) -> bool:
    """As strict as it should be, or stricter; where the reports go is the owner's business."""
    ranks = ["none", "quarantine", "reject"]

    def strictness(text: str) -> tuple[int, int]:
        has = tags(text)
        policy = has.get("p", "").lower()
        of_names = has.get("sp", policy).lower()
        if policy not in ranks or of_names not in ranks or has.get("pct", "100") != "100":
            return -1, -1
        return ranks.index(policy), ranks.index(of_names)

    return all(
        has >= should for has, should in zip(strictness(found), strictness(value), strict=True)
    )


def _no_key(found: str, _value: str) -> bool:
    return tags(found).get("p") == ""


def _same_id(found: str, value: str) -> bool:
    return tags(found).get("id") == tags(value)["id"]


def _reported(found: str, _value: str) -> bool:
    return bool(tags(found).get("rua"))


_STS_TEXT = _text("v=STSv1", _same_id)


def _mta_sts(record: Record, values: tuple[str, ...]) -> State:
    return (_STS_TEXT if record.kinds[0] == "TXT" else _alias)(record, values)


def _among(record: Record, values: tuple[str, ...]) -> State:
    """Others beside ours are no fault."""
    if not values:
        return "missing"
    return "ok" if set(values) & set(record.values) else "wrong"


def _caa(record: Record, values: tuple[str, ...]) -> State:
    """RFC 8659 section 4.2: without an `issue` anybody may; parameters come after a semicolon."""
    issuers = [
        value.split('"')[1].partition(";")[0].strip().lower()
        for value in values
        if value.split()[1].lower() == "issue"
    ]
    return _among(record, tuple(f'0 issue "{issuer}"' for issuer in issuers))


def _srv(record: Record, values: tuple[str, ...]) -> State:
    [value] = record.values
    return _one_of_them(
        [" ".join(each.split()[2:]) for each in values], " ".join(value.split()[2:])
    )


JUDGES: Final[Mapping[Key, Callable[[Record, tuple[str, ...]], State]]] = {
    "mx": _mx,
    "address": _address,
    "spf": _text("v=spf1", _spf_fits),
    "dmarc": _text("v=DMARC1", _dmarc_fits),
    "dkim": _text("", _no_key),
    "mta-sts": _mta_sts,
    "tls-rpt": _text("v=TLSRPTv1", _reported),
    "autoconfig": _alias,
    "tlsa": _among,
    "caa": _caa,
    "srv": _srv,
}


UNKNOWN: Final = "the addresses of your server"


def as_table(records: Sequence[Record]) -> str:
    """For eyes: a line for each value, the tiers under each other."""
    rows = [("tier", "name", "type", "value", "why")]
    for record in records:
        lines = list(record.lines()) or [("A, AAAA", UNKNOWN)]
        rows += [(str(record.tier), record.name, *line, record.why) for line in lines]
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def as_zone(records: Sequence[Record]) -> str:
    """The text of a zone file."""
    lines = []
    for record in records:
        lines.append(f"; {record.why}")
        lines += [
            f"{record.name}. {TTL_S} IN {kind} {_quoted(value) if kind == 'TXT' else value}"
            for kind, value in record.lines()
        ]
        if not record.values:
            lines.append(f"; {record.name}. {TTL_S} IN A, AAAA: {UNKNOWN}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    parts = [text[at : at + STRING_OCTETS] for at in range(0, len(text), STRING_OCTETS)]
    return " ".join('"' + re.sub(r'([\\"])', r"\\\1", part) + '"' for part in parts or [""])


def as_csv(records: Sequence[Record]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["tier", "name", "type", "value", "why"])
    for record in records:
        for kind, value in record.lines():
            writer.writerow([record.tier, record.name, kind, value, record.why])
    return out.getvalue()
