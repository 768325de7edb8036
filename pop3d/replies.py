"""What a POP3 client is told. Texts are constant; only numbers of ours are put in.

A `Reply` holds the same line in each language that LANG offers (RFC 6856 section 3). The codes in
brackets are those of RFC 2449 section 8 and RFC 3206, in no language: `[AUTH]` asks for other
credentials, `[SYS/TEMP]` for another try later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mail.errors import (
    AccountDisabled,
    AddressTaken,
    AlreadyOn,
    AlreadyRunning,
    BackupDamaged,
    BadAddress,
    BadContent,
    BadCredentials,
    BadName,
    BadQuery,
    CodeNeeded,
    DomainNotOpen,
    DomainTaken,
    Failure,
    FileTrouble,
    FullForDays,
    InUse,
    InviteInvalid,
    LastAdministrator,
    LeaseLost,
    MailLoop,
    MessageDamaged,
    MessageDeleted,
    MessageTooLarge,
    NamedNothing,
    NameTaken,
    NoSuchMessage,
    NotEmpty,
    NotFound,
    NotMail,
    NotOurDomain,
    NotPermitted,
    OtherVersion,
    OutcomeUnknown,
    OverQuota,
    PasswordNeeded,
    ProviderHasNoPop3,
    ProviderNeedsOAuth,
    StorageBusy,
    StorageFull,
    TargetNotAllowed,
    TooMany,
    UnknownRecipient,
    Unwanted,
    UpstreamFailed,
    UpstreamLogin,
    UpstreamTimeout,
    UpstreamTls,
    WeakPassword,
)

LANGUAGES = {"en": "English", "de": "Deutsch"}
DEFAULT_LANGUAGE = "en"  # ASCII throughout, for clients that have not asked for another

Reply = Mapping[str, bytes]  # by language


def ok(english: str, german: str) -> Reply:
    return _reply("+OK", english, german)


def error(english: str, german: str, *, code: str = "") -> Reply:
    return _reply(f"-ERR [{code}]" if code else "-ERR", english, german)


def _reply(status: str, *texts: str) -> Reply:
    return {
        language: f"{status} {text}\r\n".encode()
        for language, text in zip(LANGUAGES, texts, strict=True)
    }


def multiline(first: bytes, lines: Iterable[str]) -> bytes:
    """RFC 1939 section 3. None of `lines` may begin with a dot."""
    return first + "\r\n".join((*lines, ".", "")).encode("ascii")


GREETING = ok("POP3 ready", "POP3 bereit")
DONE = ok("done", "erledigt")
USER_TAKEN = ok("password, please", "das Passwort, bitte")
LOGGED_IN = ok("logged in", "angemeldet")
BYE = ok("bye", "bis bald")
BEGIN_TLS = ok("begin TLS", "TLS kann beginnen")
CAPABILITIES_FOLLOW = ok("capabilities follow", "Fähigkeiten folgen")
MECHANISMS_FOLLOW = ok("mechanisms follow", "Verfahren folgen")
LANGUAGES_FOLLOW = ok("languages follow", "Sprachen folgen")
LISTING_FOLLOWS = ok("listing follows", "Liste folgt")
TOP_FOLLOWS = ok("top of message follows", "Anfang der Nachricht folgt")

BAD_LINE = error(
    "a line ends in CRLF and has no CR, LF or NUL inside",
    "eine Zeile endet mit CRLF und enthält kein CR, LF oder NUL",
)
LINE_TOO_LONG = error("line too long", "die Zeile ist zu lang")
UNKNOWN_COMMAND = error("unknown command", "unbekannter Befehl")
WRONG_STATE = error("not possible in this state", "in diesem Zustand nicht möglich")
WRONG_ARGUMENTS = error("wrong arguments", "falsche Argumente")
STLS_FIRST = error("STLS comes first", "zuerst kommt STLS")
STLS_LAST = error("nothing may follow STLS", "auf STLS darf nichts folgen")
USER_FIRST = error("USER comes first", "zuerst kommt USER")
UNKNOWN_MECHANISM = error("unknown mechanism", "unbekanntes Verfahren")
UNKNOWN_LANGUAGE = error("unknown language", "unbekannte Sprache")
BAD_RESPONSE = error("malformed response", "fehlerhafte Antwort")
CANCELLED = error("cancelled", "abgebrochen")
GONE = error("the message is not here any more", "die Nachricht ist nicht mehr da", code="SYS/TEMP")
NOTHING_REMOVED = error(
    "nothing was removed, try again",
    "nichts wurde entfernt, bitte nochmals versuchen",
    code="SYS/TEMP",
)
LOCAL_FAULT = error(
    "local fault, try again", "Fehler im Server, bitte nochmals versuchen", code="SYS/TEMP"
)

# One row for each Failure: code, then the text in each language. None: cannot occur in a session.
ROWS: dict[type[Failure], tuple[str, str, str] | None] = {
    BadCredentials: (
        "AUTH",
        "user name or password is wrong",
        "Benutzername oder Passwort ist falsch",
    ),
    NotPermitted: ("AUTH", "not permitted", "nicht erlaubt"),
    NoSuchMessage: ("", "no such message", "keine solche Nachricht"),
    TooMany: ("SYS/TEMP", "too many at the moment", "zu viele im Augenblick"),
    StorageBusy: ("SYS/TEMP", "busy, try again", "überlastet, bitte nochmals versuchen"),
    StorageFull: ("SYS/TEMP", "busy, try again", "überlastet, bitte nochmals versuchen"),
    MessageDamaged: (
        "SYS/TEMP",
        "the message cannot be read now",
        "die Nachricht ist zurzeit nicht lesbar",
    ),
    AccountDisabled: None,
    AlreadyOn: None,
    CodeNeeded: None,
    InviteInvalid: None,
    BackupDamaged: None,
    FileTrouble: None,
    LeaseLost: None,
    AlreadyRunning: None,
    PasswordNeeded: None,
    ProviderHasNoPop3: None,
    ProviderNeedsOAuth: None,
    TargetNotAllowed: None,
    UpstreamFailed: None,
    UpstreamLogin: None,
    UpstreamTimeout: None,
    UpstreamTls: None,
    NotEmpty: None,
    NotMail: None,
    BadAddress: None,
    BadContent: None,
    FullForDays: None,
    OutcomeUnknown: None,  # then nothing is said at all
    BadName: None,
    AddressTaken: None,
    DomainNotOpen: None,
    DomainTaken: None,
    LastAdministrator: None,
    NamedNothing: None,
    OtherVersion: None,
    MessageDeleted: None,
    BadQuery: None,
    InUse: None,
    MailLoop: None,
    Unwanted: None,
    MessageTooLarge: None,
    NameTaken: None,
    NotFound: None,
    NotOurDomain: None,
    OverQuota: None,
    UnknownRecipient: None,
    WeakPassword: None,
}


def refused(failure: Failure) -> Reply:
    """The failure's own text is not shown, so nothing in it can forge a line of ours."""
    row = ROWS.get(type(failure))
    if row is None:
        return LOCAL_FAULT
    code, english, german = row
    retry_after_s = failure.facts.get("retry_after_s")
    if isinstance(retry_after_s, int):
        english += f"; try again in {retry_after_s} seconds"
        german += f"; nochmals versuchen in {retry_after_s} Sekunden"
    return error(english, german, code=code)


def too_many_connections(retry_after_s: int) -> Reply:
    return error(
        f"too many connections; try again in {retry_after_s} seconds",
        f"zu viele Verbindungen; nochmals versuchen in {retry_after_s} Sekunden",
        code="SYS/TEMP",
    )


def message_follows(size: int) -> Reply:
    return ok(f"{size} octets", f"{size} Oktette")


def language_chosen(tag: str) -> Reply:
    """RFC 6856 section 3.2: the tag, then a text in that language."""
    return ok(f"{tag} language changed", f"{tag} Sprache gewechselt")
