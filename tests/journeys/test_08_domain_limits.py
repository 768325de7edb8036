"""What a domain asks of mail that is sent to it, beyond what the server asks."""

import json
import smtplib
from pathlib import Path

from tests.kit import CONFIG, DOMAIN, live_server, trusting
from tests.program import restante, succeed

ANN, OPEN = f"ann@{DOMAIN}", "ann@open.example"


def test_a_domain_takes_small_mail_over_tls_alone(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    with live_server(tmp_path) as live:
        succeed("domain", "add", "open.example", folder=tmp_path)
        live.add_user("ann", ANN, OPEN)
        asked = ("--max-message", "2K", "--require-tls")
        told = json.loads(succeed("domain", "set", DOMAIN, *asked, "--json", folder=tmp_path))
        assert (told["max_message"], told["require_tls"]) == (2048, True)
        shown = succeed("domain", "show", DOMAIN, folder=tmp_path)
        assert "up to 2048 octets" in shown
        assert "only those with TLS" in shown
        assert restante("domain", "set", DOMAIN, "--max-message", "x", folder=tmp_path).returncode

        with smtplib.SMTP(live.smtp.host, live.smtp.port, timeout=60) as client:
            client.ehlo("client.example.net")
            client.mail("bob@example.net")
            code, text = client.rcpt(ANN)
            assert (code, text[:5]) == (530, b"5.7.0")
            assert client.rcpt(OPEN)[0] == 250  # another domain's mail is not held up
            client.rset()
            client.starttls(context=trusting())
            client.ehlo("client.example.net")
            client.mail("bob@example.net", ["SIZE=2049"])
            code, text = client.rcpt(ANN)
            assert (code, text[:5]) == (552, b"5.3.4")
            assert client.rcpt(OPEN)[0] == 250
            client.rset()
            # RFC 1870 section 6.3: what was not declared is measured.
            for octets, status in ((2049, 552), (2048, 250)):
                client.mail("bob@example.net", ["SIZE=10"])
                assert client.rcpt(ANN)[0] == 250
                assert client.data(b"\r\n" + b"x" * (octets - 4) + b"\r\n")[0] == status

        none = ("--max-message", "", "--no-require-tls")
        told = json.loads(succeed("domain", "set", DOMAIN, *none, "--json", folder=tmp_path))
        assert (told["max_message"], told["require_tls"]) == (None, False)
        live.send(b"Subject: x\r\n\r\n" + b"x" * 3000 + b"\r\n", ANN)
        assert len(live.fetch("ann")) == 2
