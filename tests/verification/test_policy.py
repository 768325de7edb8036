"""What the owner has chosen to happen: refusals, block lists, the folder of what may be spam."""

import json
import urllib.request
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from intake.summaries import Summaries
from mail.errors import BadName
from server import admin
from store.records import Folder, OnSpam, Proof
from tests.kit import PASSWORD
from tests.nameserver import BROKEN, Records, quoted
from tests.verification.test_suites import documents
from tests.verification.world import DATA, HOST, World, word, world

ZONE: dict[str, Records] = {
    "bank.test": [("TXT", quoted("v=spf1 ip4:192.0.2.1 -all"))],
    "_dmarc.bank.test": [("TXT", quoted("v=DMARC1; p=reject; sp=none"))],
    "_dmarc.soft.test": [("TXT", quoted("v=DMARC1; p=quarantine"))],
    "_dmarc.never.test": [("TXT", quoted("v=DMARC1; p=reject; pct=0"))],
    "_dmarc.flaky.test": [("TXT", quoted("v=DMARC1; p=reject"))],
    "flaky.test": BROKEN,
    "_dmarc.broken.test": BROKEN,
    "faulty.test": [("TXT", quoted("v=spf1 nonsense -all"))],
    "_dmarc.faulty.test": [("TXT", quoted("v=DMARC1; p=none"))],
}
FORGER = "203.0.113.9"
LISTS: dict[str, Records] = {
    "2.0.0.127.bl.test": [("A", "127.0.0.2")],
    "9.113.0.203.bl.test": [("A", "127.0.0.4")],
    # What a public list says to whoever asks through an open resolver.
    "2.0.0.127.blocked.test": [("A", "127.255.255.254")],
    "8.113.0.203.blocked.test": [("A", "127.255.255.254")],
    # A list that has ended, and now has everybody on it.
    "2.0.0.127.all.test": [("A", "127.0.0.2")],
    "1.0.0.127.all.test": [("A", "127.0.0.2")],
    "8.113.0.203.all.test": [("A", "127.0.0.2")],
}


def letter(author: str) -> bytes:
    return f"From: <{author}>\r\nSubject: about {author}\r\n\r\nhello\r\n".encode()


def test_failed_reject_is_refused_where_that_was_chosen_and_nothing_else(tmp_path: Path) -> None:
    with world(tmp_path, smtp='dmarc = "refuse"', zone=ZONE) as net:
        forged = net.send(letter("x@bank.test"), ip=FORGER, sender="x@bank.test")
        assert (forged.code, forged.reply.split()[0]) == (550, "5.7.1")
        honest = net.send(letter("x@bank.test"), sender="x@bank.test")
        assert net.row(honest).authentication.proof is Proof.VERIFIED
        for domain, proof in (
            ("sub.bank.test", Proof.FAILED),
            ("soft.test", Proof.FAILED),
            ("never.test", Proof.FAILED),
            ("flaky.test", Proof.UNKNOWN),
            ("broken.test", Proof.UNKNOWN),
            ("faulty.test", Proof.FAILED),
        ):
            sent = net.send(letter(f"x@{domain}"), ip=FORGER, sender=f"x@{domain}")
            assert net.row(sent).authentication.proof is proof, domain


def test_failed_reject_is_noted_by_default(tmp_path: Path) -> None:
    with world(tmp_path, zone=ZONE) as net:
        sent = net.send(letter("x@bank.test"), ip=FORGER, sender="x@bank.test")
        assert word(net.results(sent), "dmarc") == "fail"
        shown = net.row(sent).authentication
        assert (shown.proof, shown.domain) == (Proof.FAILED, "bank.test")
        [row] = api(net, "inbox")
        assert row["auth"]["verdict"] == "failed"
        assert row["auth"]["domain"] == "bank.test"


@pytest.mark.parametrize(("trusted", "code"), [("example.org", 250), ("other.example", 550)])
def test_a_trusted_seal_saves_what_dmarc_would_refuse(
    tmp_path: Path, trusted: str, code: int
) -> None:
    path = DATA / "arc/arc-draft-validation-tests.yml"
    if not path.exists():
        pytest.skip("../shared/data is not beside this checkout")
    group = documents(path)[0]
    zone: dict[str, Records] = {
        name.lower(): [("TXT", quoted(text))] for name, text in group["txt-records"].items()
    }
    zone["_dmarc.d1.example.org"] = [("TXT", quoted("v=DMARC1; p=reject"))]
    smtp = f'dmarc = "refuse"\narc_trusted = ["{trusted}"]'
    with world(tmp_path, smtp=smtp, zone=zone) as net:
        message = group["tests"]["cv_pass_i1_1"]["message"].encode()
        assert net.send(message, ip=FORGER).code == code
        changed = message.replace(b"Hey gang", b"Hey you")
        assert net.send(changed, ip=FORGER).code == 550


