"""Asks for the newest page of mail, again and again, on one connection.

python -m bench.load_api JOB       JOB: Pages, as JSON; the answer is a Load, as JSON
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from dataclasses import dataclass
from functools import partial

from bench.letters import Wrong
from bench.wire import PATIENCE_S, Load, tell, together

PAGE = 50


@dataclass(frozen=True, slots=True)
class Pages:
    port: int
    token: str
    count: int


def pages(job: Pages) -> Load:
    return together([partial(_pages, job)])


def _pages(job: Pages) -> list[float]:
    times = []
    client = http.client.HTTPConnection("127.0.0.1", job.port, timeout=PATIENCE_S)
    for _ in range(job.count):
        began = time.perf_counter()
        client.request("GET", "/api/emails", headers={"Authorization": f"Bearer {job.token}"})
        answer = client.getresponse()
        octets = answer.read()
        times.append(time.perf_counter() - began)
        items = json.loads(octets).get("items", [])
        if answer.status != 200 or len({item["id"] for item in items}) != PAGE:
            raise Wrong(f"status {answer.status}: {octets[:200]!r}")
    client.close()
    return times


if __name__ == "__main__":
    tell(lambda: pages(Pages(**json.loads(sys.argv[1]))))
