"""Every body and query, in and out. What comes in is taken as it is or refused, never coerced."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from api.problems import Problem

ERRORS_TOLD = 20  # of one body; a name is told up to NAME_TOLD characters
NAME_TOLD = 80


class _Strict(BaseModel):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,  # at the first use of each: all at once they are a tenth of a start
    )


def tag_of(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()[:32]


class Body(_Strict):
    """A JSON object that a client sends."""


class Query(_Strict):
    """The query of a path that takes none; others add their parameters."""


class Answer(_Strict):
    """A JSON object that we send: the members that were set, and no others."""

    def octets(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()

    @property
    def tag(self) -> str:
        """Another one whenever an octet is another one."""
        return tag_of(self.octets())


B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)


def read_body(model: type[B], octets: bytes) -> B:
    """`octets` are known to be JSON. Raises Problem: 422 with a text for each wrong member."""
    try:
        return model.model_validate_json(octets)
    except ValidationError as error:
        told = [(_pointer(place), text) for place, text in _faults(error, model)]
        raise Problem("invalid-body", errors=told) from None


def read_form(model: type[B], fields: Sequence[tuple[str, str]]) -> B:
    """The fields of a page's form; an empty one is one left out. Raises Problem: 422."""
    try:
        return model.model_validate({name: text for name, text in fields if text})
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