def test_the_client_of_a_server_of_ours_is_the_one_that_is_judged(tmp_path: Path) -> None:
    with world(tmp_path, smtp='trusted_hops = ["198.51.100.0/24"]', zone=ZONE) as net:
        for client, result in (("192.0.2.1", "pass"), (FORGER, "fail")):
            inner = "Received: from mx2.example.test (mx2 [198.51.100.7])\r\n\tby mx1; x\r\n"
            outer = f"Received: from a.test (a.test [{client}])\r\n\tby mx2; x\r\n"
            told = inner.encode() + outer.encode() + letter("x@bank.test")
            sent = net.send(told, ip="198.51.100.8", sender="x@bank.test")
            assert net.results(sent)["spf"][0].split()[0] == result
            # From a stranger the same lines are a story.
            sent = net.send(told, ip=FORGER, sender="x@bank.test")
            assert net.results(sent)["spf"][0].split()[0] == "fail"


def test_suspected_spam_is_marked_held_or_refused_as_the_account_chose(tmp_path: Path) -> None:
    smtp = 'dnsbl = ["bl.test", "blocked.test", "all.test"]'
    with world(tmp_path, smtp=smtp, zone=ZONE | LISTS) as net:
        other = net.live.add_user("eve", "eve@example.test")
        maildrops = net.live.store.maildrops

        clean = net.send(letter("x@y.test"), ip="203.0.113.8")
        assert not net.row(clean).authentication.suspected

        tagged = net.send(letter("x@y.test"), ip=FORGER)
        assert net.row(tagged).authentication.suspected
        message = net.fetch(tagged.uid)
        assert b"\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes (listed by bl.test)\r\n" in message

        net.live.run(maildrops.set_on_spam(net.maildrop, OnSpam.HOLD))
        held = net.send(letter("x@y.test"), ip=FORGER)
        assert net.row(held).folder is Folder.HELD
        [row] = api(net, "held")
        assert (row["id"], row["folder"]) == (held.uid, "held")
        assert row["auth"]["suspected_spam"] is True
        assert len(api(net, "inbox")) == 2

        net.live.run(maildrops.set_on_spam(other, OnSpam.REFUSE))
        refused = net.send(letter("x@y.test"), ip=FORGER, to="eve@example.test")
        assert (refused.code, refused.reply.split()[0]) == (550, "5.7.1")


def test_who_has_mail_held_is_told_once_a_day(tmp_path: Path) -> None:
    with world(tmp_path, smtp='dnsbl = ["bl.test"]', zone=LISTS) as net:
        net.live.run(admin.user_spam(net.live.desk, login="ann", wish="hold"))
        with pytest.raises(BadName):
            net.live.run(admin.user_spam(net.live.desk, login="ann", wish="burn"))
        for number in range(3):
            net.send(letter(f"x{number}@y.test"), ip=FORGER)
        later = [timedelta(), timedelta(hours=1), timedelta(hours=25)]
        told = []
        for passed in later:
            at = datetime.now(UTC) + passed
            net.live.run(
                Summaries(net.live.store, hostname=HOST, clock=partial(copy, at)).run_once()
            )
            told.append(len(api(net, "inbox")))
        assert told == [1, 1, 1]  # nothing new has come on the second day
        [row] = api(net, "inbox")
        assert row["subject"] == "Held as suspected spam: 3 new"
        text = net.fetch(row["id"]).decode()
        assert all(f"about x{number}@y.test" in text for number in range(3))


def api(net: World, folder: str) -> list[dict[str, Any]]:
    base = f"http://{net.live.http}/api"
    credentials = json.dumps({"login": "ann", "password": PASSWORD}).encode()
    token = called(f"{base}/auth/login", credentials, {})["access_token"]
    answer = called(f"{base}/emails?folder={folder}", None, {"Authorization": f"Bearer {token}"})
    rows: list[dict[str, Any]] = answer["items"]
    return rows


def called(url: str, body: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
    kind = {"Content-Type": "application/json"} if body else {}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers | kind)) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found
