"""One event, one line: key=value on a terminal, JSON elsewhere.

A field is cut at FIELD_OCTETS and its control characters are escaped, so that nothing a stranger
sends can forge a line. No content, subject or secret is ever handed in here.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

FIELD_OCTETS = 1024
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_Event = MutableMapping[str, Any]


def configure(level: str, *, stream: TextIO | None = None) -> None:
    """Sends every event of at least `level`, ours and the libraries', to `stream` (stderr)."""
    out = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            _plain_fields,
            _as_text if out.isatty() else _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(logging.WARNING)  # aiosmtpd's own logger writes commands below that
    logging.captureWarnings(capture=True)


class _Bridge(logging.Handler):
    """What libraries say through `logging` becomes an event of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        logger.log(
            record.levelno,
            f"library.{record.name.partition('.')[0]}",
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _stamp(_logger: object, _method: str, event: _Event) -> _Event:
    now = datetime.now(UTC)
    event["time"] = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z"
    return event


def _plain_fields(_logger: object, _method: str, event: _Event) -> _Event:
    for name, value in event.items():
        if not isinstance(value, int | float | bool | None):
            limit = 16 * FIELD_OCTETS if name == "exception" else FIELD_OCTETS
            event[name] = str(value)[:limit]
    return event


def _as_json(_logger: object, _method: str, event: _Event) -> str:
    order = {key: event.pop(key) for key in ("time", "level", "event")}
    return json.dumps(order | dict(event), ensure_ascii=True)


def _as_text(_logger: object, _method: str, event: _Event) -> str:
    trace = event.pop("exception", None)
    head = f"{event.pop('time')} {event.pop('level').upper():7} {event.pop('event')}"
    fields = " ".join(f"{name}={_quoted(value)}" for name, value in event.items())
    return f"{head} {fields}".rstrip() + (f"\n{trace}" if trace else "")


def _quoted(value: object) -> str:
    text = str(value)
    plain = text.isascii() and text.isprintable() and text and not set(text) & set(" =\"'")
    return text if plain else json.dumps(text)
