"""Every answer that is no success: problem documents (RFC 9457), and the one table from `Failure`.

A slug says what happened and brings status and title. 5xx carries no detail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from mail import errors
from mail.errors import Failure

MEDIA_TYPE: Final = "application/problem+json"

KINDS: Final[Mapping[str, tuple[int, str]]] = {
    "malformed-request": (400, "The request cannot be read"),
    "bad-query": (400, "The query is not valid"),
    "cursor-mismatch": (400, "The cursor does not belong to this list"),
    "not-signed-in": (401, "Sign in first"),
    "bad-credentials": (401, "Wrong user name or password"),
    "totp-required": (401, "A code is needed too"),
    "session-ended": (401, "The session has ended"),
    "not-permitted": (403, "This is not permitted"),
    "scope-missing": (403, "The credential does not reach so far"),
    "account-disabled": (403, "The account is disabled"),
    "registration-closed": (403, "Nobody can make an account here"),
    "invite-invalid": (403, "The invitation is not valid"),
    "domain-not-open": (403, "Addresses in this domain are not for users to make"),
    "csrf-failed": (403, "The request was made by another site"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This method is not possible here"),
    "too-slow": (408, "The request came too slowly"),
    "name-taken": (409, "The name is in use"),
    "address-taken": (409, "The address is in use"),
    "already-running": (409, "It is under way already"),
    "expect-mismatch": (409, "Another number than expected"),
    "already-on": (409, "It is on already"),
    "domain-taken": (409, "The domain is there already"),
    "last-admin": (409, "Nobody else may manage this server"),
    "domain-in-use": (409, "The domain is still needed"),
    "deleted": (410, "It has been removed for good"),
    "version-mismatch": (412, "It has been changed in the meantime"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is of another kind than is taken here"),
    "range-not-satisfiable": (416, "There are not that many octets"),
    "wrong-host": (421, "This server does not have that name"),
    "proxy-not-trusted": (421, "The proxy in between is not trusted"),
    "invalid-body": (422, "The request body is not valid"),
    "weak-password": (422, "The password is too weak"),
    "password-needed": (422, "The password is needed again"),
    "provider-needs-oauth": (422, "This provider takes no passwords"),
    "provider-has-no-pop3": (422, "This provider has no POP3"),
    "target-not-allowed": (422, "The host cannot be used"),
    "rate-limited": (429, "Too many requests"),
    "header-too-large": (431, "A header field is too large"),
    "internal-error": (500, "A fault of this server"),
    "upstream-login": (502, "The provider refused the sign-in"),
    "upstream-tls": (502, "No trusted connection to the provider"),
    "upstream-failed": (502, "The provider did not answer as it should"),
    "upstream-timeout": (504, "The provider did not answer in time"),
    "busy": (503, "The server is busy; try again"),
    "over-quota": (507, "The mailbox is full"),
}

FAILURES: Final[Mapping[type[Failure], str]] = {
    errors.AccountDisabled: "account-disabled",
    errors.AddressTaken: "address-taken",
    errors.AlreadyOn: "already-on",
    errors.AlreadyRunning: "already-running",
    errors.CodeNeeded: "totp-required",
    errors.BadAddress: "invalid-body",
    errors.BadCredentials: "bad-credentials",
    errors.BadName: "invalid-body",
    errors.BadQuery: "bad-query",
    errors.DomainNotOpen: "domain-not-open",
    errors.DomainTaken: "domain-taken",
    errors.InviteInvalid: "invite-invalid",
    errors.InUse: "domain-in-use",
    errors.LastAdministrator: "last-admin",
    errors.MessageDamaged: "internal-error",
    errors.MessageDeleted: "deleted",
    errors.MessageTooLarge: "body-too-large",
    errors.NameTaken: "name-taken",
    errors.NamedNothing: "invalid-body",
    errors.NoSuchMessage: "not-found",
    errors.NotFound: "not-found",
    errors.NotOurDomain: "not-found",
    errors.NotPermitted: "not-permitted",
    errors.OtherVersion: "version-mismatch",
    errors.OutcomeUnknown: "busy",
    errors.OverQuota: "over-quota",
    errors.PasswordNeeded: "password-needed",
    errors.ProviderHasNoPop3: "provider-has-no-pop3",
    errors.ProviderNeedsOAuth: "provider-needs-oauth",
    errors.StorageBusy: "busy",
    errors.StorageFull: "busy",
    errors.TargetNotAllowed: "target-not-allowed",
    errors.TooMany: "rate-limited",
    errors.UnknownRecipient: "not-found",
    errors.UpstreamFailed: "upstream-failed",
    errors.UpstreamLogin: "upstream-login",
    errors.UpstreamTimeout: "upstream-timeout",
    errors.UpstreamTls: "upstream-tls",
    errors.WeakPassword: "weak-password",
}

# Raised where octets are taken in, or to the command line alone.
CANNOT_OCCUR: Final[frozenset[type[Failure]]] = frozenset(
    {
        errors.BadContent,
        errors.FullForDays,
        errors.BackupDamaged,
        errors.FileTrouble,
        errors.LeaseLost,
        errors.MailLoop,
        errors.NotEmpty,
        errors.NotMail,
        errors.Unwanted,
    }
)


class Problem(Exception):
    """An answer that is no success. `errors` pair a JSON pointer into the body with a text; `more`
    are members that this kind of problem has besides.
    """

    def __init__(
        self,
        slug: str,
        detail: str = "",
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(slug)
        self.slug = slug
        self.status, self.title = KINDS[slug]
        self.detail = detail
        self.errors = errors
        self.more = more or {}
        self.headers = dict(headers or {})
        if self.status == 401:
            # RFC 9110 section 15.5.2: a 401 names a way to sign in.
            self.headers["WWW-Authenticate"] = 'Bearer realm="restante"'

    def document(self, *, instance: str | None, request_id: str) -> bytes:
        """The body of the answer; `instance` is the path that was asked for, where one was."""
        members: dict[str, object] = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
        }
        # Of a fault of ours nothing is told; a provider's is for its user to know.
        if self.detail and (self.status < 500 or self.slug.startswith("upstream-")):
            members["detail"] = self.detail
        if instance is not None:
            members["instance"] = instance
        members |= {"code": self.slug, "request_id": request_id}
        members |= self.more
        if self.errors:
            members["errors"] = [{"pointer": at, "detail": text} for at, text in self.errors]
        return json.dumps(members, separators=(",", ":")).encode("ascii")


def of_failure(failure: Failure) -> Problem:
    """What a Failure means to a client."""
    wait = failure.facts.get("retry_after_s")
    more: dict[str, object] | None = None
    if isinstance(failure, errors.OtherVersion):
        more = {"current": failure.current}
    elif isinstance(failure, errors.AlreadyRunning):
        more = {"job_id": failure.facts.get("job")}
    return Problem(
        FAILURES.get(type(failure), "internal-error"),
        failure.public,
        headers={} if wait is None else {"Retry-After": str(wait)},
        more=more,
    )


def slug_of(kind: str) -> str:
    """Of the name of a Failure, as a run that failed has noted it."""
    return {each.__name__: slug for each, slug in FAILURES.items()}.get(kind, "internal-error")
