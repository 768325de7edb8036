"""What the results of all checks of an arrival come to. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from intake import dmarc, spf
from intake.chain import Chain
from intake.signatures import (
    BodyHash,
    Canon,
    Field,
    Key,
    Refused,
    Signature,
    key_of,
    signed_header,
    verify,
)
from mail.address import Address, parse_domain
from mail.errors import BadAddress
from mail.results import Result
from store.records import Proof


@dataclass(frozen=True, slots=True)
class Client:
    """Who brought a message, and what it said of itself."""

    ip: str
    helo: str
    sender: Address | None


@dataclass(frozen=True, slots=True)
class Findings:
    """`unwanted`: the domain asks everybody to refuse this message, and nothing speaks for it."""

    results: tuple[Result, ...] = ()
    proof: Proof = Proof.UNCHECKED
    domain: str = ""  # of the author
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """What is read in the header before anything is asked."""

    fields: tuple[Field, ...]
    whole: bool
    author: Address | None
    signatures: tuple[Signature | Result, ...]
    ignored: int
    chain: Chain | Refused | None

    @property
    def forms(self) -> set[Canon]:
        found = {each.body_form for each in self.signatures if isinstance(each, Signature)}
        return found | ({self.chain.newest.body_form} if isinstance(self.chain, Chain) else set())


@dataclass(slots=True)
class Answers:
    """What has come in so far."""

    spf: dict[str, spf.Verdict] = field(default_factory=dict)  # by identity
    keys: dict[str, tuple[bytes, ...] | Refused] = field(default_factory=dict)
    bodies: dict[Canon, BodyHash] = field(default_factory=dict)
    policy: dmarc.Policy | Refused | None = None
    policy_known: bool = False


def judge(
    client: Client, marks: Marks, answers: Answers, trusted: Sequence[str], now: float
) -> Findings:
    """All results from all answers."""
    results = _spf_results(client, answers)
    signed: list[str] = []
    unclear = results[0].result == "temperror"  # that of the sender, if there is one
    for each in marks.signatures:
        if isinstance(each, Signature):
            outcome, why = _outcome(each, marks.fields, answers, now)
            unclear |= outcome == "temperror"
            if outcome == "pass":
                signed.append(each.domain)
            key = (("header.d", str(each.domain)), ("header.s", each.selector))
            results.append(Result("dkim", outcome, why, key))
        else:
            results.append(each)
    if marks.ignored:
        results.append(Result("dkim", "policy", f"{marks.ignored} more signatures not looked at"))
    if not marks.whole:
        results += [Result(name, "permerror", "header too large") for name in ("dkim", "dmarc")]
        return Findings(tuple(results), Proof.UNKNOWN)
    if not marks.signatures:
        results.append(Result("dkim", "none"))
    arc = _arc_result(marks, answers)
    if marks.author is None:
        results += [Result("dmarc", "permerror", "not one author"), *arc]
        return Findings(tuple(results), Proof.UNKNOWN)
    vouched = (
        bool(arc)
        and arc[0].result == "pass"
        and isinstance(marks.chain, Chain)
        and marks.chain.vouched_by(trusted)
    )
    found = _dmarc(marks.author.domain, answers, _sending(client, answers), signed)
    result, proof = found.results[0], found.proof
    if unclear and proof is not Proof.VERIFIED:
        proof = Proof.UNKNOWN
        if result.result == "fail":
            result = replace(result, result="temperror", why="a check could not be finished")
    unwanted = found.unwanted and proof is Proof.FAILED and not vouched
    return Findings((*results, result, *arc), proof, marks.author.domain, unwanted)


def _sending(client: Client, answers: Answers) -> list[str]:
    """The domain that SPF has proven for DMARC: HELO's only for the null sender (section 3.1.2)."""
    identity = "mailfrom" if client.sender else "helo"
    verdict = answers.spf.get(identity)
    if verdict is None or verdict.result != "pass":
        return []
    return [client.sender.domain if client.sender else client.helo.lower()]


def _spf_results(client: Client, answers: Answers) -> list[Result]:
    identities: dict[str, str] = {}
    if client.sender:
        identities["mailfrom"] = client.sender.domain
    try:
        identities["helo"] = parse_domain(client.helo)
    except BadAddress:
        identities["helo"] = ""
    results = []
    for identity, domain in identities.items():
        verdict = answers.spf.get(identity, spf.Verdict("temperror", "DNS did not answer"))
        shown = ((f"smtp.{identity}", domain),) if domain else ()
        results.append(Result("spf", verdict.result, verdict.why, shown))
    return results


def _outcome(
    signature: Signature, fields: Sequence[Field], answers: Answers, now: float
) -> tuple[str, str]:
    try:
        _check(signature, fields, answers)
    except Refused as refused:
        return refused.outcome, refused.why
    if signature.until is not None and signature.until < now:
        return "fail", "it has expired"  # RFC 6376 section 3.5, x=
    return "pass", ""


def _check(signature: Signature, fields: Sequence[Field], answers: Answers) -> None:
    """Raises Refused."""
    key = _known_key(signature, answers)
    body = answers.bodies.get(signature.body_form)
    if body is None:
        raise Refused("temperror", "the body could not be read in time")
    if signature.length is not None and signature.length != body.octets:
        # RFC 6376 section 8.2: anything may have been put behind what is signed.
        raise Refused("policy", "only a part of the body is signed")
    if body.digest != signature.body_hash:
        raise Refused("fail", "the body was changed")
    verify(key, signature, signed_header(fields, signature))


def _known_key(signature: Signature, answers: Answers) -> Key:
    records = answers.keys.get(signature.key_name, Refused("temperror", "DNS did not answer"))
    if isinstance(records, Refused):
        raise records
    return key_of(records, signature)


def _arc_result(marks: Marks, answers: Answers) -> list[Result]:
    if marks.chain is None:
        return []
    try:
        if isinstance(marks.chain, Refused):
            raise marks.chain
        _check(marks.chain.newest, marks.fields, answers)
        for seal, text in marks.chain.sealed():
            verify(_known_key(seal, answers), seal, text)
    except Refused as refused:
        # RFC 8617 section 5.2: a chain that is not right in every part has failed.
        outcome = "temperror" if refused.outcome == "temperror" else "fail"
        return [Result("arc", outcome, refused.why)]
    return [Result("arc", "pass", f"{len(marks.chain.links)} hops")]


def _dmarc(of: str, answers: Answers, sending: Sequence[str], signed: Sequence[str]) -> Findings:
    shown = (("header.from", of),)
    policy = answers.policy
    if not answers.policy_known:
        policy = Refused("temperror", "DNS did not answer")
    if isinstance(policy, Refused):
        return Findings((Result("dmarc", policy.outcome, policy.why, shown),), Proof.UNKNOWN)
    proven = dmarc.passes(policy, of, spf=sending, dkim=signed)
    if policy is None:
        proof = Proof.VERIFIED if proven else Proof.UNPROVEN
        return Findings((Result("dmarc", "none", "no policy", shown),), proof)
    why = f"p={policy.wish}"
    if proven:
        return Findings((Result("dmarc", "pass", why, shown),), Proof.VERIFIED)
    # Section 6.6.4: of a part of its mail the domain asks for less than that.
    chosen = secrets.randbelow(100) < policy.percent
    return Findings(
        (Result("dmarc", "fail", why, shown),),
        Proof.FAILED,
        unwanted=policy.wish == "reject" and chosen,
    )
