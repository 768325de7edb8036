"""Two server processes on one PostgreSQL: what is changed at one is in force at the other."""

import json
import smtplib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from net.listen import Endpoint
from server import control
from tests.databases import Database
from tests.kit import CONFIG
from tests.program import running, succeed
from tests.waiting import until

ADDRESS = "ada@example.org"


def answers(smtp: Endpoint, recipient: str = ADDRESS) -> str:
    """The code and the enhanced code of a RCPT."""
    with smtplib.SMTP(smtp.host, smtp.port, timeout=60) as client:
        client.ehlo("client.example.net")
        client.mail("bob@example.net")
        code, text = client.rcpt(recipient)
        return f"{code} {text.decode().split()[0]}"


def test_a_change_at_one_is_in_force_at_the_other(postgresql: Database, tmp_path: Path) -> None:
    url = postgresql.url("two_servers")
    with ExitStack() as stack:
        folders, smtp = [], []
        for name in ("here", "there"):
            folder = tmp_path / name
            folder.mkdir()
            text = CONFIG.format(smtp=0, pop3=0, http=0)
            (folder / "config.toml").write_text(f'{text}[store]\nurl = "{url}"\n')
            server = stack.enter_context(running("serve", folder=folder))
            folders.append(folder)
            smtp.append(server.listening()["smtp"])

        def change(act: str, **given: object) -> None:
            """By the control socket of the first server."""
            control.ask(folders[0] / "data", act, given)

        def in_force(expected: str, recipient: str = ADDRESS) -> Callable[[], bool]:
            return lambda: answers(smtp[1], recipient) == expected

        def soon(expected: str, recipient: str = ADDRESS) -> None:
            # A second is promised; the rest is for a busy machine to start a connection in.
            until(in_force(expected, recipient), f"{recipient} {expected}", seconds=10)

        assert answers(smtp[1]) == "550 5.7.1"
        change("domain add", name="example.org")
        soon("550 5.1.1")
        change("user add", login="ada", address=ADDRESS)
        soon("250 2.1.5")
        change("address close", address=ADDRESS)
        soon("550 5.1.1")
        change("domain set", name="example.org", catch_all="ada")
        soon("250 2.1.5", "anything@example.org")
        assert answers(smtp[1]) == "550 5.1.1"  # closed, under a catch-all too
        change("address open", address=ADDRESS)
        soon("250 2.1.5")
        change("domain add", name="example.net", alias_of="example.org")
        soon("250 2.1.5", "ada+tag@example.net")
        change("user rm", login="ada")
        soon("550 5.1.1")
        change("domain rm", name="example.org", force=True)
        soon("550 5.7.1")
        soon("550 5.7.1", "ada@example.net")
        listed = json.loads(succeed("domain", "list", "--json", folder=folders[1]))
        assert listed == {"domains": []}
