"""Nothing in HTML mail runs, is fetched or reaches beyond its frame; what is left is readable."""

# ruff: noqa: E501 - one line a message

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import html
from mail.mime import LimitReached


@pytest.mark.parametrize(
    ("markup", "safe"),
    [
        ("<p>Hello, <b>you</b></p>", "<p>Hello, <b>you</b></p>"),
        ("<script>alert(1)</script>x", "x"),
        ("<style>p{}</style>x<title>t</title>", "x"),
        ("<p onclick=a() style='color:red' class=c id=i>x</p>", "<p>x</p>"),
        ("<svg><script>a()</script><p>x</p></svg>y", "<p>x</p>y"),
        ("<math><mtext><img src=x onerror=a()></mtext></math>y", "y"),
        ("<iframe src=//x.example></iframe>y", "y"),
        ("<form action=//x.example><input name=q>y</form>", "y"),
        ("<base href=//x.example>y", "y"),
        ("<meta http-equiv=refresh content=0>y", "y"),
        ("<link rel=stylesheet href=//x.example>y", "y"),
        ("<!-- c --><!--[if mso]>z<![endif]-->y", "y"),
        ("<table background=//x.example/a><tr><td>x", "<table><tbody><tr><td>x</td></tr></tbody></table>"),
        ("<img src=https://x.example/a srcset=//y.example alt=A>", '<img alt="A">'),
        ("<img src=//x.example/a>", "<img>"),
        ("<img src=data:image/svg+xml;base64,AAAA>", "<img>"),
        ("<img src=data:text/html,x>", "<img>"),
        ("<img src=data:image/png;base64,AAAA>", '<img src="data:image/png;base64,AAAA">'),
        ("<img src=cid:a@b>", '<img src="cid:a@b">'),
        ("<video poster=//x.example src=//x.example></video>y", "y"),
        ("<noscript><p title='</noscript><img src=x onerror=a()>'></noscript>y", "<img>'&gt;y"),
    ],
)  # fmt: skip
def test_only_what_is_harmless_stays(markup: str, safe: str) -> None:
    assert html.clean(markup).html == safe


@pytest.mark.parametrize(
    "target",
    [
        *(
            "javascript:a()",
            " jav&#x09;ascript:a()",
            "JAVASCRIPT:a()",
            "vbscript:a()",
            "data:text/html,x",
        ),
        *("cid:a@b", "/relative", "//x.example/", "#there", "file:///etc/passwd", "blob:x", ""),
    ],
)
def test_a_link_leads_out_or_nowhere(target: str) -> None:
    assert "href" not in html.clean(f'<a href="{target}">x</a>').html


@pytest.mark.parametrize(
    "target", ["https://x.example/", "HTTP://x.example/", "mailto:a@x.org", "tel:+1"]
)
def test_a_link_tells_nobody_where_it_was(target: str) -> None:
    found = html.clean(f'<a href="{target}" rel=opener target=_top>x</a>').html
    assert f'href="{target}"' in found
    assert 'rel="noopener noreferrer"' in found
    assert 'target="_blank"' in found


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("one<br>two<br><br><br>three", "one\ntwo\n\nthree"),
        ("<b>in</b>side", "inside"),
        ("a\n  b\t c", "a b c"),
        ("<table><tr><td> a </td>\n<td>b</td></tr></table>", "a b"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\n\nc"),
        ("&lt;p&gt; &amp;amp; &eacute;", "<p> &amp; é"),
        ("<style>p{}</style><script>x</script>y", "y"),
        ('<a href="https://x.example">there</a>', "there"),
        ('<p title="<p>">x</p>', "x"),
    ],
)
def test_the_text_of_html_is_what_a_reader_sees(markup: str, text: str) -> None:
    assert html.text(markup) == text


@pytest.mark.parametrize(
    ("text", "snippet"),
    [
        ("", ""),
        ("one\n\n two", "one two"),
        ("x" * 200, "x" * 160),
        ("ab " * 100, ("ab " * 54)[:160].rstrip()),
        ("a\u200b\u200c\u034f \u200b b\x00\u202e", "a\u034f b"),
    ],
)
def test_a_snippet_is_one_line(text: str, snippet: str) -> None:
    assert html.snippet(text).rstrip() == snippet


@pytest.mark.parametrize(
    ("markup", "limit"),
    [
        ("x" * (1024 * 1024 + 1), "html-size"),
        ("<div>" * 501, "html-depth"),
        ("<div></b>" * 501, "html-depth"),
        ("<DIV><b></div>" * 501, "html-depth"),
    ],
)
def test_what_takes_long_is_not_begun(markup: str, limit: str) -> None:
    for work in (html.clean, html.text):
        with pytest.raises(LimitReached, match=limit):
            work(markup)


@pytest.mark.parametrize(
    "markup",
    [
        "<div>" * 499 + "</div>" * 499,
        "<div></div>" * 5000,
        "<p>x" * 5000,
        "<li>x<br>" * 5000,
        "</div>" * 5000,
    ],
)
def test_long_mail_is_not_deep(markup: str) -> None:
    html.clean(markup)


PIECES = st.sampled_from(
    [
        *(
            "<svg>",
            "</svg>",
            "<math>",
            "<mtext>",
            "<style>",
            "</style>",
            "<noscript>",
            "<!--",
            "-->",
        ),
        *("<img src=x onerror=a()>", "<a href='javascript:a()'>", "<table>", "<td>", "<p>", "</p>"),
        *("<template>", "<select>", "<option>", "<title>", "<textarea>", "</textarea>", "<xmp>"),
        *("&lt;script&gt;", "<script>", "</script>", '"', "'", ">", "<", "<![CDATA[", "]]>", "\0"),
        *("<mglyph>", "<annotation-xml encoding=text/html>", "<foreignObject>", "<form>", "<desc>"),
    ]
)
ALLOWED = re.compile(r'<(/?)([a-z0-9]+)((?: [a-z]+="[^"<>]*")*)>', re.ASCII)


@given(st.lists(PIECES, max_size=25).map("".join))
def test_whatever_is_put_together_stays_harmless(markup: str) -> None:
    """Every "<" that is left begins a tag of the list with attributes of the list."""
    found = html.clean(markup).html
    rest = ALLOWED.sub("", found)
    assert "<" not in rest
    for _, tag, attributes in ALLOWED.findall(found):
        assert tag in html._TAGS  # noqa: SLF001 - the list itself
        for name in re.findall(r' ([a-z]+)="', attributes):
            assert not name.startswith("on")
        assert "javascript" not in attributes
    assert html.clean(found).html == found  # parsed once more, it is the same


def test_pictures_that_came_along_are_shown_and_no_others() -> None:
    markup = "<img src=cid:a@b><img src=CID:a@b><img src=cid:other><img src=cid:>"
    url = "data:image/png;base64,AAAA"
    shown = f'<img src="{url}">'
    assert html.clean(markup, {"a@b": url}).html == f"{shown}{shown}<img><img>"
    assert html.clean(markup, {}).html == "<img>" * 4


@pytest.mark.parametrize("remote", [False, True])
def test_pictures_elsewhere_stay_when_they_are_asked_for(remote: bool) -> None:  # noqa: FBT001
    markup = (
        "<img src=https://x.example/a><img src=http://x.example/b><img src=//x.example/c>"
        "<table background=https://x.example/d><tr><td>t</td></tr></table>"
    )
    found = html.clean(markup, remote=remote)
    assert found.elsewhere
    assert found.html.count("x.example") == (1 if remote else 0)
    assert not html.clean("<a href=https://x.example/>x</a><img src=cid:a>").elsewhere
