"""The queries and forms of the page. Every field is a text: the API's own models judge it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from api.models import Body, Number, Query
from api.models_auth import LoginName

FolderText = Literal["inbox", "archive", "trash", "held", "all"]
View = Literal["html", "text", "source", "headers"]
Short = Annotated[str, Field(max_length=400)]


class ListPlace(Query):
    """Which list is shown, and what was done just before (so that it can be undone)."""

    folder: FolderText | None = None
    q: Annotated[str, Field(max_length=1000)] = ""
    cursor: str | None = None
    done: Literal["archive", "trash", "inbox", "delete", "undone"] | None = None
    ids: Annotated[str, Field(max_length=6000)] = ""
    was: FolderText | None = None


class MessagePlace(ListPlace):
    view: View | None = None
    images: Literal["1"] | None = None


class LiveQuery(Query):
    """`version`: what the page shows."""

    version: Number = 0


class BodyQuery(Query):
    """Of the frame that a message is shown in."""

    part: Literal["html", "text"] = "html"
    remote: Literal["0", "1"] = "0"


class MailForm(Body):
    """`act` alone with `ids`, or `act:id` of a button."""

    act: Annotated[str, Field(pattern=r"^[a-z]{1,10}(?::[0-9a-z]{26})?$")]
    ids: Annotated[str, Field(pattern=r"^[0-9a-z,]*$", max_length=6000)] = ""
    back: str = "/"


class RegisterForm(Body):
    login: Short = ""
    password: SecretStr = SecretStr("")
    code: SecretStr | None = None
    address: Short | None = None
    display_name: Short | None = None


class InviteQuery(Query):
    invite: Annotated[str, Field(max_length=64)] = ""


class RecoverForm(Body):
    login: LoginName
    recovery_code: SecretStr
    new: SecretStr


class PasswordForm(Body):
    current: SecretStr
    new: SecretStr


class AddressForm(Body):
    act: Literal["new", "random", "open", "closed", "note", "remove"]
    id: Short = ""
    address: Short = ""
    domain: Short = ""
    note: Annotated[str, Field(max_length=500)] = ""


class ConnectForm(Body):
    name: Short = ""


class SecurityForm(Body):
    act: Literal[
        "session",
        "everywhere",
        "token",
        "new-token",
        "app-password",
        "codes",
        "totp",
        "totp-on",
        "totp-off",
    ]
    id: Short = ""
    name: Short = ""
    reach: Literal["read", "change", "all"] = "read"
    current: SecretStr = SecretStr("")
    code: SecretStr = SecretStr("")


class UserForm(Body):
    act: Literal["new", "disable", "open", "admin", "user", "password", "quota", "remove"]
    id: Short = ""
    login: Short = ""
    address: Short | None = None
    role: Literal["user", "admin"] = "user"
    quota_mib: Short = ""


class DomainForm(Body):
    act: Literal["new", "change", "remove"]
    name: Short = ""
    catch_all: Short | None = None
    plus: Short = ""
    self_service: Short = ""


class DnsForm(Body):
    """`via`: SPF terms of the service that sends as the domain."""

    act: Literal["check", "sends"]
    sends: Literal["nobody", "others", "unsure"] = "unsure"
    via: Short = ""


class CollectForm(Body):
    """`keep`: "all", or for how many days what was fetched stays at the provider."""

    act: Literal["find", "new", "run", "stop", "test", "change", "pause", "resume", "remove"]
    id: Short = ""
    job: Short = ""
    address: Short = ""
    password: SecretStr = SecretStr("")
    host: Short = ""
    port: Short = ""
    username: Short = ""
    name: Short = ""
    keep: Short = "all"
    every: Short = ""


class InviteForm(Body):
    act: Literal["new", "remove"]
    id: Short = ""
    address: Short | None = None


class Told(Query):
    """What was done just before."""

    told: Annotated[str, Field(max_length=20)] = ""
    cursor: str | None = None


class CollectPlace(Told):
    """`job`: the run that is watched."""

    job: Annotated[str, Field(max_length=20)] = ""
