"""Counts of one session: each limit at its exact place."""

from collections.abc import Iterable

from mail import errors
from smtpin import replies
from smtpin.limits import Limits
from smtpin.replies import Reply
from smtpin.tally import Tally

LIMITS = Limits(
    transactions=3, idle_commands=4, errors=5, slow_errors=3, deferred=6, misses=2, session_s=900
)
DEFERRED = replies.TABLE[errors.OverQuota]


def after(said: Iterable[tuple[str, Reply]], *, trusted: bool = False) -> tuple[Tally, list[bool]]:
    """The tally of a session begun at 0, and which of its replies were made to wait."""
    tally = Tally(LIMITS, 0)
    return tally, [tally.count(verb, reply, trusted=trusted) for verb, reply in said]


def ended(said: Iterable[tuple[str, Reply]], *, trusted: bool = False) -> Reply | None:
    return after(said, trusted=trusted)[0].enough(1, within=False)


def test_errors_wait_from_the_third_and_end_it_at_the_fifth() -> None:
    error = ("", replies.UNKNOWN_COMMAND)
    tally, waits = after([error] * 4)
    assert waits == [False, False, True, True]
    assert tally.enough(1, within=True) is None
    assert ended([error] * 5) is replies.TOO_MANY_REFUSALS
    assert tally.refused == 4


def test_deferred_recipients_are_no_errors() -> None:
    tally, waits = after([("RCPT", DEFERRED)] * 5)
    assert not any(waits)
    assert tally.enough(1, within=True) is None
    assert ended([("RCPT", DEFERRED)] * 6) is replies.TOO_MANY_REFUSALS
    assert ended([("DATA", DEFERRED)] * 5) is replies.TOO_MANY_REFUSALS


def test_each_unknown_recipient_waits_and_the_second_ends_it() -> None:
    miss = ("RCPT", replies.NO_SUCH_RECIPIENT)
    tally, waits = after([miss])
    assert waits == [True]
    assert tally.enough(1, within=True) is None
    assert ended([miss] * 2) is replies.TOO_MANY_MISSES
    tally, waits = after([miss] * 100, trusted=True)
    assert not any(waits)
    assert tally.enough(1, within=True) is None


def test_a_trusted_peer_waits_for_no_error_but_is_cut_as_others() -> None:
    error = ("", replies.UNKNOWN_COMMAND)
    _, waits = after([error] * 4, trusted=True)
    assert not any(waits)
    assert ended([error] * 5, trusted=True) is replies.TOO_MANY_REFUSALS


def test_commands_that_bring_no_mail_count_since_the_last_message() -> None:
    idle = [("NOOP", replies.OK), ("RSET", replies.OK), ("VRFY", replies.NOT_TOLD)]
    hello = ("EHLO", replies.hello("mx.example.org"))
    kept = ("DATA", Reply(250, "2.0.0", "kept"))
    assert ended(idle) is None
    assert ended([*idle, hello]) is replies.TOO_MANY_COMMANDS
    assert ended([*idle, kept, *idle]) is None
    assert ended([*idle, kept, *idle, hello]) is replies.TOO_MANY_COMMANDS


def test_after_so_many_transactions_it_ends_between_them() -> None:
    tally, _ = after([("MAIL", replies.SENDER_OK)] * 3)
    assert tally.enough(1, within=True) is None
    assert tally.enough(1, within=False) is replies.LONG_ENOUGH
    assert ended([("MAIL", replies.SENDER_OK)] * 2) is None


def test_an_old_session_ends_between_transactions_and_later_within_one() -> None:
    tally = Tally(LIMITS, 100)
    assert tally.enough(999, within=False) is None
    assert tally.enough(1000, within=False) is replies.LONG_ENOUGH
    assert tally.enough(1899, within=True) is None
    assert tally.enough(1900, within=True) is replies.LONG_ENOUGH
    assert tally.left_s(300, within=False) == 700
    assert tally.left_s(300, within=True) == 1600
