"""A certificate that ends soon is told of, wherever it comes from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from net.tls import SELF_SIGNED_DAYS, make_self_signed
from server import acme_files
from server.doctor import Patient, examine
from tests.authority import Authority
from tests.kit import CONFIG, Live, live_server
from tests.waiting import free_port, until

HOST = "mail.example.test"


def configure(folder: Path, tls: str) -> None:
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    (folder / "config.toml").write_text(f"{text}[tls]\n{tls}")
    (folder / "data").mkdir(mode=0o700)


def told(live: Live) -> list[str]:
    found: list[str] = live.run(live.server.status())["certificate_findings"]
    return found


def doctor(live: Live) -> list[tuple[str, str, str]]:
    server = live.server
    patient = Patient(server.config, server.store, server.certificate)
    found = live.run(examine(patient, ["tls"]))
    return [(each.mark, each.text, each.next) for each in found.items]


@pytest.mark.parametrize("left", [22, 20])
def test_one_that_the_server_made(tmp_path: Path, left: int) -> None:
    configure(tmp_path, 'mode = "self-signed"\n')
    then = datetime.now(UTC) - timedelta(days=SELF_SIGNED_DAYS - left, minutes=-5)
    pair = (tmp_path / "data/tls" / f"self-signed.{kind}" for kind in ("crt", "key"))
    make_self_signed(*pair, hostname=HOST, now=then)
    with live_server(tmp_path) as live:
        assert told(live) == ["the certificate ends in 20 days"] * (left == 20)


def test_files_and_those_of_other_names(tmp_path: Path) -> None:
    aside = tmp_path / "pairs"
    aside.mkdir()
    authority = Authority(aside)
    for name, days in ((HOST, 22), ("long.example", 22), ("short.example", 20)):
        authority.issue(name, days=days)
    files = f'cert_file = "{aside}/{HOST}.crt"\nkey_file = "{aside}/{HOST}.key"\n'
    configure(tmp_path, f'mode = "files"\n{files}')
    with live_server(tmp_path) as live:
        short = ["the certificate of short.example ends in 20 days"]
        assert told(live) == short

        # One that has ended does not take the place of one that has not, and is told of.
        authority.issue(HOST, days=-1)
        live.server.reload()
        [refused, *others] = told(live)
        assert refused.startswith(f"the files as they are now were not taken: {aside}/{HOST}.crt")
        assert others == short
        show = "restante cert show"
        assert doctor(live) == [("fix", refused, show), ("fix", *short, show)]
        for name in (HOST, "short.example"):
            authority.issue(name, days=60)
        live.server.reload()
        assert told(live) == []


@pytest.mark.parametrize(
    ("left", "also"), [(22, ""), (20, "; the one that is served ends in 20 days")]
)
def test_one_of_an_authority_that_is_away(tmp_path: Path, left: int, also: str) -> None:
    configure(tmp_path, f'mode = "acme"\nacme_directory = "https://127.0.0.1:{free_port()}/dir"\n')
    folder = acme_files.folder(tmp_path / "data")
    folder.mkdir(parents=True)
    Authority(folder).issue(HOST, days=left)
    with live_server(tmp_path) as live:
        until(lambda: HOST in acme_files.read_failures(tmp_path / "data"), "the first failure")
        away = "no new certificate (the authority cannot be reached: ConnectionError)"
        assert told(live) == [f"{HOST}: {away}{also}"]
        assert doctor(live) == [("fix", f"{HOST}: {away}{also}", "restante cert renew")]
