"""Nobody's mail is carried on: tests/corpora/relay.txt, by the parts and over the wire."""

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path as File
from typing import NamedTuple

import pytest

from intake.recipients import resolve
from mail.address import Address, Path, parse_domain
from mail.errors import BadAddress, NotOurDomain, UnknownRecipient
from tests.kit import Live, live_server

FILE = File(__file__).resolve().parents[1] / "corpora/relay.txt"
LINE = re.compile(r"(\S+) +(\S.*?)  +(.+)")


class Form(NamedTuple):
    reaches: str | None
    path: str


def forms() -> Iterator[Form]:
    for line in FILE.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            who, path, _ = match.groups()
            text = re.sub(r"\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), path)
            yield Form(None if who == "no" else who, text)


FORMS = list(forms())
USERS = {
    "root": (),
    "ann": ("ann@example.org",),
    "john": ('"john smith"@example.org',),
    "rené": ("rené@bücher.example",),
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("relay")) as live:
        domains = live.store.domains
        for name in ("example.org", "bücher.example"):
            live.run(domains.add(parse_domain(name)))
        alias = domains.add(parse_domain("alias.example"), alias_of=parse_domain("example.org"))
        live.run(alias)
        for name, addresses in USERS.items():
            live.add_user(login(name), *addresses, admin_role=name == "root")
        yield live


def login(name: str) -> str:
    return name.replace("é", "e")


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len({form.path for form in FORMS}) == len(FORMS) >= 80


@pytest.mark.parametrize("form", FORMS, ids=lambda form: ascii(form.path))
def test_only_our_own_recipients_are_resolved(live: Live, form: Form) -> None:
    reached = None
    try:
        path, rest = Path.read(form.path)
    except BadAddress:
        assert form.reaches is None
        return
    if path.address and not rest:
        reached = _resolved(live, path.address)
    assert reached == (login(form.reaches) if form.reaches else None)


def _resolved(live: Live, address: Address) -> str | None:
    try:
        recipient = live.run(resolve(address, live.store))
    except (NotOurDomain, UnknownRecipient):
        return None
    assert recipient.address == address
    accounts = live.run(live.store.accounts.all())
    [name] = [each.login for each in accounts if (each.maildrop_id,) == recipient.maildrops]
    return name


def test_mail_in_a_circle_is_refused_for_good(live: Live) -> None:
    kept = live.send(b"Subject: x\r\n\r\nround\r\n", "Ann+Tag@example.org")
    content = live.fetch("ann")[kept]
    with smtplib.SMTP(live.smtp.host, live.smtp.port, timeout=60) as client:
        with pytest.raises(smtplib.SMTPDataError, match="5\\.4\\.6") as refused:
            client.sendmail(
                "bob@example.net", ["ann+tag@alias.example", "ann+tag@example.org"], content
            )
        assert refused.value.smtp_code == 550
        client.sendmail("bob@example.net", ["ann@example.org"], content)


def test_over_the_wire(live: Live) -> None:
    for form in FORMS:
        # One connection each: refusals end a session.
        with smtplib.SMTP(live.smtp.host, live.smtp.port, timeout=60) as client:
            client.ehlo("client.example.net")
            offered = client.has_extn("smtputf8")
            client.putcmd("MAIL FROM:<bob@example.net>" + " SMTPUTF8" * offered)
            assert client.getreply()[0] == 250
            client.send(b"RCPT TO:" + form.path.encode() + b"\r\n")
            code, reply = client.getreply()
        if form.path.isascii() or offered:
            assert (code == 250) == bool(form.reaches), (form, code, reply)
        assert code == 250 or 500 <= code < 560, (form, code, reply)
