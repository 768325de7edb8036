"""What leaves the store: frozen values, never rows."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal, TypedDict, overload

from mail.address import Address, DomainName
from mail.ident import UniqueId


class Folder(IntEnum):
    INBOX = 0
    ARCHIVE = 1
    TRASH = 2
    PURGED = 3  # shown nowhere; its rows stay until those who list it have gone
    HELD = 4  # suspected spam, where that policy is chosen


class Proof(IntEnum):
    """What is known of the domain in From."""

    UNCHECKED = 0
    VERIFIED = 1  # a signature or the sending host proves it
    FAILED = 2  # it says that its mail can be proven, and this cannot
    UNPROVEN = 3
    UNKNOWN = 4  # DNS was silent, or the message cannot be read in one way


class OnSpam(IntEnum):
    """What an account wants done with what may be spam. It is never thrown away unseen."""

    TAG = 0
    HOLD = 1
    REFUSE = 2


@dataclass(frozen=True, slots=True)
class Authentication:
    """`domain`: the one in From, where `proof` says something of it; `reasons` are for people."""

    proof: Proof = Proof.UNCHECKED
    domain: str = ""
    suspected: bool = False  # of being spam
    reasons: str = ""


UNCHECKED = Authentication()


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`url` is an SQLAlchemy URL. `quota_octets` 0: no quota.

    `floor_octets`: with less free room than this a database that is a file takes no more mail.
    `backup_dir`: where a backup goes every night.
    """

    url: str
    quota_octets: int
    trash_days: int
    max_listed: int
    floor_octets: int = 0
    backup_dir: Path | None = None
    on_delete: Folder = Folder.TRASH  # where POP3 moves what it deletes


class Role(IntEnum):
    USER = 0
    ADMIN = 1


class AccountState(IntEnum):
    OPEN = 0
    DISABLED = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    login: str
    role: Role
    state: AccountState
    maildrop_id: int
    created_at: datetime
    display_name: str = ""
    language: str = ""
    timezone: str = ""
    must_change: bool = False  # the password, before anything else
    totp: bool = False  # signs in with a code besides the password


class OwnSettings(TypedDict, total=False):
    """What users say of themselves; what is left out stays as it is."""

    display_name: str
    language: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Profile:
    """An account with all that may be told of it to its owner and to an administrator."""

    id: int
    login: str
    display_name: str
    role: Role
    state: AccountState
    must_change_password: bool
    totp: bool
    quota_octets: int | None  # 0: none; None: as configured
    used_octets: int
    messages: int
    created_at: datetime
    last_seen_at: datetime | None  # to the hour: when a credential of it was used


class ProfileSettings(TypedDict, total=False):
    """What an administrator may say of an account; what is left out stays as it is."""

    role: Role
    state: AccountState  # open or disabled
    must_change_password: bool
    quota_octets: int | None


class CredentialKind(IntEnum):
    PASSWORD = 0
    APP_PASSWORD = 1
    API_TOKEN = 2
    RECOVERY_CODE = 3
    TOTP = 4


@dataclass(frozen=True, slots=True)
class Credential:
    """What a sign-in goes by: a password to check, or an app password found by its keyed hash.

    `secret` is a hash in the form that `auth` writes.
    """

    id: int
    secret: str
    version: int
    kind: CredentialKind = CredentialKind.PASSWORD
    used_at: datetime | None = None  # to the hour
    ip_allow: tuple[str, ...] = ()  # networks it may be used from; none: any


@dataclass(frozen=True, slots=True)
class AppPassword:
    """What may be told of one; the secret itself is known to its device alone."""

    id: int
    name: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None  # to the hour
    used_ip: str | None
    ip_allow: tuple[str, ...] = ()  # networks it may be used from; none: any


@dataclass(frozen=True, slots=True)
class ApiToken:
    """`scopes`: their names in a line. `addresses` None: those of the account, all of them."""

    id: int
    name: str
    scopes: str
    addresses: tuple[str, ...] | None
    ip_allow: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = None  # to the hour
    used_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Totp:
    """`sealed` in the form that `auth` writes. `step`: the last one a code was taken of."""

    id: int
    sealed: str
    step: int


@dataclass(frozen=True, slots=True)
class Registration:
    """Somebody who makes an account: by an invitation, as the first administrator (whose address's
    domain is made too), or because anybody may. `codes`: keyed hashes of recovery codes.
    """

    login: str
    secret: str
    address: Address | None
    display_name: str
    codes: tuple[str, ...]
    invite_id: int | None = None
    first: bool = False


