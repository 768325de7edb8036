"""What an operator watches: counters that the parts add to, and gauges measured when asked.

Nothing is counted per user, address or client: the number of lines is bounded by the names here
and by the few values of each label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Metric:
    """`label` names what its values are told apart by; empty: there is one value."""

    name: str
    meaning: str
    label: str = ""
    kind: Literal["counter", "gauge"] = "counter"


def _gauge(name: str, meaning: str, label: str = "") -> Metric:
    return Metric(name, meaning, label, kind="gauge")


MAIL_KEPT: Final = Metric("restante_mail_kept_total", "Messages that were answered 250.")
MAIL_OCTETS: Final = Metric("restante_mail_kept_octets_total", "Their octets.")
MAIL_REFUSED: Final = Metric(
    "restante_mail_refused_total", "Recipients and messages that were refused.", "reason"
)
POP3_SIGN_INS: Final = Metric("restante_pop3_sign_ins_total", "POP3 sessions that were let in.")
POP3_REFUSED: Final = Metric("restante_pop3_refused_total", "POP3 sign-ins refused.", "reason")
HTTP_ANSWERS: Final = Metric("restante_http_answers_total", "Requests over HTTP.", "class")
CONNECTIONS: Final = _gauge("restante_connections", "Connections that are open.", "listener")
QUEUE: Final = _gauge("restante_store_queue_jobs", "Writes that wait, in the process that answers.")
ACCOUNTS: Final = _gauge("restante_store_accounts", "Accounts, closed ones with mail too.")
MESSAGES: Final = _gauge("restante_store_messages", "Messages in all maildrops.")
MESSAGE_OCTETS: Final = _gauge("restante_store_message_octets", "Their octets, as clients count.")
STORED_OCTETS: Final = _gauge("restante_store_stored_octets", "Octets of bodies as they are kept.")
FREE_OCTETS: Final = _gauge("restante_free_octets", "Free room where the data folder is.")
CERTIFICATE_DAYS: Final = _gauge("restante_certificate_days", "Days the certificate is valid for.")
READY: Final = _gauge("restante_ready", "1 where a part is ready to serve, else 0.", "part")

COUNTERS: Final = (
    *(MAIL_KEPT, MAIL_OCTETS, MAIL_REFUSED),
    *(POP3_SIGN_INS, POP3_REFUSED),
    HTTP_ANSWERS,
)

Count = tuple[str, str, int]  # name, value of the label, number
Gauges = Mapping[Metric, Mapping[str, float]]  # by the label's value


class Counts(Protocol):
    """Counters of this process, or of the one that has those of all."""

    def add(self, metric: Metric, value: str = "", by: int = 1) -> None: ...

    async def read(self) -> Iterable[Count]: ...


class Metrics:
    """Counters, kept here."""

    def __init__(self) -> None:
        # Those without a label are shown from the start, so that the first one is a change.
        self._counts = {(metric.name, ""): 0 for metric in COUNTERS if not metric.label}

    def add(self, metric: Metric, value: str = "", by: int = 1) -> None:
        """`value` is that of the metric's label, one of a few."""
        self.count(metric.name, value, by)

    def count(self, name: str, value: str, by: int) -> None:
        key = (name, value)
        self._counts[key] = self._counts.get(key, 0) + by

    async def read(self) -> list[Count]:
        return [(name, value, number) for (name, value), number in sorted(self._counts.items())]


def text(counts: Iterable[Count], gauges: Gauges) -> str:
    """As Prometheus reads it: its text format, version 0.0.4."""
    found: dict[Metric, dict[str, float]] = {metric: {} for metric in COUNTERS}
    named = {metric.name: metric for metric in COUNTERS}
    for name, value, number in counts:
        found[named[name]][value] = number
    lines: list[str] = []
    for metric, values in [*found.items(), *gauges.items()]:
        lines.append(f"# HELP {metric.name} {metric.meaning}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for value, measured in values.items():
            label = f'{{{metric.label}="{value}"}}' if metric.label else ""
            lines.append(f"{metric.name}{label} {measured}")
    return "\n".join([*lines, ""])
