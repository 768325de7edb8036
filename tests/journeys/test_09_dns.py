"""`restante dns`: what to enter at a registrar, and whether it is there."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.kit import CONFIG
from tests.nameservers import nameservers
from tests.program import restante, running, succeed

Needs = Callable[[str], str]

ZONE = """\
$TTL 1
@ MX 10 mail.example.test.
@ TXT "v=spf1 -all"
_dmarc TXT "v=DMARC1; p=none"
"""


def test_records_are_shown_and_who_sends_is_remembered(two_users: Path) -> None:
    def shown(*options: str) -> str:
        return succeed("dns", "show", "example.org", *options, folder=two_users)

    unsure = shown()
    assert "v=spf1" not in unsure
    assert "p=none" in unsure
    assert "--sends-via nobody" in unsure
    assert "PTR" in unsure
    assert "v=spf1 include:_spf.a.example -all" in shown("--sends-via", "include:_spf.a.example")
    assert 'example.org. 3600 IN TXT "v=spf1 include' in shown("--format", "zone")
    wrong = restante("dns", "show", "example.org", "--sends-via", "all", folder=two_users)
    assert wrong.returncode == 4
    assert "include:_spf.example.net" in wrong.stderr
    unknown = restante("dns", "show", "example.org", "--only", "ptr", folder=two_users)
    assert unknown.returncode == 2
    assert "dmarc" in unknown.stderr


def test_a_check_tells_what_to_change_and_watching_ends_when_it_is_there(
    tmp_path: Path, needs: Needs
) -> None:
    with nameservers(tmp_path, {"signed.test": ZONE}, needs) as dns:
        config = CONFIG.format(smtp=0, pop3=0, http=0)
        resolvers = f'[server]\nresolvers = ["{dns.resolver}"]\n'
        (tmp_path / "config.toml").write_text(config.replace("[server]\n", resolvers))
        succeed("domain", "add", "signed.test", folder=tmp_path)
        succeed("dns", "show", "signed.test", "--sends-via", "nobody", folder=tmp_path)
        found = restante("dns", "check", "signed.test", folder=tmp_path)
        assert found.returncode == 1
        lines = found.stdout.splitlines()
        assert [line.split()[:3] for line in lines if line.startswith(("ok ", "wrong "))] == [
            ["ok", "signed.test", "MX"],
            ["ok", "signed.test", "TXT"],
            ["wrong", "_dmarc.signed.test", "TXT"],
        ]
        assert "s left)" in lines[1]
        assert [line for line in lines if line.startswith("_dmarc.signed.test TXT should be: v=DM")]
        watch = ("dns", "check", "signed.test", "--watch", "--every", "1")
        with running(*watch, folder=tmp_path) as watching:
            watching.line("^wrong +_dmarc")
            dns.serve("signed.test", ZONE.replace("p=none", "p=reject"))
            watching.line("^ok +_dmarc")
        told = json.loads(restante("dns", "check", "signed.test", "--json", folder=tmp_path).stdout)
        assert told["items"][0]["state"] == "ok"
        assert told["items"][0]["answers"][1]["found"] == ["10 mail.example.test."]