class SessionKind(IntEnum):
    PAGE = 0
    LOGIN = 1


@dataclass(frozen=True, slots=True)
class NewSession:
    """`key_hash`: of the cookie or refresh token that it is found by. It lasts `life` at most."""

    kind: SessionKind
    key_hash: bytes
    peer_ip: str
    life: timedelta
    scopes: str
    device: str = ""
    data: str = ""  # what a page remembers with it


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A signed-in session that is still valid at the moment it was read."""

    id: int
    account: Account
    kind: SessionKind
    scopes: str
    device: str
    peer_ip: str
    created_at: datetime
    seen_at: datetime  # to a few minutes
    expires_at: datetime
    data: str = ""


class MtaSts(IntEnum):
    """RFC 8461 section 5: what senders are to do with a server whose TLS does not fit."""

    OFF = 0
    TESTING = 1
    ENFORCE = 2


@dataclass(frozen=True, slots=True)
class Domain:
    id: int
    name: DomainName
    created_at: datetime
    catch_all: str | None = None  # the login that gets what has no address
    plus: str = "+"  # each character of it ends the name in a sub-address
    alias_of: DomainName | None = None  # whose addresses are its own
    sends_via: str | None = None  # SPF terms of who sends mail as it; "": nobody does; None: unsure
    self_service: bool = False  # users may make addresses in it
    max_message: int | None = None  # octets; None: as configured for all
    require_tls: bool = False  # a sender without TLS is refused
    mta_sts: MtaSts = MtaSts.TESTING
    outgoing: str | None = None  # host:port of a server that sends for it, for set-up cards


class DomainSettings(TypedDict, total=False):
    """What may be said of a domain; what is left out stays as it is."""

    catch_all: str | None
    plus: str
    alias_of: DomainName | None
    sends_via: str | None
    self_service: bool
    max_message: int | None
    require_tls: bool
    mta_sts: MtaSts
    outgoing: str | None


class AddressState(IntEnum):
    OPEN = 0
    CLOSED = 3  # no mail is taken, also not for a catch-all


@dataclass(frozen=True, slots=True)
class Alias:
    """An address, and the logins that its mail reaches."""

    id: int
    address: Address
    to: tuple[str, ...]
    created_at: datetime
    state: AddressState = AddressState.OPEN
    note: str = ""


class AliasSettings(TypedDict, total=False):
    """What may be said of an address; what is left out stays as it is."""

    to: tuple[str, ...]
    state: AddressState
    note: str


@dataclass(frozen=True, slots=True)
class Whose:
    """The addresses that reach one account, and of them only `names`, folded, if not None."""

    account: Account
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Invite:
    """Lets somebody make an account, `uses` times more. Whoever has its secret may."""

    id: int
    address: Address | None
    uses: int
    created_at: datetime
    expires_at: datetime


class CollectorState(IntEnum):
    OK = 0
    FAILING = 1  # tried again later
    STOPPED = 2  # logins were refused; tried again when somebody asks


@dataclass(frozen=True, slots=True)
class CollectorRun:
    """`error` is one sentence, None if all went well."""

    at: datetime
    new: int
    seen: int
    octets: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Collector:
    """A remote account that mail is fetched from. `sealed` in the form that `auth` writes."""

    id: int
    maildrop_id: int
    name: str
    address: str
    host: str
    port: int
    username: str
    sealed: str = field(repr=False)
    keep_days: int | None  # at the provider; None: for good
    every_s: int
    created_at: datetime
    next_at: datetime
    paused: bool = False
    state: CollectorState = CollectorState.OK
    fails: int = 0
    refused: int = 0  # logins, one after the other
    delay_s: int = 0  # what the provider wants between two logins
    job_id: int | None = None
    last: CollectorRun | None = None


class CollectorSettings(TypedDict, total=False):
    """What may be said of a collector; what is left out stays as it is."""

    name: str
    address: str
    host: str
    port: int
    username: str
    sealed: str
    keep_days: int | None
    every_s: int
    paused: bool


@dataclass(frozen=True, slots=True)
class CollectorOwner:
    """Whose collectors they are. `admin` may name ports that others may not."""

    account_id: int
    maildrop_id: int
    admin: bool = False


class CollectorWish(TypedDict, total=False):
    """A collector as its owner describes it; what is left out is found out, or stays."""

    name: str
    address: str
    host: str
    port: int
    username: str
    password: str
    keep_days: int | None
    every_s: int
    paused: bool


StepName = Literal["name", "connection", "certificate", "login", "count"]
Needs = Literal["password", "app-password", "oauth", "none"]  # of a user, by his provider


@dataclass(frozen=True, slots=True)
class CollectorStep:
    """One step of a test, in the order of its steps; none follows one that is not `ok`."""

    step: StepName
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Discovered:
    """What is known of an address's provider."""

    host: str
    port: int
    username: str
    needs: Needs
    help: str


