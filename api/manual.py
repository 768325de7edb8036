"""The description for people: /api/docs, /problems/<slug>, and the tables of docs/api.md.

Rendered here, without a script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

from api import operations
from api.operations import DESCRIBED, OPERATIONS, grouped
from api.problem_pages import PAGES
from api.problems import KINDS
from api.routes import Route, Rule
from auth.scopes import Scope

STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}"
    "pre{background:#8881;padding:.7rem;overflow-x:auto}h3{margin-top:2.5rem}"
    "td,th{text-align:left;vertical-align:top;padding:.1rem .8rem .1rem 0}"
    ":root{color-scheme:light dark}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
}
EXAMPLE_PATH: Final = {
    "id": "2k9d1mz8qtw",
    "name": "example.org",
    "slug": "not-found",
    "n": "1",
    "code": "4k7p-9xq2-0c5m",
    "version": "0123456789ab",
    "token": "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0",
}
EMAIL_ID: Final = "01m815pwc8r84p57vfqvc2r1yd"
ORIGIN: Final = "https://mail.example.org"


def _page(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><main>{body}</main></html>\n"
    ).encode()


def access(route: Route[Any, Any]) -> str:
    """Who may ask, in words."""
    match route.access:
        case Scope() as scope:
            return f"scope {scope}" + (", or from the same machine" if route.local else "")
        case Rule.NONE:
            return "anybody"
        case Rule.OPTIONAL:
            return "anybody; more is told to administrators and on the same machine"
        case Rule.ANY:
            return "any credential"
        case _:
            return "a sign-in with the password"


def place(route: Route[Any, Any]) -> str:
    """The path of an example, with its query."""
    values = dict(EXAMPLE_PATH)
    if route.path.startswith("/api/emails/"):
        values["id"] = EMAIL_ID
    path = re.sub(r"{(\w+)}", lambda found: values[found[1]], route.path)
    query = OPERATIONS[operations.name(route)].query
    return f"{path}?{urlencode(query)}" if query else path


def curl(route: Route[Any, Any]) -> str:
    told = OPERATIONS[operations.name(route)]
    parts = ["curl"]
    if route.method != "GET":
        parts += ["-X", route.method]
    if _signs_in(route):
        parts.append('-H "Authorization: Bearer $T"')
    if route.body:
        parts.append(f"--json '{json.dumps(told.body)}'")
    return " ".join([*parts, f"'{ORIGIN}{place(route)}'"])


def python(route: Route[Any, Any]) -> str:
    """With the standard library alone."""
    told = OPERATIONS[operations.name(route)]
    lines = ["import json, urllib.request", ""] if route.body else ["import urllib.request", ""]
    lines += ["request = urllib.request.Request(", f'    "{ORIGIN}{place(route)}",']
    if route.method != "GET":
        lines.append(f'    method="{route.method}",')
    if route.body:
        lines.append(f"    data=json.dumps({told.body!r}).encode(),")
    headers = {"Content-Type": '"application/json"'} if route.body else {}
    if _signs_in(route):
        headers["Authorization"] = 'f"Bearer {token}"'
    if headers:
        inside = ", ".join(f'"{name}": {value}' for name, value in headers.items())
        lines.append(f"    headers={{{inside}}},")
    lines += [")", "with urllib.request.urlopen(request) as answer:"]
    lines.append("    print(answer.status, answer.read().decode())")
    return "\n".join(lines)


def _signs_in(route: Route[Any, Any]) -> bool:
    return route.access not in (Rule.NONE, Rule.OPTIONAL) and not route.local


def takes(route: Route[Any, Any]) -> Iterator[tuple[str, str]]:
    """The members of the body and the parameters of the query: name, and what is said of it."""
    for where, model in (("body", route.body), ("query", route.query)):
        if model is None:
            continue
        for name, field in model.model_fields.items():
            yield name, f"{where}, required" if field.is_required() else where


@cache
def docs() -> bytes:
    """/api/docs"""
    parts = ["<h1>The API of Restante</h1>", _INTRODUCTION]
    for title, routes in grouped().items():
        if sections := [_section(route) for route in routes if route in DESCRIBED]:
            parts += [f"<h2>{escape(title)}</h2>", *sections]
    return _page("The API of Restante", "".join(parts))


_INTRODUCTION: Final = (
    "<p>JSON in, JSON out. Sign in with <code>POST /api/auth/login</code> or make an API token;"
    " the examples have it in <code>T</code> and <code>token</code>."
    ' The same for programs: <a href="/api/openapi.json">/api/openapi.json</a>.</p>'
)


def _section(route: Route[Any, Any]) -> str:
    told = OPERATIONS[operations.name(route)]
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(text)}" for name, text in takes(route)
    )
    statuses = ", ".join(map(str, told.status))
    links = ", ".join(
        f'<a href="/problems/{slug}">{KINDS[slug][0]} {slug}</a>'
        for slug in operations.problems(route)
    )
    return (
        f"<h3><code>{escape(operations.name(route))}</code></h3>"
        f"<p>{escape(operations.summary(route))}</p><p>For {escape(access(route))}.</p>"
        f"<table>{rows}</table><p>Answers {statuses}; {links}</p>"
        f"<pre>{escape(curl(route))}</pre><pre>{escape(python(route))}</pre>"
    )


def problem(slug: str) -> bytes:
    """/problems/<slug>. Raises KeyError."""
    status, title = KINDS[slug]
    page = PAGES[slug]
    return _page(
        title,
        f"<h1>{escape(title)}</h1><p><code>{slug}</code>, status {status}</p>"
        f"<h2>Cause</h2><p>{escape(page.cause)}</p><h2>Cure</h2><p>{escape(page.cure)}</p>"
        '<p><a href="/api/docs">The API</a></p>',
    )


def markdown() -> str:
    """What docs/api.md has between its marks."""
    lines: list[str] = []
    for title, routes in grouped().items():
        lines += ["", f"### {title}", "", "| Method, path | Access | Takes | Answers | Problems |"]
        lines.append("|---|---|---|---|---|")
        for route in routes:
            told = OPERATIONS[operations.name(route)]
            given = ", ".join(f"`{name}`" for name, _ in takes(route))
            statuses = ", ".join(map(str, told.status))
            own = ", ".join(f"`{slug}`" for slug in KINDS if slug in told.problems)
            about = f"`{operations.name(route)}`"
            lines.append(f"| {about} | {access(route)} | {given} | {statuses} | {own} |")
    lines += ["", "### Problems", "", "| Status | Slug | Cause | Cure |", "|---|---|---|---|"]
    for slug, (status, _) in KINDS.items():
        lines.append(f"| {status} | `{slug}` | {PAGES[slug].cause} | {PAGES[slug].cure} |")
    return "\n".join(lines).strip()
