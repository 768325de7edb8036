"""The public suites (../shared/data/SOURCES.md): sent by SMTP, verdicts read by POP3."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.nameserver import BROKEN, Records, quoted
from tests.verification.conftest import Keys
from tests.verification.world import DATA, World, crlf, spf_word, word, world

SENDERS = 8  # at once

# Why a case cannot be as the suite has it, by its name.
CANNOT_BE_SENT = {
    "toolonglabel": "RFC 1035 section 2.3.4: a label has 63 octets, so MAIL refuses the address",
    "emptylabel": "RFC 5321 section 4.1.2: a label is not empty, so MAIL refuses the address",
    "nolocalpart": "RFC 5321 section 4.1.2: a mailbox has a local part",
    "invalid-hello-macro": "RFC 5321 section 4.1.1.1: EHLO takes one name, without a space",
}
NOT_AS_GIVEN = {
    "005.txt": ("fail", "RFC 6376 section 3.5: its x= was in 2022"),
    # The suite is older than the RFC.
    "ams_fields_c_na": ("fail", "RFC 8617 section 4.1.2: as in RFC 6376 section 3.5, c= is simple"),
}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not beside this checkout")
    with world(tmp_path_factory.mktemp("suites")) as found:
        yield found


def documents(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [each for each in yaml.safe_load_all(file) if each]


def spf_zone(given: Mapping[str, list[Any]]) -> dict[str, Records]:
    """A record of the old type SPF is one of TXT, unless there is a TXT (the suite's own rule).

    TIMEOUT is a server's failure here: that is told at once, and the same to SPF.
    """
    zone: dict[str, Records] = {}
    for name, records in given.items():
        kinds = {kind for each in records if isinstance(each, dict) for kind in each}
        rows: list[tuple[str, str]] = []
        for each in records:
            if each == "TIMEOUT":
                rows += BROKEN
                continue
            [(kind, value)] = each.items()
            if kind == "SPF" and "TXT" in kinds:
                continue
            match kind:
                case "SPF" | "TXT":
                    strings = value if isinstance(value, list) else [value]
                    rows += [] if value == "NONE" else [("TXT", quoted(*strings))]
                case "MX":
                    rows.append((kind, f"{value[0]} {value[1].rstrip('.')}."))
                case "CNAME" | "PTR":
                    rows.append((kind, f"{value.rstrip('.')}."))
                case _:
                    rows.append((kind, value))
        zone[name.lower()] = rows
    return zone


def test_rfc_7208(net: World) -> None:
    wrong, seen, unsent = [], 0, set()
    for group in documents(DATA / "spf/rfc7208-tests.yml"):
        net.dns.zone = spf_zone(group["zonedata"])

        def one(case: tuple[str, dict[str, Any]]) -> tuple[str, Any, Any]:
            name, given = case
            sent = net.send(
                b"From: <x@unrelated.test>\n\nhello\n",
                ip=given["host"],
                helo=given["helo"],
                # RFC 5321 section 4.1.2: a local part with a space in it is sent in quotes.
                sender=re.sub(r"^(.* .*)@", r'"\1"@', given["mailfrom"]),
            )
            return name, given, sent

        with ThreadPoolExecutor(SENDERS) as pool:
            done = list(pool.map(one, group["tests"].items()))
        for name, given, sent in done:
            seen += 1
            if sent.code != 250:
                assert sent.code in (501, 553), (name, sent)
                unsent.add(name)
                continue
            identity = "mailfrom" if given["mailfrom"] else "helo"
            found = spf_word(net.results(sent), identity)
            wanted = given["result"]
            if found not in (wanted if isinstance(wanted, list) else [wanted]):
                wrong.append((name, wanted, found))
    assert not wrong
    assert seen == 203
    assert unsent == CANNOT_BE_SENT.keys()


def test_rfc_8617(net: World) -> None:
    wrong, seen = [], 0
    for group in documents(DATA / "arc/arc-draft-validation-tests.yml"):
        records = group.get("txt-records") or {}
        net.dns.zone = {
            name.lower(): [("TXT", quoted(text.replace("\n", "")))]
            for name, text in records.items()
        }
        cases = group["tests"]
        with ThreadPoolExecutor(SENDERS) as pool:
            done = pool.map(net.send, [case["message"].encode() for case in cases.values()])
        for (name, case), sent in zip(cases.items(), done, strict=True):
            seen += 1
            found = word(net.results(sent), "arc")
            # An empty cv stands where a chain was broken before its signatures are looked at.
            wanted, _ = NOT_AS_GIVEN.get(name, ((case["cv"] or "fail").lower(), ""))
            if found != wanted:
                wrong.append((group["description"], name, case["cv"], found))
    assert not wrong
    assert seen > 150


def test_dkim_vectors(net: World) -> None:
    wrong = []
    for path in sorted((DATA / "dkim").glob("*.txt")):
        keys, _, message = crlf(path.read_bytes()).partition(b"\r\n\r\n")
        zone: dict[str, Records] = {}
        for line in keys.decode().splitlines():
            name, _, text = line.partition(" ")
            zone[name.lower()] = [("TXT", quoted(text))]
        net.dns.zone = zone
        found = {each.split()[0] for each in net.results(net.send(message))["dkim"]}
        wanted, _ = NOT_AS_GIVEN.get(path.name, ("pass", ""))
        if found != {wanted}:
            wrong.append((path.name, found))
    assert not wrong


def test_rfc_7489(net: World, keys: Keys) -> None:
    [given] = documents(DATA / "dmarc/rfc7489-examples.yml")
    zone: dict[str, Records] = {
        name.lower(): [("TXT", quoted(text))] for name, text in given["zone"].items()
    }
    outcome = {"pass": "+all", "fail": "-all", "softfail": "~all", "neutral": "?all"}
    wrong = []
    for case in given["cases"]:
        result, sending = case["spf"]
        sending = sending or "unproven.test"
        case_zone = dict(zone)
        case_zone[sending.lower()] = [("TXT", quoted(f"v=spf1 {outcome.get(result, '?all')}"))]
        message = f"From: <{case['from']}>\r\nSubject: a case\r\n\r\nhello\r\n".encode()
        signed = message
        for number, (signature, domain) in enumerate(case["dkim"]):
            case_zone[f"s{number}._domainkey.{domain}".lower()] = [("TXT", quoted(keys.record))]
            signed = keys.sign(signed, domain, selector=f"s{number}")
            if signature == "fail":
                signed = re.sub(rb"bh=....", b"bh=AAAA", signed, count=1)
        net.dns.zone = case_zone
        results = net.results(net.send(signed, sender=f"bounce@{sending}"))
        if word(results, "dmarc") != case["want"]:
            wrong.append((case["id"], case["want"], results))
    assert not wrong
