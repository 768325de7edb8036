"""What every page has: templates, the policy of the browser, the frame around a screen.

Handlers of pages call those of the API with another query and body, so that a page can do what the
same user could do by the API, and no more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from jinja2 import DictLoader, Environment, StrictUndefined

from api import account, shown
from api.call import Call, Preconditions, Reply
from api.models import Answer, Body, Query, read_body, read_query
from api.models_auth import Me
from api.problems import Problem, of_failure
from auth.scopes import Scope
from mail.errors import Failure

A = TypeVar("A", bound=Answer)
B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)

HERE: Final = Path(__file__).parent
HTML: Final = "text/html; charset=utf-8"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
FIELDS: Final[dict[str, str]] = {
    "Content-Security-Policy": POLICY,
    # With no-referrer a browser sends a form with "Origin: null" (Fetch section 3.2).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# All of one release have one name, so that modules find each other beside themselves.
FILES: Final[Mapping[str, bytes]] = {
    path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())
}
STATIC: Final = "/static/" + hashlib.sha256(repr(sorted(FILES.items())).encode()).hexdigest()[:12]
BACK: Final = re.compile(r"/(?:m/[0-9a-z]{26})?(?:\?[\w=&%.+*~-]*)?", re.ASCII)

# Read at the start, as are the files above: they fit the program that runs, whatever an upgrade has
# put in their place. Each is compiled when it is first asked for.
_TEMPLATES: Final = Environment(
    loader=DictLoader(
        {path.name: path.read_text("utf-8") for path in sorted((HERE / "templates").iterdir())}
    ),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.globals["static"] = STATIC
_TEMPLATES.filters |= {
    "size": shown.size,
    "address": shown.address,
    "person": shown.person,
    "initial": shown.initial,
    "hue": shown.hue,
    "linked": shown.linked,
    "device": shown.device,
}


def bare(call: Call[Any, Any], template: str, *, status: int = 200, **values: object) -> Reply:
    """A page for whoever asks, without the frame of who is signed in."""
    token, fields = call.page.form_token()
    text = _TEMPLATES.get_template(template).render(token=token, **values)
    return Reply(text.encode(), status, HTML, headers=FIELDS | fields)


async def framed(
    call: Call[Any, Any], template: str, *, status: int = 200, **values: object
) -> Reply:
    """A screen of who is signed in."""
    me = await answer(account.me, inner(call), Me)
    where, now = shown.zone(me.timezone), call.parts.clock()
    frame = {
        "me": me,
        "admin": Scope.ADMIN_READ in call.who.scopes,
        "when": partial(shown.moment, now=now, where=where),
        "in_full": partial(shown.in_full, where=where),
        "zoned": bool(me.timezone),
        "told": "",
        "failed": "",
        "doing": False,
    }
    return bare(call, template, status=status, **frame | values)


Handler = Callable[[Call[Any, Any]], Awaitable[Answer | Reply]]


def inner(
    call: Call[Any, Any],
    *,
    query: Query | None = None,
    body: Body | None = None,
    path: Mapping[str, str] | None = None,
) -> Call[Any, Any]:
    """A call of the API by the same caller."""
    return replace(
        call, query=query or Query(), body=body, path=path or {}, preconditions=Preconditions()
    )


async def answer(handler: Handler, call: Call[Any, Any], kind: type[A]) -> A:
    """What a handler of the API answers: one of these."""
    given = await handler(call)
    found = given.body if isinstance(given, Reply) else given
    assert isinstance(found, kind)
    return found


def wish(model: type[B], **members: object) -> B:
    """A body of the API made of the fields of a form; None: left out. Raises Problem: 422."""
    given = {name: value for name, value in members.items() if value is not None}
    return read_body(model, json.dumps(given).encode())


def asked(model: type[Q], **parameters: str | int | None) -> Q:
    """A query of the API; None: left out. Raises Problem: 400."""
    given = ((name, str(value)) for name, value in parameters.items() if value is not None)
    return read_query(model, given)


def words(error: Problem | Failure) -> tuple[int, str]:
    """The status of a refusal, and a sentence that says why."""
    problem = error if isinstance(error, Problem) else of_failure(error)
    parts = [f"{at.strip('/').replace('_', ' ')} {text}" for at, text in problem.errors]
    text = problem.detail or "; ".join(parts) or problem.title
    if problem.status >= 500:
        text = problem.title
    return problem.status, text[:1].upper() + text[1:].removesuffix(".") + "."


def to(place: str, **query: str) -> Reply:
    """Redirects with GET."""
    target = f"{place}{'&' if '?' in place else '?'}{urlencode(query)}" if query else place
    return Reply(b"", 303, "text/plain; charset=utf-8", headers={"Location": target})


def refusal(problem: Problem, request_id: str) -> tuple[bytes, dict[str, str]]:
    """A page for a problem: what happened, why, what helps."""
    from api.problem_pages import PAGES

    page = PAGES[problem.slug]
    _, text = words(problem)
    told = _TEMPLATES.get_template("problem.html").render(
        problem=problem,
        page=page,
        text=text,
        request_id=request_id,
        retry=problem.headers.get("Retry-After", ""),
    )
    return told.encode(), FIELDS | {"Content-Type": HTML}
