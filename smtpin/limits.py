"""What one session may take, and one client in an hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intake.spool import Spool
from net.limits import Allowance, Clock, Limiter, Network


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one session."""

    message_octets: int = 50 * 1024 * 1024
    recipients: int = 100  # RFC 5321 section 4.5.3.1.8
    transactions: int = 1_000
    idle_commands: int = 50  # since the last message that was kept
    errors: int = 10
    slow_errors: int = 5  # from this one on the reply waits
    deferred: int = 1_000  # 4yz to RCPT, which are no errors
    misses: int = 5  # recipients that do not exist
    pause_s: float = 1
    command_s: float = 300  # RFC 5321 section 4.5.3.2.7
    crowded_s: float = 60  # instead, while most places are taken
    session_s: float = 900  # no new transaction then ...
    transaction_s: float = 900  # ... and this much later no command of the last one
    handshake_s: float = 10
    stretch_s: float = 60  # in DATA: within each such time ...
    stretch_octets: int = 30_000  # ... so many octets, or the end
    message_s: float = 600
    turn_s: float = 60  # for a large message to be taken into memory
    keep_s: float = 340  # the store's 30 s in its queue and 300 s of a commit, and our own work
    linger_s: float = 10  # for a peer that does not read our last reply


MISSES_AN_HOUR = 20
OCTETS_AN_HOUR = 2 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sessions of a listener take from. `exempt` clients take from no hourly allowance."""

    connections: Limiter
    places: int  # of those connections, for this process
    spool: Spool
    misses: Allowance
    octets: Allowance
    exempt: Sequence[Network] = ()


def misses_allowance(clock: Clock) -> Allowance:
    reason = "too many unknown recipients in the last hour"
    return Allowance(MISSES_AN_HOUR, reason, clock=clock)


def octets_allowance(clock: Clock) -> Allowance:
    return Allowance(OCTETS_AN_HOUR, "too much mail in the last hour", clock=clock)
