"""Mail over the API, out of a maildrop of many messages.

    python bench/api_load.py [--messages N] [--engine NAME]

The client is another process on one connection that is kept open. Each line tells what one request
took there, and the work of this process, the server, on the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.store_load import VOCABULARY, Bench, engine_of
from server import logs
from tests.unit.api.conftest import SECRET, Api

ROUNDS = 60
WORD, OTHER = VOCABULARY[7], VOCABULARY[8]

# Reads a path a line, asks for each so many times, and tells the milliseconds of each.
CLIENT = """
import http.client, json, sys, time
port, token, rounds = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port))
for path in sys.stdin:
    times = []
    for _ in range(int(rounds)):
        began = time.perf_counter()
        connection.request("GET", path.strip(), headers={"Authorization": "Bearer " + token})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        times.append(1000 * (time.perf_counter() - began))
    print(json.dumps([times, len(body["items"])]), flush=True)
"""

QUERIES = {
    "page of 50": {},
    "page of 50, all folders": {"folder": "all"},
    "page of 50, with its total": {"total": "true"},
    "page of 50, by size": {"sort": "-size"},
    "search: a word": {"q": f'"{WORD}"'},
    "search: two words": {"q": f'"{WORD}" "{OTHER}"'},
    "search: the beginning of a word": {"q": WORD[:3]},
    "search: one of two words": {"q": f'"{WORD}" OR "{OTHER}"'},
    "search: a word, not another one": {"q": f'"{WORD}" -"{OTHER}"'},
    "search: no such word": {"q": "nowhere"},
    "search: subject, found at once": {"q": "subject:letter"},
    "search: subject, nowhere": {"q": "subject:nowhere"},
    "search: from and subject, one in 200": {"q": 'from:bob subject:"letter 77"'},
    "search: is:starred, none": {"q": "is:starred"},
    "search: larger:5M, none": {"q": "larger:5M"},
    "search: has:attachment, none in 5,000": {"q": "has:attachment"},
}


async def measure(api: Api, messages: int) -> None:
    await api.start()
    token = await api.token("ann")
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLIENT, str(api.port), token, str(ROUNDS)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin
    assert client.stdout
    print(f"{'':45} {'median':>9} {'slowest':>9} {'server CPU':>11}   of {messages:,} messages")
    for name, query in QUERIES.items():
        began = time.process_time()
        client.stdin.write(f"/api/emails?{urlencode(query)}\n".encode())
        times, rows = json.loads(await client.stdout.readline())
        cpu = 1000 * (time.process_time() - began) / ROUNDS
        print(
            f"{name:45} {statistics.median(times):6.1f} ms {max(times):6.1f} ms {cpu:8.1f} ms"
            f"   {rows} rows",
            flush=True,
        )
    client.stdin.close()
    await client.wait()


async def compare(url: str, messages: int) -> None:
    bench = Bench(url, max_listed=1000)
    await bench.prepare(messages, searched=True)
    bench.store.close()
    with tempfile.TemporaryDirectory() as folder:
        api = Api(Path(folder), url=url)
        try:
            await api.store.accounts.set_password("ann", await api.passwords.hash(SECRET))
            await measure(api, messages)
        finally:
            await api.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--engine", default="sqlite", choices=["sqlite", "postgresql", "mariadb"])
    options = parser.parse_args()
    logs.configure("error")
    with engine_of(options.engine) as place:
        uvloop.run(compare(place("api"), options.messages))
