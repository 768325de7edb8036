"""Every reply this listener gives, and the one table from `Failure` to reply.

Texts are constant or a failure's public text; no octet a client sent reaches another line.
aiosmtpd writes texts of its own: `of_stock` says them in ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mail import errors
from mail.data import LINE_OCTETS, Finding
from mail.errors import Failure
from mail.ident import UniqueId

TEXT_OCTETS = 480  # RFC 5321 section 4.5.3.1.5: 512 with code and CRLF
_UNSAFE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class Reply:
    """`enhanced` is empty in greetings, answers to HELO and EHLO, and 3yz (RFC 2034 section 4)."""

    code: int
    enhanced: str
    text: str
    more: tuple[str, ...] = ()

    def __bytes__(self) -> bytes:
        """As sent, CRLF included; only printable ASCII passes."""
        lines = (self.text, *self.more)
        texts = [
            _UNSAFE.sub("?", f"{self.enhanced} {line}".lstrip())[:TEXT_OCTETS] for line in lines
        ]
        marks = "-" * (len(lines) - 1) + " "
        return "".join(
            f"{self.code}{mark}{text}\r\n" for mark, text in zip(marks, texts, strict=True)
        ).encode("ascii")


OK = Reply(250, "2.0.0", "ok")
SENDER_OK = Reply(250, "2.1.0", "sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
BYE = Reply(221, "2.0.0", "bye")
TLS_READY = Reply(220, "2.0.0", "ready to start TLS")
NOT_TOLD = Reply(252, "2.0.0", "not told here; send the message to find out")
GO_AHEAD = Reply(354, "", "end the message with <CRLF>.<CRLF>")

TOO_MANY_REFUSALS = Reply(421, "4.7.0", "too many refused commands")
TOO_MANY_MISSES = Reply(421, "4.7.0", "too many unknown recipients")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "too many commands that bring no mail")
LONG_ENOUGH = Reply(421, "4.7.0", "this session has lasted long enough; connect again")
SHUTTING_DOWN = Reply(421, "4.3.2", "shutting down; try again soon")
TIMED_OUT = Reply(421, "4.4.2", "timed out waiting for you")
SPOKE_EARLY = Reply(421, "4.5.0", "you sent more before our reply")
NOT_SMTP = Reply(421, "4.5.0", "this is a mail server")
LOCAL_FAULT = Reply(451, "4.3.0", "local fault, try again")
NO_MEMORY = Reply(452, "4.3.1", "too much mail at this moment; try again")
HOUR_SPENT = Reply(452, "4.7.0", "too much mail from your address in the last hour; try again")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "too many recipients in one message; send the rest apart")
NO_TLS = Reply(454, "4.7.0", "TLS not available")

LINE_TOO_LONG = Reply(500, "5.5.2", "command line too long")
BARE_LF = Reply(500, "5.5.2", "a line ends in CRLF, not in LF alone")
BAD_LINE = Reply(
    500, "5.5.2", "a command is a line of ASCII, or of UTF-8, without control characters"
)
UNKNOWN_COMMAND = Reply(500, "5.5.1", "command not known")
BAD_HELO = Reply(501, "", "EHLO and HELO take one host name or address literal")
NO_ARGUMENT = Reply(501, "5.5.4", "this command takes no argument")
BAD_MAIL = Reply(501, "5.5.4", "syntax: MAIL FROM:<address> [parameters after EHLO]")
BAD_RCPT = Reply(501, "5.5.4", "syntax: RCPT TO:<address>")
BAD_BODY = Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
HELO_FIRST = Reply(503, "5.5.1", "say EHLO or HELO first")
NESTED_MAIL = Reply(503, "5.5.1", "a message is begun already")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL comes before RCPT")
NO_RECIPIENTS = Reply(503, "5.5.1", "no recipient was accepted")
IN_TLS = Reply(503, "5.5.1", "TLS is active already")
TLS_FIRST = Reply(530, "5.7.0", "this domain takes mail over TLS alone; say STARTTLS first")
NO_SUCH_RECIPIENT = Reply(550, "5.1.1", "no such address here")
TOO_LARGE = Reply(552, "5.3.4", "message larger than we take")
TOO_LARGE_HERE = Reply(552, "5.3.4", "message larger than this domain takes")
BAD_SENDER = Reply(553, "5.1.7", "the sender is not a mail address")
BAD_RECIPIENT = Reply(553, "5.1.3", "the recipient is not a mail address")
NOT_ASCII = Reply(553, "5.6.7", "an address with other than ASCII needs the parameter SMTPUTF8")
BAD_PARAMETER = Reply(555, "5.5.4", "parameter not known here")

FINDINGS: Mapping[Finding, Reply] = {
    Finding.NUL_IN_HEADER: Reply(550, "5.6.0", "the header has a NUL octet in it"),
    Finding.LINE_TOO_LONG: Reply(554, "5.6.0", f"a line has more than {LINE_OCTETS} octets"),
}


def banner(hostname: str) -> Reply:
    return Reply(220, "", f"{hostname} ESMTP")


def hello(hostname: str, *extensions: str) -> Reply:
    """The answer to HELO, and with the extensions to EHLO."""
    return Reply(250, "", hostname, extensions)


def not_now(reason: str) -> Reply:
    """The only reply to a client that net/limits.py does not let in, for a reason it gives."""
    return Reply(421, "4.7.0", f"{reason}; try again later")


def kept(uid: UniqueId) -> Reply:
    return Reply(250, "2.0.0", f"kept as {uid}")


# An empty text stands for the failure's own public text.
TABLE: Mapping[type[Failure], Reply] = {
    errors.UnknownRecipient: NO_SUCH_RECIPIENT,
    errors.NotOurDomain: Reply(550, "5.7.1", "we take no mail for that domain"),
    errors.NotPermitted: Reply(550, "5.7.1", ""),
    errors.BadContent: Reply(550, "5.6.0", ""),
    errors.Unwanted: Reply(550, "5.7.1", ""),
    errors.MailLoop: Reply(550, "5.4.6", "mail loop: this message has been here before"),
    errors.BadAddress: BAD_RECIPIENT,
    errors.MessageTooLarge: TOO_LARGE,
    errors.OverQuota: Reply(452, "4.2.2", "mailbox full"),
    errors.FullForDays: Reply(552, "5.2.2", "mailbox full for more than a week"),
    errors.TooMany: Reply(421, "4.7.0", ""),
    errors.StorageBusy: Reply(451, "4.3.0", "the mail store is busy; try again"),
    errors.StorageFull: Reply(452, "4.3.1", "no room for mail at this moment; try again"),
}

# Nobody signs in, reads, collects or administers by SMTP.
CANNOT_OCCUR: frozenset[type[Failure]] = frozenset(
    {
        errors.BackupDamaged,
        errors.BadQuery,
        errors.MessageDeleted,
        errors.FileTrouble,
        errors.LeaseLost,
        errors.AlreadyRunning,
        errors.PasswordNeeded,
        errors.ProviderHasNoPop3,
        errors.ProviderNeedsOAuth,
        errors.TargetNotAllowed,
        errors.UpstreamFailed,
        errors.UpstreamLogin,
        errors.UpstreamTimeout,
        errors.UpstreamTls,
        errors.NotEmpty,
        errors.NotMail,
        errors.AccountDisabled,
        errors.AlreadyOn,
        errors.CodeNeeded,
        errors.InviteInvalid,
        errors.BadCredentials,
        errors.BadName,
        errors.OtherVersion,
        errors.NamedNothing,
        errors.LastAdministrator,
        errors.DomainTaken,
        errors.DomainNotOpen,
        errors.AddressTaken,
        errors.InUse,
        errors.MessageDamaged,
        errors.NameTaken,
        errors.NoSuchMessage,
        errors.NotFound,
        errors.OutcomeUnknown,  # then nothing is said at all
        errors.WeakPassword,
    }
)


def render(failure: Failure) -> Reply:
    """A failure without a row is a fault of ours, so it is temporary."""
    reply = TABLE.get(type(failure), LOCAL_FAULT)
    return reply if reply.text else Reply(reply.code, reply.enhanced, failure.public)


STOCK: Mapping[str, Reply] = {
    "250 OK": OK,
    "220 Ready to start TLS": TLS_READY,
    "454 TLS not available": NO_TLS,
    "501 Syntax: EHLO hostname": BAD_HELO,
    "501 Syntax: HELO hostname": BAD_HELO,
    "501 Syntax: RSET": NO_ARGUMENT,
    "501 Syntax: STARTTLS": NO_ARGUMENT,
    "501 Syntax: MAIL FROM: <address>": BAD_MAIL,
    "501 Syntax: RCPT TO: <address>": BAD_RCPT,
    "501 Error: BODY can only be one of 7BIT, 8BITMIME": BAD_BODY,
    "501 Error: SMTPUTF8 takes no arguments": BAD_MAIL,
    "501 Error: SMTPUTF8 disabled": BAD_PARAMETER,
    "503 Error: send HELO first": HELO_FIRST,
    "503 Error: nested MAIL command": NESTED_MAIL,
    "503 Error: need MAIL command": MAIL_FIRST,
    "552 Error: message size exceeds fixed maximum message size": TOO_LARGE,
    "553 5.1.3 Error: malformed address": BAD_RECIPIENT,
    "555 MAIL FROM parameters not recognized or not implemented": BAD_PARAMETER,
    "555 RCPT TO parameters not recognized or not implemented": BAD_PARAMETER,
}


def of_stock(text: str, verb: str) -> Reply:
    """Our reply for what aiosmtpd would say to `verb`. KeyError: a text that was never read."""
    reply = STOCK[text.removesuffix(" [SP <mail-parameters>]")]
    return BAD_SENDER if reply is BAD_RECIPIENT and verb == "MAIL" else reply
