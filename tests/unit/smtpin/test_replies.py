"""The reply table: complete, truthful about temporary and permanent, one line each."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator

import pytest
from aiosmtpd import smtp
from hypothesis import given
from hypothesis import strategies as st

from mail.data import Finding
from mail.errors import Failure
from smtpin import replies
from smtpin.commands import VERBS
from smtpin.protocol import InboundSMTP
from smtpin.replies import Reply


def subclasses(of: type[Failure]) -> Iterator[type[Failure]]:
    for each in of.__subclasses__():
        if each.__module__ == "mail.errors":
            yield each
            yield from subclasses(each)


FAILURES = sorted(subclasses(Failure), key=lambda failure: failure.__name__)
CONSTANTS = {name: each for name, each in vars(replies).items() if isinstance(each, Reply)}
ALL = [
    *CONSTANTS.values(),
    *replies.TABLE.values(),
    *replies.STOCK.values(),
    *replies.FINDINGS.values(),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_has_a_row_or_cannot_occur(failure: type[Failure]) -> None:
    assert (failure in replies.TABLE) != (failure in replies.CANNOT_OCCUR)


def test_no_temporary_failure_is_told_as_permanent_and_none_the_other_way() -> None:
    for failure, reply in replies.TABLE.items():
        assert failure.temporary == (reply.code < 500), failure


def test_a_failure_without_a_row_is_a_fault_of_ours() -> None:
    class New(Failure):
        pass

    assert replies.render(New("detail")) == Reply(451, "4.3.0", "local fault, try again")
    for failure in replies.CANNOT_OCCUR:
        assert replies.render(failure("detail")) == replies.LOCAL_FAULT


def test_every_finding_has_a_reply() -> None:
    assert set(replies.FINDINGS) == set(Finding)


def test_enhanced_codes_agree_with_their_replies() -> None:
    # RFC 2034 section 4: none in the greeting, in 3yz and in answers to EHLO and HELO.
    bare = {replies.GO_AHEAD, replies.BAD_HELO}
    for reply in ALL:
        if reply in bare:
            assert reply.enhanced == ""
        else:
            assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", reply.enhanced), reply
            assert reply.enhanced[0] == str(reply.code)[0]


@given(st.text(max_size=600), st.text(max_size=20))
def test_a_reply_is_lines_of_ascii_no_longer_than_allowed(text: str, more: str) -> None:
    octets = bytes(Reply(550, "5.7.1", text, (more,)))
    assert octets.endswith(b"\r\n")
    first, second = octets[:-2].split(b"\r\n")
    assert first.startswith(b"550-5.7.1")
    assert second.startswith(b"550 5.7.1")
    for line in (first, second):
        assert re.fullmatch(rb"[ -~]*", line)
        assert len(line) <= 510  # RFC 5321 section 4.5.3.1.5


def test_every_text_that_aiosmtpd_may_still_send_is_said_in_ours() -> None:
    inherited = [
        getattr(smtp.SMTP, f"smtp_{verb}")
        for verb in VERBS
        if f"smtp_{verb}" not in vars(InboundSMTP)
    ]
    inherited += [smtp.SMTP.smtp_MAIL, smtp.SMTP.check_helo_needed]
    texts = {
        node.value.replace("{helo}", "HELO")
        for method in inherited
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(method))))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"\d{3} ", node.value)
    }
    # Told by our hooks instead; the last is a piece of "503 Error: send HELO first".
    texts -= {"250 HELP", "250 {}", "503 Error: send "}
    assert texts
    assert texts <= set(replies.STOCK)
