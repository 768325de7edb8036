"""Each tests/dialogs/smtp/*.dialog against a live listener.

Its one domain is example.org, with ann and the postmaster. The mailbox of `full` is full, that of
`forgotten` for days; for `busy` the store has no time, at `fault` it breaks, and with `disk-full`
among its recipients a message finds no room. The domain of `small` and `secret` takes 1,000 octets,
to the last over TLS.
"""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from intake.deliver import Arrival, Kept
from intake.recipients import Recipient
from mail import trace
from mail.address import Address
from mail.errors import FullForDays, MailLoop, OverQuota, StorageBusy, StorageFull
from mail.header import header_of
from smtpin import replies
from smtpin.limits import Limits
from smtpin.replies import Reply
from tests import dialog
from tests.unit.smtpin.listener import Shelf, listening

FOLDER = Path(dialog.__file__).parent / "dialogs/smtp"
DIALOGS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.dialog"))}

AT_RCPT = {
    "full": OverQuota("full"),
    "forgotten": FullForDays("full"),
    "busy": StorageBusy("busy"),
    "fault": RuntimeError("SELECT"),
}

# What a conversation alone cannot bring about, and the test that does.
ELSEWHERE = {
    replies.SHUTTING_DOWN: "test_stop_tells_idle_sessions_and_takes_no_new_ones",
    replies.TIMED_OUT: "test_d06_silence_is_told_so_and_closed",
    replies.HOUR_SPENT: "test_a_client_has_two_gib_an_hour",
    replies.NO_MEMORY: "test_d02_octets_are_taken_from_the_budget_as_they_come",
    replies.IN_TLS: "test_d09_starttls_inside_tls_is_out_of_order",
}


class Cast(Shelf):
    async def resolve(self, address: Address) -> Recipient:
        if address.local in AT_RCPT:
            raise AT_RCPT[address.local]
        if address.local == "disk-full":
            return Recipient(address, (2,))
        if address.local == "secret":
            return Recipient(address, (2,), max_octets=1000, tls=True)
        if address.local == "small":
            return Recipient(address, (2,), max_octets=1000)
        return await super().resolve(address)

    async def deliver(self, arrival: Arrival) -> Kept:
        if any(recipient.address.local == "disk-full" for recipient in arrival.recipients):
            raise StorageFull("full")
        if trace.loops(header_of(arrival.content), [each.address for each in arrival.recipients]):
            raise MailLoop("loop")
        return await super().deliver(arrival)


@pytest.mark.parametrize("text", DIALOGS.values(), ids=DIALOGS.keys())
async def test_dialog(text: str, tls: ssl.SSLContext) -> None:
    parsed = dialog.parse(text)
    given = dict(parsed.given)
    context = tls if given.pop("tls", 0) else None
    limits = Limits(pause_s=0, **given)
    async with listening(limits, shelf=Cast(), tls=context) as listener:

        def connect() -> dialog.SocketTalk:
            return dialog.SocketTalk(socket.create_connection(("127.0.0.1", listener.port)))

        await asyncio.to_thread(dialog.run, parsed, connect)


def test_every_reply_is_shown_by_a_dialog_or_brought_about_by_a_test_of_its_own() -> None:
    constants = [each for each in vars(replies).values() if isinstance(each, Reply)]
    constants += [*replies.TABLE.values(), *replies.STOCK.values(), *replies.FINDINGS.values()]
    # Without a text of their own they have the failure's, and no such failure comes up here yet.
    expected = {bytes(each)[:-2].decode() for each in constants if each.text}
    shown = {
        step.text
        for text in DIALOGS.values()
        for step in dialog.parse(text).steps
        if step.kind == "S:"
    }
    elsewhere = {bytes(each)[:-2].decode() for each in ELSEWHERE}
    assert expected - shown == elsewhere
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in ELSEWHERE.values():
        assert f"async def {name}(" in tests
