"""What each problem means and what to do about it: /problems/<slug>, and `restante explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Page(NamedTuple):
    cause: str
    cure: str


PAGES: Final[Mapping[str, Page]] = {
    "malformed-request": Page(
        "The octets are not HTTP, the body did not come whole, or it is not JSON within our limits:"
        " 32 levels, 1,000 members, each name once, whole numbers up to 2^53, Unicode text.",
        "Let a JSON library write the body. Send an integer beyond 2^53 as text.",
    ),
    "bad-query": Page(
        "A parameter of the query is not known, given twice, or not of the form it must have.",
        "The detail names it. /api/docs lists the parameters of each path.",
    ),
    "cursor-mismatch": Page(
        "A cursor belongs to one list, its filter, its order and the user who asked for it.",
        "Start the list again without a cursor, and take the links as they come.",
    ),
    "not-signed-in": Page(
        "No credential came with the request, or it is wrong, ended or removed.",
        "Sign in with POST /api/auth/login, or send an API token that still exists:"
        " Authorization: Bearer <token>.",
    ),
    "bad-credentials": Page(
        "There is no such user, or the secret is another one: the answer is the same for both.",
        "Type it again. Each failure makes the next answer slower. A recovery code, an"
        " administrator or `restante user passwd` gives a new password.",
    ),
    "totp-required": Page(
        "The password is right, and this account asks for a code of its second factor too.",
        "Send the six digits that the app shows now, as `totp`, with login and password.",
    ),
    "session-ended": Page(
        "The session was signed out, timed out, ended by a new password, or its refresh token was"
        " used a second time, which ends it.",
        "Sign in again. Keep only the newest refresh token.",
    ),
    "not-permitted": Page(
        "It is known who asks, and this may not be done: by this kind of credential, by this user,"
        " or by anybody. Until a password that must be changed is changed, it is said to all else.",
        "The detail says which. An administrator can do more; POST /api/auth/password sets a new"
        " password.",
    ),
    "scope-missing": Page(
        "The credential was made for something else. No credential makes a stronger one.",
        "The detail names the scope. Make a token that has it, from a sign-in that has it.",
    ),
    "csrf-failed": Page(
        "A browser said that another site made the request, or the form's token is missing.",
        "Load the page again and send the form from there. Programs send no Origin.",
    ),
    "account-disabled": Page(
        "An administrator has disabled the account. Its mail still comes in.",
        "Ask the administrator: `restante user disable LOGIN --undo` opens it again.",
    ),
    "registration-closed": Page(
        "This server makes no accounts for those who ask.",
        "Ask the administrator for an account. The setting is api.registration.",
    ),
    "invite-invalid": Page(
        "There is no invitation or set-up code of that text, it was used up, or its time is over.",
        "Ask for a new one. A set-up code works while there is no administrator.",
    ),
    "domain-not-open": Page(
        "Only administrators make addresses in this domain.",
        "Ask the administrator, or take a domain with `self_service` on.",
    ),
    "not-found": Page(
        "Nothing has this path or id. What belongs to another user is not there for you either.",
        "Look it up in the list. /api/docs has every path.",
    ),
    "method-not-allowed": Page(
        "The path exists, and not with this method.",
        "The header field Allow names the methods.",
    ),
    "too-slow": Page(
        "The body did not come within 10 seconds and one more for each KiB.",
        "Try again. A proxy in between may hold the request back.",
    ),
    "name-taken": Page(
        "Another user, or another credential of this user, has that name.",
        "Choose another name.",
    ),
    "address-taken": Page(
        "There is such an address already. Case does not make another one.",
        "Change the one that is there, or choose another.",
    ),
    "domain-taken": Page(
        "Mail for that domain is taken already.",
        "Change it with PUT /api/domains/{name}.",
    ),
    "domain-in-use": Page(
        "Addresses or aliases would go with the domain.",
        "Remove them first, or add ?force=true.",
    ),
    "last-admin": Page(
        "Nobody would be left who may manage this server.",
        "Make another user an administrator first.",
    ),
    "already-on": Page(
        "What is to be switched on is on.",
        "Switch it off first if it is to be set up anew.",
    ),
    "already-running": Page(
        "The same work is under way.",
        "Wait for its job; the answer names it.",
    ),
    "expect-mismatch": Page(
        "The query finds another number of messages than was expected, so nothing was changed.",
        "Look at the list again; the answer has the true number.",
    ),
    "deleted": Page(
        "The message was here and has been removed for good.",
        "Nothing brings it back but a backup.",
    ),
    "version-mismatch": Page(
        "If-Match named another version than the one that is there.",
        "Take the version in the answer, apply the change to it, and send its ETag.",
    ),
    "body-too-large": Page(
        "The body has more octets than are taken here: 1 MiB, and 16 KiB for signing in.",
        "Send less at once.",
    ),
    "unsupported-media-type": Page(
        "The body is not application/json, or was compressed.",
        "Send Content-Type: application/json and no Content-Encoding.",
    ),
    "range-not-satisfiable": Page(
        "The range begins behind the last octet.",
        "Ask without a Range to learn the size.",
    ),
    "wrong-host": Page(
        "The request names a host that is not this server's.",
        "Use the server's name (server.hostname), or a name of loopback from the same machine.",
    ),
    "proxy-not-trusted": Page(
        "A proxy on this machine says for whom it asks, and it is not in api.trusted_proxies: all"
        " its clients would count as one.",
        "Add its network to api.trusted_proxies.",
    ),
    "invalid-body": Page(
        "A member is missing, not known, or not of the form it must have, or names a user or domain"
        " that does not exist. Nothing was changed.",
        '`errors` has a pointer and a text for each. Nothing is converted: "5" is not 5.',
    ),
    "weak-password": Page(
        "The password is short, or easy to guess, also from the user's name and address.",
        "Take four or five words that have nothing to do with each other.",
    ),
    "password-needed": Page(
        "The host, port or user name is another one, and the password kept is not sent to it.",
        "Send the password again with the change.",
    ),
    "provider-needs-oauth": Page(
        "This provider takes no passwords from programs any more, and OAuth2 is not built yet.",
        "Let it forward the mail to an address here.",
    ),
    "provider-has-no-pop3": Page(
        "This provider does not offer POP3.",
        "Let it forward the mail to an address here.",
    ),
    "target-not-allowed": Page(
        "There is no host of that name, it leads to a private network or to this server itself, or"
        " the port is not one of POP3. Nobody is told which.",
        "Check the host name. A private network must stand in server.private_targets.",
    ),
    "rate-limited": Page(
        "Too many requests or connections came from this client in 15 minutes.",
        "Wait as long as Retry-After says. `restante limits clear --ip` forgets the count.",
    ),
    "header-too-large": Page(
        "The request line or a header field has more than 8,190 octets.",
        "Send less; a browser may have to forget cookies of another service on this host.",
    ),
    "internal-error": Page(
        "A fault of this server. Nothing more is told to the outside.",
        "Look for the request id in the server's log, and report what stands there.",
    ),
    "busy": Page(
        "The store is under load, full, or cannot be reached at this moment.",
        "Try again soon. If it goes on: `restante status`, the log, and the room on the disk.",
    ),
    "over-quota": Page(
        "The mailbox has no room for it.",
        "Remove mail for good, or ask the administrator for a larger quota.",
    ),
    "upstream-login": Page(
        "The provider refused the user name or password; its own words are in the detail.",
        "Most providers want an app password. Make one there and give that one.",
    ),
    "upstream-tls": Page(
        "The provider's certificate is not valid for its name, or TLS failed.",
        "Check the host name. Nothing is fetched without TLS.",
    ),
    "upstream-failed": Page(
        "The provider could not be reached, or answered something else than POP3.",
        "Check host and port, and try again later.",
    ),
    "upstream-timeout": Page(
        "The provider did not answer in time.",
        "Try again later.",
    ),
}
