"""A POP3 server that says what a script has it say, with a certificate of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from net.tls import make_self_signed

HOST = "pop.example.net"
MESSAGE = "From: b@x\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"
DRIP_S = 0.02

# What an honest server with one message says.
HONEST: Mapping[str, Any] = {
    "greeting": "+OK ready\r\n",
    "CAPA": "+OK\r\nUIDL\r\nSASL PLAIN\r\nPIPELINING\r\n.\r\n",
    "AUTH": "+OK\r\n",
    "USER": "+OK\r\n",
    "PASS": "+OK\r\n",
    "LIST": f"+OK\r\n1 {len(MESSAGE)}\r\n.\r\n",
    "UIDL": "+OK\r\n1 a\r\n.\r\n",
    "RETR": f"+OK\r\n{MESSAGE}.\r\n",
    "DELE": "+OK\r\n",
    "QUIT": "+OK\r\n",
}


@dataclass
class Scripted:
    """`script` maps `greeting` and verbs to an answer: text, a list of them for one time after the
    other, or a table with one of `endless`, `drip`, `last` (then the connection ends) and `hang`;
    with `after` an event is waited for before it.
    """

    script: Mapping[str, Any]
    port: int = 0
    said: list[str] = field(default_factory=list)  # what clients have said
    lines: list[asyncio.StreamWriter] = field(default_factory=list)
    _turns: dict[str, int] = field(default_factory=dict)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines.append(writer)
        with suppress(ConnectionError, ssl.SSLError):
            await self._answer("greeting", writer)
            while line := await reader.readline():
                self.said.append(line.decode().rstrip("\r\n"))
                await self._answer(line.decode().split()[0].upper(), writer)
        writer.close()

    async def _answer(self, verb: str, writer: asyncio.StreamWriter) -> None:
        answer = self.script.get(verb, HONEST.get(verb, "-ERR what?\r\n"))
        if isinstance(answer, list):
            turn = self._turns.get(verb, 0)
            self._turns[verb] = turn + 1
            answer = answer[min(turn, len(answer) - 1)]
        if isinstance(answer, str):
            writer.write(answer.encode("latin-1"))
            await writer.drain()
            return
        if "after" in answer:
            await answer["after"].wait()
        writer.write(answer.get("first", "").encode("latin-1"))
        match answer:
            case {"endless": text}:
                block = (text * (65536 // len(text))).encode("latin-1")
                while True:
                    writer.write(block)
                    await writer.drain()
            case {"drip": text}:
                while True:
                    for char in text:
                        writer.write(char.encode("latin-1"))
                        await writer.drain()
                        await asyncio.sleep(DRIP_S)
            case {"last": text}:
                writer.write(text.encode("latin-1"))
                await writer.drain()
                writer.transport.abort() if answer.get("reset") else writer.close()
                raise ConnectionResetError
            case {"times": count, "line": line}:
                for number in range(1, count + 1):
                    writer.write(line.format(n=number).encode())
                    if number % 1000 == 0:
                        await writer.drain()
                writer.write(b".\r\n")
            case {"hang": _}:
                await asyncio.Event().wait()


@asynccontextmanager
async def scripted(
    script: Mapping[str, Any], folder: Path, *, host: str = HOST, tls: bool = True
) -> AsyncIterator[Scripted]:
    found = Scripted(script)
    context = server_context(folder, host) if tls else None
    server = await asyncio.start_server(found.converse, "127.0.0.1", 0, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for line in found.lines:
            line.close()


def certificate(folder: Path, host: str = HOST) -> Path:
    """A certificate for `host`, its own authority."""
    pair = folder / f"{host}.crt", folder / f"{host}.key"
    make_self_signed(*pair, hostname=host, now=datetime.now(UTC))
    return pair[0]


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    found = certificate(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(found, found.with_suffix(".key"))
    return context
