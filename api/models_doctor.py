"""What is wrong with a server, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from api.models import Answer, Query

# fmt: off
GroupName = Literal[
    "machine", "ports", "tls", "store", "dns", "collect", "limits", "backup", "access",
]
# fmt: on
MarkName = Literal["ok", "fix", "note", "skip"]


def _list(text: str) -> list[str]:
    return text.split(",")


class DoctorQuery(Query):
    """`only`: groups, with commas between them."""

    only: Annotated[list[GroupName] | None, BeforeValidator(_list)] = None


class FindingDetail(Answer):
    """`next`: the one command to go on with; each `fix` has one."""

    group: GroupName
    mark: MarkName
    text: str
    next: str


class Findings(Answer):
    items: list[FindingDetail]
    to_fix: int
