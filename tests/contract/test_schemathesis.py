"""A stranger to our code reads /api/openapi.json and tries what it finds, on the live server.

schemathesis makes requests that fit the description and requests that do not, follows its links,
and looks at each answer: no fault of ours, no status and no member that is not described, the right
refusal for a wrong request, nothing found that was removed, nothing given without a credential.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collector.dial import Dialer
from tests.conftest import SEED
from tests.databases import Database
from tests.kit import DOMAIN, PASSWORD, Live, live_server

EXAMPLES = int(os.environ.get("RESTANTE_API_EXAMPLES", "20"))  # for each operation
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SCOPES = (
    *("mail:read", "mail:write", "mail:delete"),
    *("account", "events", "webhooks"),
    *("admin:read", "admin:write", "metrics"),
)
# Each wrong secret makes the answer to the next one later, up to 8 seconds.
SLOW_BY_DESIGN = "^/api/auth/(login|recover|password)$"


@pytest.fixture
def live(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    config = ""
    if engine == "postgresql":
        server: Database = request.getfixturevalue("postgresql")
        config = f'[store]\nurl = "{server.url("contract")}"\n'
    with live_server(tmp_path, config=config, dialer=nowhere) as found:
        yield found


def nowhere(dialer: Dialer) -> Dialer:
    """No host exists to the collector, and that is told at once."""

    async def none(_name: str) -> list[str]:
        return []

    return replace(dialer, resolve=none, connect_s=1.0, refusal_s=0.0)


def posted(base: str, path: str, body: object, token: str = "") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(base + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        given: dict[str, Any] = json.load(answer)
        return given


@pytest.mark.parametrize(
    ("engine", "phases"),
    [
        ("sqlite", "examples,coverage,fuzzing,stateful"),
        # The first two try each limit of the description in turn, before any store is asked.
        ("postgresql", "fuzzing,stateful"),
    ],
)
def test_the_api_keeps_to_its_description(live: Live, phases: str, tmp_path: Path) -> None:
    live.add_user("root", f"root@{DOMAIN}", admin_role=True)
    live.add_user("ann", f"ann@{DOMAIN}")
    live.send(b"Subject: x\r\n\r\nhello\r\n", f"root@{DOMAIN}")
    base = f"http://{live.http}"
    login = posted(base, "/api/auth/login", {"login": "root", "password": PASSWORD})
    wish = {"name": "contract", "scopes": SCOPES}
    token = posted(base, "/api/tokens", wish, login["access_token"])["token"]
    options = {
        "checks": "all",
        "phases": phases,
        "max-examples": EXAMPLES,
        "seed": SEED or 1,
        "exclude-path-regex": SLOW_BY_DESIGN,
        "header": f"Authorization: Bearer {token}",
        "request-timeout": 20,
        "workers": 1,  # it compiles Python, which CPython 3.11 cannot do in two threads at once
    }
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", Path(__file__).with_name("schemathesis.toml")),
            *("run", f"{base}/api/openapi.json", "--no-color", "--continue-on-failure"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
