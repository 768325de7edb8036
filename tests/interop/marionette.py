"""The protocol by which a Mozilla program is told what to do: JSON behind its length, over TCP."""

import json
import socket
from typing import Any, Self


class Refused(Exception):
    """The program's own error, as it is told."""


class Marionette:
    """One session, in the program's own context (chrome)."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._receive()  # its greeting
        self._ask("WebDriver:NewSession", {"unhandledPromptBehavior": "ignore"})
        self._ask("Marionette:SetContext", {"value": "chrome"})
        self._ask("WebDriver:SetTimeouts", {"script": 110_000})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def run(self, script: str, *arguments: object) -> Any:
        """The value of an async function with this body."""
        body = f"""
            const done = arguments[arguments.length - 1];
            (async (...given) => {{ {script} }})(...arguments).then(
                value => done({{ value }}),
                error => done({{ error: `${{error}} ${{error.stack}}` }})
            );
        """
        given = {"script": body, "args": list(arguments), "sandbox": "system", "newSandbox": False}
        found = self._ask("WebDriver:ExecuteAsyncScript", given)["value"]
        assert "error" not in found, found["error"]
        return found.get("value")

    def alert(self) -> str | None:
        """The text of a dialog that waits for its button, which is pressed; None without one."""
        try:
            text = str(self._ask("WebDriver:GetAlertText", {})["value"])
        except Refused:
            return None
        self._ask("WebDriver:AcceptAlert", {})
        return text

    def _ask(self, command: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        octets = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(octets), octets))
        _, number, error, result = self._receive()
        assert number == self._number
        if error is not None:
            raise Refused(error)
        return dict(result or {})

    def _receive(self) -> Any:
        length = b""
        while (octet := self._file.read(1)) != b":":
            assert octet, "the program has closed"
            length += octet
        return json.loads(self._file.read(int(length)))
