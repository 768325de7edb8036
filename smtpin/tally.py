"""What one session has cost so far, and when that is enough. Pure: time is handed in."""

from __future__ import annotations

from smtpin import replies
from smtpin.limits import Limits
from smtpin.replies import Reply

# They bring no message nearer.
IDLE_VERBS = frozenset(("EHLO", "HELO", "NOOP", "RSET", "VRFY"))


class Tally:
    """Counts for one session; STARTTLS does not clear them. Begun at `now`, in seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._began = now
        self._errors = 0
        self._deferred = 0
        self._misses = 0
        self._idle = 0
        self._transactions = 0
        self.refused = 0  # replies of 4yz and 5yz
        self.kept = 0  # messages
        self.octets = 0  # of messages, kept or not

    def count(self, verb: str, reply: Reply, *, trusted: bool) -> bool:
        """Counts a reply to `verb`. True: the peer waits a moment before it hears it.

        A `trusted` peer may ask for as many unknown recipients as it likes.
        """
        if reply.code >= 400:
            return self._count_refusal(verb, reply, trusted=trusted)
        if verb == "MAIL":
            self._transactions += 1
        elif verb == "DATA" and reply.code == 250:
            self.kept += 1
            self._idle = 0
        elif verb in IDLE_VERBS:
            self._idle += 1
        return False

    def _count_refusal(self, verb: str, reply: Reply, *, trusted: bool) -> bool:
        self.refused += 1
        if reply.code == 421:  # the last word
            return False
        if reply is replies.NO_SUCH_RECIPIENT:
            if not trusted:
                self._misses += 1
            return not trusted
        if verb == "RCPT" and reply.code < 500:
            # A long list of full mailboxes is no attack: its sender comes back with the rest.
            self._deferred += 1
            return False
        self._errors += 1
        return not trusted and self._errors >= self._limits.slow_errors

    def end_guessing(self) -> None:
        """As if this session alone had made all the misses that its client made."""
        self._misses = self._limits.misses

    def enough(self, now: float, *, within: bool) -> Reply | None:
        """What is said before the session ends here; None lets it go on.

        `within` a transaction, which is not broken off for the session's age so soon.
        """
        limits = self._limits
        if self._errors >= limits.errors or self._deferred >= limits.deferred:
            return replies.TOO_MANY_REFUSALS
        if self._misses >= limits.misses:
            return replies.TOO_MANY_MISSES
        if self._idle >= limits.idle_commands:
            return replies.TOO_MANY_COMMANDS
        if self.left_s(now, within=within) <= 0:
            return replies.LONG_ENOUGH
        if self._transactions >= limits.transactions and not within:
            return replies.LONG_ENOUGH
        return None

    def left_s(self, now: float, *, within: bool) -> float:
        """Seconds until the session is too old to wait for a command."""
        limits = self._limits
        lasts = limits.session_s + (limits.transaction_s if within else 0)
        return self._began + lasts - now
