"""Every body and query, in and out. What comes in is taken as it is or refused, never coerced."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from api.problems import Problem

ERRORS_TOLD = 20  # of one body; a name is told up to NAME_TOLD characters
NAME_TOLD = 80


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Body(_Strict):
    """A JSON object that a client sends."""


class Query(_Strict):
    """The query of a path that takes none; others add their parameters."""


class Answer(_Strict):
    """A JSON object that we send: the members that were set, and no others."""

    def octets(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()


B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)


def read_body(model: type[B], octets: bytes) -> B:
    """`octets` are known to be JSON. Raises Problem: 422 with a text for each wrong member."""
    try:
        return model.model_validate_json(octets)
    except ValidationError as error:
        told = [(_pointer(place), text) for place, text in _faults(error, model)]
        raise Problem("invalid-body", errors=told) from None


def read_query(model: type[Q], parameters: Iterable[tuple[str, str]]) -> Q:
    """Raises Problem: 400."""
    given: dict[str, str] = {}
    for name, text in parameters:
        if name in given:
            raise Problem("bad-query", f"{name[:NAME_TOLD]}: given more than once")
        given[name] = text
    try:
        return model.model_validate(given)
    except ValidationError as error:
        told = [f"{place[0]}: {text}" for place, text in _faults(error, model)]
        raise Problem("bad-query", "; ".join(told)) from None


def _faults(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[list[str], str]]:
    """Where, and what is wrong there: in our words, or pydantic's."""
    for found in error.errors(include_url=False, include_input=False)[:ERRORS_TOLD]:
        place = [str(step)[:NAME_TOLD] for step in found["loc"]]
        text = found["msg"].removeprefix("Value error, ")
        text = text[0].lower() + text[1:]
        if found["type"] == "extra_forbidden":
            closest = difflib.get_close_matches(place[-1], model.model_fields, n=1, cutoff=0.0)
            text = f'not known; did you mean "{closest[0]}"?' if closest else "not known"
        yield place, text


def _pointer(place: Sequence[str]) -> str:
    """RFC 6901 section 3."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in place)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("must be a whole number")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


Number = Annotated[int, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]


class Greeting(Answer):
    name: str


class Credentials(Body):
    """`login` is a login or one of the user's own addresses."""

    login: str = Field(min_length=1, max_length=320)
    password: SecretStr


class User(Answer):
    id: str
    login: str
    role: Literal["user", "admin"]
    created_at: datetime


class SignedIn(Answer):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    user: User


FolderName = Literal["inbox", "archive", "trash"]


class EmailsQuery(Query):
    folder: FolderName = "inbox"
    limit: Annotated[Number, Field(ge=1, le=200)] = 50
    cursor: str | None = None


class EmailQuery(Query):
    headers: Truth = False


class Mailbox(Answer):
    """Either may be empty."""

    name: str
    address: str


class EmailRow(Answer):
    id: str
    folder: FolderName
    unread: bool
    starred: bool
    from_: Mailbox = Field(serialization_alias="from")
    to: list[Mailbox]
    delivered_to: list[str]
    subject: str
    received_at: datetime
    size: int
    origin: list[Literal["smtp"]]


class HeaderField(Answer):
    """`raw` is all behind the colon, as stored; octets that are no UTF-8 show as U+FFFD."""

    name: str
    raw: str


class Email(EmailRow):
    date: datetime | None
    message_id: str | None
    headers: list[HeaderField] = []


class EmailPage(Answer):
    items: list[EmailRow]
    next: str | None
    prev: str | None
