"""The document of the frame that a message is shown in: a place of its own, where nothing runs."""

from __future__ import annotations

from html import escape
from typing import Final

from api.call import Call, Reply
from api.emails import own
from api.models_page import BodyQuery
from mail.digest import Wish

STYLE: Final = (
    ":root{color-scheme:light dark;overflow-wrap:anywhere}"
    "body{font:15px/1.6 system-ui,sans-serif;margin:20px 24px 32px;color:#1c1e21;background:#fff}"
    "img{max-width:100%;height:auto}table{max-width:100%}pre{white-space:pre-wrap;font:inherit}"
    "blockquote{margin:12px 0;padding-left:12px;border-left:3px solid #8885;color:#667}"
    "a{color:#2b50c8}"
    "@media (max-width:600px){body{margin:16px}}"
    "@media (prefers-color-scheme:dark){body{color:#e4e6ea;background:#1b1e24}a{color:#9db4ff}"
    "blockquote{color:#9aa1ad}[bgcolor]{color:#1c1e21}font{color:inherit!important}"
    "[bgcolor] font{color:unset!important}[bgcolor] a{color:#2b50c8}}"
)
_HEAD: Final = (
    '<!doctype html><html lang="und"><meta charset="utf-8"><title>Message</title>'
    f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><body>'
)
POLICY: Final = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src {pictures};"
    " style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


async def body(call: Call[BodyQuery, None]) -> Reply:
    """GET /api/emails/{id}/body: the safe HTML or the text, as a document that can do nothing."""
    query, store = call.query, call.parts.store
    message = (await own(call)).message
    opened = await store.messages.open(message.maildrop_id, message.uid)
    markup, remote = query.part == "html", query.remote == "1"
    wish = Wish(text=True, html=markup, pictures=markup, remote=markup and remote)
    found = await store.content.digest(opened, wish)
    safe = found.html
    if safe is None:
        safe = f"<pre>{escape(found.text or '')}</pre>"
    policy = POLICY.format(pictures="data: https:" if remote else "data:")
    return Reply(
        # Behind our own head comes the sanitiser's output as it is.
        (_HEAD + safe).encode(),
        content_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": policy,
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )
