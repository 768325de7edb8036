"""Two servers that share their limits through a Redis."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.kit import CONFIG, Live, live_server
from tests.program import restante
from tests.redis import Redis, redis


def asked(live: Live) -> int:
    try:
        with urllib.request.urlopen(f"http://{live.http}/api/", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def configured(folder: Path, found: Redis) -> Path:
    """A folder of a server that shares its counts, and lets five requests through."""
    folder.mkdir(mode=0o700)
    (folder / "redis-url").write_text(f"{found.url}\n")
    text = CONFIG.format(smtp=0, pop3=0, http=0).partition("[limits]")[0]
    limits = f'[limits]\napi = 5\nredis_url_file = "{folder / "redis-url"}"\n'
    (folder / "config.toml").write_text(text + limits)
    return folder


def test_two_servers_count_together(needs: Callable[[str], str], tmp_path: Path) -> None:
    with redis(needs) as found:
        one, two = (configured(tmp_path / name, found) for name in ("one", "two"))
        with live_server(one) as first, live_server(two) as second:
            assert [asked(each) for each in (first, second, first, second, first)] == [200] * 5
            assert [asked(each) for each in (first, second)] == [429] * 2
            found.stop()
            assert [asked(second) for _ in range(6)] == [200] * 5 + [429]


def test_a_url_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    configured(tmp_path / "one", Redis("", tmp_path))
    (tmp_path / "one/redis-url").write_text("secret@nowhere\n")
    refused = restante("serve", folder=tmp_path / "one")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 3)
    assert "secret" not in refused.stderr
