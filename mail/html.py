"""HTML of a stranger: what may be shown of it, and the text in it.

The sanitiser (nh3) runs last, and nothing parses or joins what it gives. The list says what may
stay: nothing that runs, that is fetched, that looks like a part of the page around it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import NamedTuple

import nh3

from mail.mime import LimitReached

CHARACTERS = 1024 * 1024
DEPTH = 500  # nh3 takes 14 s for 50,000 elements in each other
SNIPPET_CHARACTERS = 160


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elements that hold no others, or that end where the next one begins.
_FLAT = _names(
    "a area base body br col colgroup dd dt embed head hr html img input li link meta optgroup"
    " option p param source tbody td tfoot th thead tr track wbr"
)
_TAG = re.compile("<(/?)([a-zA-Z][a-zA-Z0-9]*)")

_BLOCKS = _names(
    "address article aside blockquote br center dd div dl dt footer h1 h2 h3 h4 h5 h6 header hr li"
    " main ol p pre section table tr ul"
)
_TAGS = _BLOCKS | _names(
    "a abbr b bdi bdo big caption cite code col colgroup del dfn em figcaption figure font i img"
    " ins kbd mark q s samp small span strike strong sub sup tbody td tfoot th thead tt u var"
    " wbr"
)
# Gone with all that stands in them.
_SILENT = _names(
    "head iframe math noembed noframes noscript object script select style svg template textarea"
    " title xml xmp"
)
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"align", "dir", "lang", "title", "valign"},
    "a": {"href"},
    "col": {"span", "width"},
    "colgroup": {"span", "width"},
    "font": {"color", "face", "size"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "table": {"border", "bgcolor", "cellpadding", "cellspacing", "width"},
    "td": {"bgcolor", "colspan", "height", "rowspan", "width"},
    "th": {"bgcolor", "colspan", "height", "rowspan", "width"},
    "tr": {"bgcolor"},
}
_LINK = re.compile(r"(?i)\s*(?:https?|mailto|tel):")
# Pictures that came with the message; what lies elsewhere would tell that it is read.
_PICTURE = re.compile(r"(?i)cid:|data:image/(?:png|jpeg|gif|webp|avif|bmp);base64,")

_SPACE = re.compile(r"\s+")
_ANY_TAG = re.compile("<(/?[a-z0-9]+)>")
_MANY_LINES = re.compile(r"\n{2,}")


_ELSEWHERE = re.compile("(?i)https://")


_PLAIN = nh3.Cleaner(
    tags=set(_BLOCKS | {"td", "th"}),
    clean_content_tags=set(_SILENT),
    attributes={"*": set()},
    link_rel=None,
)


def check(markup: str) -> None:
    """Raises LimitReached for what the sanitiser would take long for."""
    if len(markup) > CHARACTERS:
        raise LimitReached("html-size")
    opened: dict[str, int] = {}
    depth = 0
    for end, name in _TAG.findall(markup):
        tag = name.lower()
        if tag in _FLAT:
            continue
        if not end:
            opened[tag] = opened.get(tag, 0) + 1
            depth += 1
            if depth > DEPTH:
                raise LimitReached("html-depth")
        elif opened.get(tag):
            opened[tag] -= 1
            depth -= 1


class Safe(NamedTuple):
    """HTML that may be shown. `elsewhere`: it has, or had, pictures that lie on other machines."""

    html: str
    elsewhere: bool


def clean(markup: str, pictures: Mapping[str, str] | None = None, *, remote: bool = False) -> Safe:
    """What may be shown of it. Raises LimitReached.

    `pictures`: a `data:` URL for each Content-ID that is to be shown; None: they stay named in it,
    for somebody else to show. `remote`: pictures that lie
    on other machines stay, if they come by https.
    """
    check(markup)
    found = False

    def attribute(_tag: str, name: str, value: str) -> str | None:
        nonlocal found
        if name == "href":
            return value if _LINK.match(value) else None
        if name != "src":
            return value
        if _ELSEWHERE.match(value):
            found = True
            return value if remote else None
        if pictures is not None and value[:4].lower() == "cid:":
            return pictures.get(value[4:])
        return value if _PICTURE.match(value) else None

    cleaner = nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags=set(_SILENT),
        attributes=_ATTRIBUTES,
        attribute_filter=attribute,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        url_relative="deny",
    )
    return Safe(cleaner.clean(markup), found)


def text(markup: str) -> str:
    """What a reader sees, in lines. Raises LimitReached."""
    check(markup)
    # No attribute is left, so that every "<" begins a tag and every ">" ends one.
    marked = _SPACE.sub(" ", _PLAIN.clean(markup))
    lines = _ANY_TAG.sub(lambda tag: " " if tag[1].strip("/") in ("td", "th") else "\n", marked)
    shown = "\n".join(" ".join(line.split()) for line in lines.split("\n"))
    return _MANY_LINES.sub("\n\n", html.unescape(shown)).strip()


def snippet(shown: str) -> str:
    """The beginning of a text, in one line."""
    words: list[str] = []
    length = 0
    for word in shown[: 20 * SNIPPET_CHARACTERS].split():
        sound = "".join(c for c in word if c.isprintable())
        if sound:
            words.append(sound)
            length += len(sound) + 1
        if length > SNIPPET_CHARACTERS:
            break
    return " ".join(words)[:SNIPPET_CHARACTERS]
