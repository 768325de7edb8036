"""What an operator sees of the running server: readiness, metrics, settings."""

import json
import poplib
import smtplib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from server.config import KEYS
from tests.kit import DOMAIN, PASSWORD, Live, live_server


def asked(live: Live, path: str, token: str = "") -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://{live.http}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: bytes = answer.read()
        return found


def metrics(live: Live) -> dict[str, float]:
    lines = asked(live, "/metrics").decode().splitlines()
    shown = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(number) for name, _, number in shown}


def admin_token(live: Live) -> str:
    live.add_user("root", f"root@{DOMAIN}", admin_role=True)
    body = json.dumps({"login": "root", "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{live.http}/api/auth/login", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["access_token"])


def test_metrics_follow_what_happens(tmp_path: Path) -> None:
    with live_server(tmp_path) as live:
        live.add_user("ann", f"ann@{DOMAIN}")
        before = metrics(live)
        live.send(b"Subject: x\r\n\r\n", f"ann@{DOMAIN}")
        with smtplib.SMTP(live.smtp.host, live.smtp.port, timeout=60) as client:
            client.ehlo("client.example.net")
            client.mail("bob@example.net")
            assert client.rcpt(f"nobody@{DOMAIN}")[0] == 550
            assert metrics(live)['restante_connections{listener="smtp"}'] == 1
        with pytest.raises(poplib.error_proto):
            live.pop3_client("ann", "wrong")
        assert len(live.fetch("ann")) == 1
        after = metrics(live)
        grown = {name: after[name] - before.get(name, 0) for name in after}
        assert grown["restante_mail_kept_total"] == 1
        assert 100 < grown["restante_mail_kept_octets_total"] < 2000
        assert grown['restante_mail_refused_total{reason="UnknownRecipient"}'] == 1
        assert grown["restante_pop3_sign_ins_total"] == 1
        assert grown['restante_pop3_refused_total{reason="BadCredentials"}'] == 1
        assert grown["restante_store_messages"] == 1
        assert after['restante_ready{part="store"}'] == 1
        assert not [name for name in after if "ann" in name or "127.0.0.1" in name]


def test_readiness_and_what_it_is_set_to(tmp_path: Path) -> None:
    config = "[store]\nquota_mib = 7\n"
    with live_server(tmp_path, config=config) as live:
        ready = json.loads(asked(live, "/readyz"))
        every = {"listeners": True, "store": True, "space": True}
        assert ready == {"ready": True, "parts": every}
        token = admin_token(live)
        settings: dict[str, Any] = {
            each["key"]: each for each in json.loads(asked(live, "/api/config", token))["items"]
        }
        assert len(settings) == len(KEYS)
        quota = settings["store.quota_mib"]
        assert (quota["value"], quota["source"], quota["default"]) == (7, "file", 2048)
        assert settings["tls.mode"]["source"] == "default"
        server = json.loads(asked(live, "/api/server", token))
        assert server["listeners"]["smtp"] == [str(live.smtp)]
        [certificate] = server["certificates"]
        assert certificate["sha256"].count(":") == 31
        assert server["store"]["url"].startswith("sqlite:///")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(live, "/api/config")
