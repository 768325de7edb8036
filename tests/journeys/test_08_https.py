"""The API over TLS, under the name that browsers type."""

import http.client
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from net.tls import make_self_signed
from tests.kit import CONFIG, Live, live_server, trusting
from tests.program import succeed

PUBLIC = "web.example.test:8443"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    api = f'[api]\nlisten = ["127.0.0.1:0"]\npublic_url = "https://{PUBLIC}"\n'
    (tmp_path / "config.toml").write_text(text.replace("[api]\n", api))
    return tmp_path


def asked(
    live: Live, path: str, *, tls: bool, fields: Mapping[str, str] | None = None
) -> http.client.HTTPResponse:
    """The answer, read to its end."""
    place = live.https if tls else live.http
    assert place
    connection = (
        http.client.HTTPSConnection(place.host, place.port, context=trusting(), timeout=60)
        if tls
        else http.client.HTTPConnection(place.host, place.port, timeout=60)
    )
    connection.request("GET", path, headers=fields or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_the_api_is_served_over_tls(folder: Path) -> None:
    with live_server(folder) as live:
        secure, plain = (asked(live, "/login", tls=tls) for tls in (True, False))
        assert (secure.status, plain.status) == (200, 200)
        cookie = secure.headers["Set-Cookie"]
        assert cookie.startswith("__Host-restante=")
        assert cookie.endswith("; Secure")
        assert "Secure" not in plain.headers["Set-Cookie"]
        # A browser that remembers us would not let anybody accept a certificate that we made.
        assert "Strict-Transport-Security" not in secure.headers
        for host, status in ((PUBLIC, 200), ("mail.example.test", 200), ("evil.example", 421)):
            assert asked(live, "/api/", tls=True, fields={"Host": host}).status == status
        invite = succeed("invite", "add", folder=folder)
        assert f"https://{PUBLIC}/register?invite=" in invite


def test_a_browser_may_remember_a_trusted_certificate(folder: Path) -> None:
    pair = folder / "mail.crt", folder / "mail.key"
    make_self_signed(*pair, hostname="mail.example.test", now=datetime.now(UTC))
    tls = f'[tls]\nmode = "files"\ncert_file = "{pair[0]}"\nkey_file = "{pair[1]}"\n'
    with (folder / "config.toml").open("a") as config:
        config.write(tls)
    with live_server(folder) as live:
        for path, status in (("/api/", 200), ("/api/me", 401)):
            secure = asked(live, path, tls=True)
            assert secure.status == status
            assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert "RateLimit" not in secure.headers  # this machine is exempt
            assert "Strict-Transport-Security" not in asked(live, path, tls=False).headers


def test_it_speaks_http_1_1_and_no_other_protocol(folder: Path) -> None:
    with live_server(folder) as live:
        assert live.https
        for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), (["pop3"], None)):
            context = trusting()
            context.set_alpn_protocols(offered)
            connection = http.client.HTTPSConnection(
                live.https.host, live.https.port, context=context, timeout=60
            )
            connection.connect()
            assert isinstance(connection.sock, ssl.SSLSocket)
            assert connection.sock.selected_alpn_protocol() == agreed
            connection.close()
