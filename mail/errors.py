"""Every expected way to fail. Each front end has one table from these to its own replies."""

from __future__ import annotations


class Failure(Exception):
    """An expected refusal. `public` may be shown to any stranger; `facts` go to the log."""

    temporary = False

    def __init__(self, public: str, **facts: object) -> None:
        super().__init__(public)
        self.public = public
        self.facts = facts


class BadAddress(Failure):
    """The text is not a mail address or domain (RFC 5321 section 4.1.2)."""


class UnknownRecipient(Failure):
    """The domain is ours, the address is not."""


class NotOurDomain(Failure):
    """The recipient's domain is not hosted here: accepting it would be relaying."""


class OverQuota(Failure):
    """One of the maildrops has no room for this message."""

    temporary = True


class FullForDays(Failure):
    """The maildrop has been full for longer than a sender can be asked to try again."""


class MessageTooLarge(Failure):
    """More octets than the configured largest message."""


class BadContent(Failure):
    """Octets that cannot be stored and served unchanged: a NUL in the header, an endless line."""


class MailLoop(Failure):
    """The message has been here before, or nearly everywhere (RFC 5321 section 6.3)."""


class Unwanted(Failure):
    """The owner has chosen not to take such mail; its sender is told in the session."""


class TooMany(Failure):
    """A limit of rate or number is reached. `retry_after_s` in `facts` says when to come back."""

    temporary = True


class StorageBusy(Failure):
    """The store cannot do it now; the same request may succeed later."""

    temporary = True


class LeaseLost(Failure):
    """A singleton role is another process's now; no front end ever meets it."""

    temporary = True


class StorageFull(Failure):
    """No room on the disk for more mail."""

    temporary = True


class OutcomeUnknown(Failure):
    """Whether it was kept or done is not known: nothing may be answered."""

    temporary = True


class MessageDamaged(Failure):
    """Stored octets do not match their checksum, so they are not served."""

    temporary = True


class BadCredentials(Failure):
    """Unknown user, wrong secret or closed account: one answer for all."""


class CodeNeeded(Failure):
    """The password is right, and the account asks for a one-time code besides."""


class AccountDisabled(Failure):
    """The secret is right, and an administrator has closed the way in."""


class InviteInvalid(Failure):
    """No invitation or set-up code of that text, or it was used before."""


class AlreadyOn(Failure):
    """What is to be switched on is on."""


class NotPermitted(Failure):
    """Known who it is, and it may not."""


class NoSuchMessage(Failure):
    """No message of that id or number in this maildrop."""


class MessageDeleted(Failure):
    """There was a message of that id, and it has been deleted for good."""


class BadQuery(Failure):
    """A search that cannot be read; the text says at which column."""


class NotFound(Failure):
    """No user, domain or address of that name."""


class NameTaken(Failure):
    """The name of a new user, domain or address is in use."""


class AddressTaken(NameTaken):
    """There is such an address already."""


class DomainTaken(NameTaken):
    """There is such a domain already."""


class NamedNothing(NotFound):
    """A change names a user or a domain that does not exist."""


class DomainNotOpen(NotPermitted):
    """Users may not make addresses in this domain."""


class LastAdministrator(Failure):
    """Nobody would be left who may manage the server."""


class OtherVersion(Failure):
    """What is to be changed is not what the caller has seen. `current` is what it is now."""

    def __init__(self, public: str, *, current: object = None, **facts: object) -> None:
        super().__init__(public, **facts)
        self.current = current


class InUse(Failure):
    """Cannot be removed while something else needs it."""


class BadName(Failure):
    """Not what a login, a separator or an alias may be: the text says what may."""


class WeakPassword(Failure):
    """A new password that is too easy to guess."""


class AlreadyRunning(Failure):
    """The same work is under way. `job` in `facts` is its id."""


class PasswordNeeded(Failure):
    """A secret is not sent to another host, port or user name than it was given for."""


class ProviderNeedsOAuth(Failure):
    """A provider of remote mail takes no passwords."""


class ProviderHasNoPop3(Failure):
    """A provider of remote mail does not offer POP3."""


class TargetNotAllowed(Failure):
    """A host that nothing of ours connects to, or that does not exist: one answer for all."""


class UpstreamFailed(Failure):
    """A provider cannot be reached, or does not speak as POP3 is spoken."""

    temporary = True


class UpstreamTimeout(UpstreamFailed):
    """A provider did not answer in time."""


class UpstreamTls(UpstreamFailed):
    """No TLS with a provider, or its certificate is not one to trust."""


class UpstreamLogin(UpstreamFailed):
    """A provider refused a login; the text is its own. `refused` in `facts`: for good."""


class FileTrouble(Failure):
    """A file or folder that was named cannot be read or written."""


class NotMail(Failure):
    """A file or folder is not of the format that was named."""


class BackupDamaged(Failure):
    """The folder holds no backup, or not all of one."""


class NotEmpty(Failure):
    """There is mail in a store that is to be filled."""
