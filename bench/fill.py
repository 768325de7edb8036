"""A maildrop of very many messages in our store, by plain inserts, as if it had always been there.

The messages have their rows, search documents and digests, but no bodies: nothing that is measured
on them reads one.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing, redirect_stdout

from sqlalchemy import insert

from auth.passwords import Passwords
from bench.ours import Restante
from bench.parties import DOMAIN, SECRET
from bench.store_load import Bench
from mail.address import Address
from mail.digest import VERSION
from server.config import load
from server.parts import store_url
from store import schema
from store.search import FOLLOWER

LOGIN = "ann"
AT_ONCE = 5000


def fill(server: Restante, messages: int) -> None:
    """For LOGIN, whose password is SECRET. The server must not run."""
    with redirect_stdout(sys.stderr):
        asyncio.run(_fill(store_url(load(server.config, {})), messages))


async def _fill(url: str, messages: int) -> None:
    bench = Bench(url, max_listed=10_000)
    with closing(bench.store), closing(Passwords()) as passwords:
        await bench.prepare(messages, searched=True)
        for start in range(0, messages, AT_ONCE):
            digests = [
                {
                    "home": bench.drop,
                    "uid": uid.octets,
                    "snippet": "What the letter begins with, as a page of the list shows it.",
                    "attachments": '{"count":0}',
                    "parser": VERSION,
                }
                for uid in bench.kept[start : start + AT_ONCE]
            ]
            with bench.engine.begin() as connection:
                connection.execute(insert(schema.digest), digests)
        followed = {"maildrop_id": bench.drop, "name": FOLLOWER, "modseq": messages}
        with bench.engine.begin() as connection:
            connection.execute(insert(schema.follower).values(followed))
        await bench.store.profiles.change(LOGIN, quota_octets=0)  # a million messages are 5 GB
        await bench.store.accounts.set_password(LOGIN, await passwords.hash(SECRET))
        await bench.store.domains.add_address(Address.parse(f"{LOGIN}@{DOMAIN}"), LOGIN)
