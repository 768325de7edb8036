"""What mail apps are set up with, in each form that one of them reads."""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from typing import Final
from uuid import NAMESPACE_DNS, uuid5
from xml.sax.saxutils import escape

from api.call import ApiParts
from api.models_auth import Card, Incoming, Outgoing
from store.records import Domain

SUBMISSIONS: Final = 465  # RFC 8314 section 3.3; the refuser's
KEEP_DAYS: Final = 3650  # Thunderbird's own default removes mail from the server after 14
TEXT: Final = "text/plain; charset=utf-8"
XML: Final = "text/xml; charset=utf-8"
APPLE: Final = "application/x-apple-aspen-config"


def incoming(parts: ApiParts, username: str) -> Incoming:
    return Incoming(
        protocol="pop3",
        host=parts.hostname,
        port=parts.site.pop3_port,
        security="SSL/TLS",
        authentication="normal password",
        username=username,
    )


def outgoing(parts: ApiParts, domain: Domain | None) -> Outgoing:
    """The server that sends for the domain; else the one that says that nothing is sent here."""
    if domain is None or domain.outgoing is None:
        return Outgoing(
            host=parts.hostname,
            port=parts.site.refuser_port or SUBMISSIONS,
            security="SSL/TLS",
            authentication="none",
            sends=False,
        )
    host, _, port = domain.outgoing.rpartition(":")
    return Outgoing(
        host=host,
        port=int(port),
        security="SSL/TLS" if int(port) == SUBMISSIONS else "STARTTLS",
        authentication="normal password",
        sends=True,
    )


def as_text(card: Card) -> bytes:
    """To be typed."""
    come, go = card.incoming, card.outgoing
    note = "" if go.sends else "  (it only says that nothing is sent from here)"
    return (
        f"Incoming mail   POP3\nServer          {come.host}\nPort            {come.port}\n"
        f"Security        {come.security}\nAuthentication  {come.authentication}\n"
        f"User name       {come.username}\n"
        f"Addresses       {', '.join(card.addresses) or 'none yet'}\n"
        f"\nOutgoing mail   SMTP{note}\nServer          {go.host}\nPort            {go.port}\n"
        f"Security        {go.security}\nAuthentication  {go.authentication}\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Provider:
    """`domain` is whose users are set up; `username` may be Thunderbird's `%EMAILADDRESS%`."""

    domain: str
    incoming: Incoming
    outgoing: Outgoing


_SOCKET: Final = {"SSL/TLS": "SSL", "STARTTLS": "STARTTLS"}
_AUTHENTICATION: Final = {"normal password": "password-cleartext", "none": "none"}


def as_autoconfig(provider: Provider) -> bytes:
    """Version 1.1 of what Thunderbird reads.

    It refuses a file without an outgoing server, and one whose only entry is of type `none`.
    """
    come, go = provider.incoming, provider.outgoing
    name = f"\n      <username>{escape(come.username)}</username>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="{escape(provider.domain)}">
    <domain>{escape(provider.domain)}</domain>
    <displayName>{escape(provider.domain)}</displayName>
    <displayShortName>{escape(provider.domain)}</displayShortName>
    <incomingServer type="pop3">
      <hostname>{escape(come.host)}</hostname>
      <port>{come.port}</port>
      <socketType>{_SOCKET[come.security]}</socketType>{name}
      <authentication>password-cleartext</authentication>
      <pop3>
        <leaveMessagesOnServer>true</leaveMessagesOnServer>
        <daysToLeaveMessagesOnServer>{KEEP_DAYS}</daysToLeaveMessagesOnServer>
      </pop3>
    </incomingServer>
    <outgoingServer type="smtp">
      <hostname>{escape(go.host)}</hostname>
      <port>{go.port}</port>
      <socketType>{_SOCKET[go.security]}</socketType>{name if go.sends else ""}
      <authentication>{_AUTHENTICATION[go.authentication]}</authentication>
      <useGlobalPreferredServer>{str(not go.sends).lower()}</useGlobalPreferredServer>
    </outgoingServer>
  </emailProvider>
</clientConfig>
""".encode()


def as_apple_profile(card: Card) -> bytes:
    """A configuration profile with one account; the app asks for the password."""
    come, go = card.incoming, card.outgoing
    address = card.addresses[0] if card.addresses else ""
    kind = {"normal password": "EmailAuthPassword", "none": "EmailAuthNone"}
    name = f"{come.username}.{come.host}"
    account = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{come.host}.mail",
        "PayloadUUID": str(uuid5(NAMESPACE_DNS, f"mail.{name}")),
        "PayloadDisplayName": address or come.host,
        "EmailAccountType": "EmailTypePOP",
        "EmailAccountDescription": address or come.host,
        "EmailAddress": address,
        "IncomingMailServerAuthentication": kind[come.authentication],
        "IncomingMailServerHostName": come.host,
        "IncomingMailServerPortNumber": come.port,
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": come.username,
        "OutgoingMailServerAuthentication": kind[go.authentication],
        "OutgoingMailServerHostName": go.host,
        "OutgoingMailServerPortNumber": go.port,
        "OutgoingMailServerUseSSL": True,
    }
    if go.sends:
        account["OutgoingMailServerUsername"] = come.username
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": come.host,
        "PayloadUUID": str(uuid5(NAMESPACE_DNS, name)),
        "PayloadDisplayName": address or come.host,
        "PayloadContent": [account],
    }
    return plistlib.dumps(profile)
