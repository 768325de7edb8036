"""The documentation against the code it speaks of."""

import re
from pathlib import Path

from api import manual
from pop3d.commands import TABLE, markdown

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`((?:\w+/)+\w+\.py)`((?:,? (?:and )?`\w+`)*)")


def test_flow_names_what_exists() -> None:
    """`path.py` followed by names in backquotes: each is defined in that file."""
    found = 0
    for path, names in NAMED.findall((ROOT / "docs/flow.md").read_text()):
        code = (ROOT / path).read_text()
        for name in re.findall(r"`(\w+)`", names):
            definition = rf"^ *(?:(?:async )?def|class) {name}\b|^{name}\b.* = "
            assert re.search(definition, code, re.MULTILINE), f"{path} has no {name}"
            found += 1
    assert found > 20


def test_the_table_of_pop3_commands_is_that_of_the_code() -> None:
    page = (ROOT / "docs/protocols.md").read_text()
    _, _, rest = page.partition("<!-- commands -->\n")
    shown, _, _ = rest.partition("<!-- /commands -->")
    assert shown.strip() == markdown(TABLE).strip()


def test_files_that_the_protocols_name_exist() -> None:
    page = (ROOT / "docs/protocols.md").read_text()
    for path in re.findall(r"\b[a-z0-9]+/\w+\.py\b", page):
        assert (ROOT / path).exists(), path


def test_the_tables_of_the_api_are_those_of_the_code() -> None:
    """To write them: python -c "from api import manual; print(manual.markdown())"."""
    page = (ROOT / "docs/api.md").read_text()
    _, _, rest = page.partition("<!-- operations -->\n")
    shown, _, _ = rest.partition("<!-- /operations -->")
    assert shown.strip() == manual.markdown().strip()
