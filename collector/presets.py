"""What is publicly known of providers of mail: where their POP3 is, and what they want to hear.

From their help pages. A provider that is not here is guessed, and `test` tells whether it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mail.address import Address
from store.records import Needs


@dataclass(frozen=True, slots=True)
class Provider:
    """`needs`: what a user gives; "oauth" is not built, "none": there is no POP3. `host` is empty
    then. The user name is the address.
    """

    name: str
    host: str
    needs: Needs
    help: str


_APP = "Make an app password in the security settings of the account and give that one."
_ON = "Switch POP3 on in the settings of the account first."
_OAUTH = (
    "Microsoft takes no passwords from programs any more, only OAuth2, which is not built here."
    " Let it forward the mail to an address here."
)
_NO_POP3 = "iCloud has no POP3. Let it forward the mail to an address here."

_PROVIDERS: Final[tuple[tuple[Provider, str], ...]] = (
    (
        Provider(
            "Gmail",
            "pop.gmail.com",
            "app-password",
            "Switch POP on in Gmail's settings (Forwarding and POP/IMAP) and two-step verification"
            " in the Google account; then make an app password and give that one.",
        ),
        "gmail.com googlemail.com",
    ),
    (
        Provider("Yahoo", "pop.mail.yahoo.com", "app-password", _APP),
        "yahoo.com yahoo.co.uk yahoo.de yahoo.fr yahoo.it yahoo.es ymail.com rocketmail.com",
    ),
    (Provider("AOL", "pop.aol.com", "app-password", _APP), "aol.com aol.de aol.co.uk aim.com"),
    (
        Provider("Microsoft", "", "oauth", _OAUTH),
        "outlook.com outlook.de hotmail.com hotmail.de hotmail.co.uk live.com live.de msn.com",
    ),
    (Provider("iCloud", "", "none", _NO_POP3), "icloud.com me.com mac.com"),
    (Provider("GMX", "pop.gmx.net", "password", _ON), "gmx.de gmx.net gmx.at gmx.ch"),
    (Provider("GMX", "pop.gmx.com", "password", _ON), "gmx.com gmx.us gmx.co.uk gmx.fr"),
    (Provider("WEB.DE", "pop3.web.de", "password", _ON), "web.de email.de"),
    (Provider("mail.com", "pop.mail.com", "password", _ON), "mail.com email.com"),
    (
        Provider("T-Online", "securepop.t-online.de", "password", "Give the e-mail password."),
        "t-online.de magenta.de",
    ),
    (Provider("freenet", "mx.freenet.de", "password", _ON), "freenet.de"),
    (Provider("mailbox.org", "pop3.mailbox.org", "password", ""), "mailbox.org"),
    (Provider("Posteo", "posteo.de", "password", _ON), "posteo.de posteo.net posteo.org"),
    (
        Provider("Fastmail", "pop.fastmail.com", "app-password", _APP),
        "fastmail.com fastmail.fm sent.com",
    ),
    (
        Provider("Zoho", "pop.zoho.com", "app-password", f"{_ON} {_APP}"),
        "zoho.com zohomail.com",
    ),
    (
        Provider("Yandex", "pop.yandex.com", "app-password", f"{_ON} {_APP}"),
        "yandex.com yandex.ru ya.ru",
    ),
    (Provider("Mail.ru", "pop.mail.ru", "app-password", _APP), "mail.ru inbox.ru list.ru bk.ru"),
    (Provider("Orange", "pop.orange.fr", "password", ""), "orange.fr wanadoo.fr"),
    (Provider("Libero", "popmail.libero.it", "app-password", _APP), "libero.it"),
    (Provider("Seznam", "pop3.seznam.cz", "password", _ON), "seznam.cz email.cz"),
    (Provider("Bluewin", "pop3s.bluewin.ch", "password", ""), "bluewin.ch"),
)

BY_DOMAIN: Final[Mapping[str, Provider]] = {
    domain: provider for provider, domains in _PROVIDERS for domain in domains.split()
}
# Those of companies' own domains go by the host that somebody gives.
_OAUTH_HOSTS: Final = frozenset({"outlook.office365.com", "pop-mail.outlook.com"})
_GUESS: Final = "This provider is not known here: host and user name are a guess. Try a test."


def discover(address: Address) -> Provider:
    """By the table, else what is usual."""
    host = f"pop.{address.domain}"
    return BY_DOMAIN.get(address.domain) or Provider(address.domain, host, "password", _GUESS)


def of_host(host: str) -> Provider | None:
    """What is known of a host whatever the address: one that takes no passwords."""
    return BY_DOMAIN["outlook.com"] if host.lower() in _OAUTH_HOSTS else None