class JobState(IntEnum):
    QUEUED = 0
    RUNNING = 1
    DONE = 2
    FAILED = 3
    CANCELLED = 4


@dataclass(frozen=True, slots=True)
class Harvest:
    """What a run of one collector has brought so far. `problem` names an expected way to fail."""

    new: int = 0
    seen: int = 0
    octets: int = 0
    done: int = 0
    total: int = 0
    error: str | None = None
    problem: str | None = None
    over: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Runs of collectors that somebody asked for."""

    id: int
    account_id: int
    state: JobState
    harvests: Mapping[int, Harvest]  # by collector
    created_at: datetime

    @property
    def over(self) -> bool:
        return self.state >= JobState.DONE

    @property
    def done(self) -> int:
        return sum(each.done for each in self.harvests.values())

    @property
    def total(self) -> int:
        return sum(each.total for each in self.harvests.values())


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of one maildrop; nothing is scanned for them."""

    messages: int
    octets: int
    trash_octets: int


@dataclass(frozen=True, slots=True)
class MaildropEntry:
    uid: UniqueId
    size: int


class Entries(Sequence[MaildropEntry]):
    """Messages of a snapshot in compact arrays, about 28 octets each.

    `blocks` is for who writes listings of it: to be kept as long as the snapshot is.
    """

    __slots__ = ("_octets", "blocks", "born", "sizes", "uids")

    def __init__(
        self, uids: bytes, sizes: array[int], born: array[int], octets: int | None = None
    ) -> None:
        self.uids = uids  # 16 octets each
        self.sizes = sizes
        self.born = born
        self._octets = octets
        self.blocks: dict[Hashable, bytes] = {}

    @property
    def octets(self) -> int:
        """Of all messages together; counted once."""
        if self._octets is None:
            self._octets = sum(self.sizes)
        return self._octets

    def __len__(self) -> int:
        return len(self.sizes)

    def uid(self, at: int) -> bytes:
        return self.uids[16 * at : 16 * at + 16]

    @overload
    def __getitem__(self, at: int) -> MaildropEntry: ...
    @overload
    def __getitem__(self, at: slice) -> Entries: ...

    def __getitem__(self, at: int | slice) -> MaildropEntry | Entries:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("a part of a snapshot has no gaps")
            return Entries(self.uids[16 * start : 16 * stop], self.sizes[at], self.born[at])
        place = at + len(self) if at < 0 else at
        size = self.sizes[place]
        return MaildropEntry(UniqueId(self.uid(place)), size)


@dataclass(frozen=True, slots=True)
class Maildrop:
    """The POP3 view of one account: a frozen snapshot (RFC 1939), in order of arrival."""

    maildrop_id: int
    modseq: int
    entries: Entries


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message in one maildrop: its own `prefix`, then the body shared by recipients."""

    uid: UniqueId
    maildrop_id: int
    home: int  # with `uid` the key of the body
    modseq: int  # the maildrop's number of its last change
    prefix: bytes
    size: int  # prefix and body: what LIST says and RETR sends
    header_size: int  # through the blank line
    dotted: bool  # some line starts with "."
    repeat: bool  # of a message that had arrived within a day before it
    origin: tuple[str, ...]  # smtp, collector, import: how it came, which may be in two ways
    folder: Folder
    expires_at: datetime | None  # in the trash: when it goes for good
    unread: bool
    starred: bool
    recipient: str  # the address really used
    mail_from: str
    from_text: str
    to_text: str
    subject: str
    sent_at: datetime | None
    message_id: str
    authentication: Authentication

    @property
    def arrived(self) -> datetime:
        return datetime.fromtimestamp(int.from_bytes(self.uid.octets[:6], "big") / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """A message as lists show it; what was not looked into yet, or cannot be, is None."""

    message: Message
    snippet: str | None
    attachments: int | None


def microseconds(moment: datetime) -> int:
    """The TS form of a moment."""
    return int(moment.timestamp() * 1_000_000)


def moment(ts: int) -> datetime:
    return datetime.fromtimestamp(ts / 1_000_000, UTC)
