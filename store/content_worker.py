"""A process that reads strangers' messages and nothing else: `store.content` starts and ends it.

It says READY when it has started. A request on its standard input is a line of JSON
`{"octets": n, "wish": {...}}` and n octets of a message; the answer on its standard output is a
line of JSON. It holds no socket, key or database. What takes too much time ends it by a signal, too
much memory by its exit status.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import asdict
from typing import IO, Any

from mail.digest import Wish, digest

CPU_S = 2.0  # for one message
MEMORY_OCTETS = 256 * 1024 * 1024
ANSWER_OCTETS = 8 * 1024 * 1024
BEYOND_OUTPUT = b'{"limit": "output"}\n'
OUT_OF_MEMORY = 3  # exit status
READY = b"\n"  # said once, before any answer


def main() -> int:
    """Answers until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS, MEMORY_OCTETS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server to act on
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while line := requests.readline():
        try:
            answers.write(_answer(json.loads(line), requests))
        except MemoryError:
            return OUT_OF_MEMORY
        answers.flush()
    return 0


def _answer(request: dict[str, Any], requests: IO[bytes]) -> bytes:
    content = requests.read(request["octets"])
    signal.setitimer(signal.ITIMER_PROF, CPU_S)  # the signal has no handler: it ends the process
    found = asdict(digest(content, Wish(**request["wish"])))
    answer = json.dumps(found, ensure_ascii=False).encode() + b"\n"
    signal.setitimer(signal.ITIMER_PROF, 0)
    return answer if len(answer) <= ANSWER_OCTETS else BEYOND_OUTPUT
