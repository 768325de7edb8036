"""Failures: what may be shown to a stranger, and what is worth another try."""

import pytest

from mail import errors
from mail.errors import Failure

# Promise: a fault of ours is never told to a peer as permanent.
TEMPORARY = {
    *("OverQuota", "TooMany", "StorageBusy", "StorageFull", "MessageDamaged"),
    *("LeaseLost", "OutcomeUnknown"),
    *("UpstreamFailed", "UpstreamLogin", "UpstreamTimeout", "UpstreamTls"),
}


def family(parent: type[Failure] = Failure) -> list[type[Failure]]:
    return [kind for child in parent.__subclasses__() for kind in (child, *family(child))]


def test_the_family_lives_in_one_file() -> None:
    assert {kind.__module__ for kind in family()} == {errors.__name__}


@pytest.mark.parametrize("kind", family(), ids=lambda kind: kind.__name__)
def test_a_failure_shows_its_public_text_and_nothing_else(kind: type[Failure]) -> None:
    failure = kind("no such user", address="ann@example.org", cause="row 7")
    assert failure.public == str(failure) == "no such user"
    assert failure.facts == {"address": "ann@example.org", "cause": "row 7"}
    assert failure.temporary == (kind.__name__ in TEMPORARY)
