"""The forms a configured value may have: the words that ask for it, and the check behind them.

A form reads what TOML holds and returns what the program uses. It never turns one type into
another: the text "5" is not the number 5, and true is not 1.
"""

import ast
import inspect
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mail.address import parse_domain
from mail.errors import BadAddress
from net.limits import Network
from net.listen import Endpoint

SQLITE = "sqlite:///"
SHOWN_MAX = 200

_PUBLIC_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]+)(:[0-9]{1,5})?")
_SERVER_URL = re.compile(r"(postgresql|mariadb)(\+[a-z0-9_]+)?://\S+")
_OBJECT_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?")
_SYSTEM_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Form:
    """`read` returns the value or raises ValueError; a text in it says more than "not valid"."""

    words: str
    read: Callable[[object], object]


def whole(low: int, high: int, unit: str = "") -> Form:
    def read(found: object) -> int:
        if type(found) is not int or not low <= found <= high:  # a bool is an int to isinstance
            raise ValueError
        return found

    return Form(f"a whole number{unit and f' of {unit}'} from {low} to {high}", read)


def one_of(*choices: str) -> Form:
    def read(found: object) -> object:
        if found not in choices:
            raise ValueError
        return found

    *first, last = (json.dumps(choice) for choice in choices)
    return Form(f"{', '.join(first)} or {last}", read)


def _text(words: str, check: Callable[[str], object]) -> Form:
    def read(found: object) -> object:
        if not isinstance(found, str):
            raise ValueError
        return check(found)

    return Form(words, read)


def _list(words: str, check: Callable[[str], Iterable[object]]) -> Form:
    def read(found: object) -> tuple[object, ...]:
        if not isinstance(found, list):
            raise ValueError
        values: list[object] = []
        wrong: list[str] = []
        for element in found:
            try:
                if not isinstance(element, str):
                    raise ValueError
                values.extend(check(element))
            except ValueError:
                wrong.append(shown(element))
        if wrong:
            raise ValueError(f"is wrong at {', '.join(wrong)}")
        return tuple(values)

    return Form(words, read)


def domain_name(text: str) -> str:
    """A host's or zone's name in A-label form. Raises ValueError."""
    try:
        name = parse_domain(text)
    except BadAddress as error:
        raise ValueError from error
    if "_" in name or name.rpartition(".")[2].isdigit():  # an IPv4 address fits the grammar
        raise ValueError
    return name


def _endpoints(text: str) -> tuple[Endpoint, ...]:
    if text.startswith("*:"):
        return Endpoint.parse(f"0.0.0.0{text[1:]}"), Endpoint.parse(f"[::]{text[1:]}")
    return (Endpoint.parse(text),)


def endpoints(*texts: str) -> tuple[Endpoint, ...]:
    return tuple(endpoint for text in texts for endpoint in _endpoints(text))


def _resolver(text: str) -> tuple[Endpoint]:
    endpoint = Endpoint.parse(text)
    if endpoint.port == 0:
        raise ValueError
    return (endpoint,)


def _network(text: str) -> tuple[Network]:
    if not re.fullmatch(r"[^/]+/[0-9]+", text):  # ip_network would take netmasks and bare addresses
        raise ValueError
    return (ipaddress.ip_network(text),)


def _path(text: str) -> Path:
    if text.startswith("~"):
        raise ValueError("begins with ~, which is a folder of that name here")
    if not text or not text.isprintable():
        raise ValueError
    return Path(text)


def _database(text: str) -> str:
    file = text.removeprefix(SQLITE)
    if file == ":memory:":
        raise ValueError("would lose the mail at every stop")
    if file != text and file.isprintable() and "?" not in file and file:
        return text
    return _matching(_SERVER_URL)(text)


def _public_url(text: str) -> str:
    match = _PUBLIC_URL.fullmatch(text)
    if not match or int((match[2] or ":0")[1:]) > 65535:
        raise ValueError
    if match[1].startswith("["):
        ipaddress.IPv6Address(match[1][1:-1])
    elif not re.fullmatch(r"[0-9.]+", match[1]):
        domain_name(match[1])
    else:
        ipaddress.IPv4Address(match[1])
    return text


def _web_server(text: str) -> str:
    if not text.startswith("http://"):
        raise ValueError
    return str(_public_url(text))


def _socket(text: str) -> Endpoint | Path:
    return _path(text) if text.startswith("/") else _resolver(text)[0]


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return check


def _bodies(text: str) -> str:
    return text if text == "sql" else _matching(_OBJECT_STORE)(text)


def _or_empty(check: Callable[[str], object], empty: object = "") -> Callable[[str], object]:
    return lambda text: check(text) if text else empty


HOSTNAME = _text('a domain name, as "mail.example.org", or ""', _or_empty(domain_name))
SYSTEM_ACCOUNT = _text(
    'the name of an account of this machine, or ""', _or_empty(_matching(_SYSTEM_ACCOUNT))
)
PATH = _text("a path", _path)
PATH_OR_NONE = _text('a path, or ""', _or_empty(_path, None))
ACME = _text("an https URL", _matching(re.compile(r"https://[!-~]+")))
DATABASE = _text(
    '"sqlite:///" and a file, or a URL as "postgresql+psycopg://..." or "mariadb+pymysql://..."',
    _database,
)
BODIES = _text('"sql", or as "s3://bucket/prefix"', _bodies)
PUBLIC_URL = _text(
    'http or https and a host without a path, as "https://mail.example.org", or ""',
    _or_empty(_public_url),
)
WEB_SERVER = _text(
    'http and a host without a path, as "http://127.0.0.1:11333", or ""', _or_empty(_web_server)
)
SOCKET = _text(
    'an absolute path, IP address and port, as "127.0.0.1:3310", or ""', _or_empty(_socket, None)
)
ENDPOINTS = _list(
    'a list of IP address (* is every one) and port, as ["192.0.2.1:25", "[2001:db8::1]:25"]',
    _endpoints,
)
RESOLVERS = _list(
    'a list of IP address and port, as ["192.0.2.1:53", "[2001:db8::1]:53"]', _resolver
)
NETWORKS = _list(
    'a list of networks with zero host part, as ["192.0.2.0/24", "2001:db8::/32"]', _network
)
ZONES = _list('a list of domain names, as ["bl.example.net"]', lambda text: (domain_name(text),))


def mask(text: str) -> str:
    """`text` without what may be secret in it: a URL's password and query, a pasted key."""
    if "\n" in text or "-----" in text:
        return "***"
    masked = re.sub(r"^([^:@]*(?:://[^:]*)?):(?!//).*@", r"\1:***@", text)
    if masked == text:  # a password that no host follows; digits are a port
        masked = re.sub(r"^([^:@]*://[^:/@\[]*):(?![0-9]+(?:[/?]|$))[^/]*", r"\1:***", text)
    return re.sub(r"\?.*", "?***", masked)


def masked(value: object) -> object:
    """A value of TOML's types with every text in it masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [masked(element) for element in value]
    if isinstance(value, dict):
        return {key: masked(element) for key, element in value.items()}
    return value


def plain(value: object) -> object:
    """A value as TOML holds it: what its form has read, back again."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return [plain(element) for element in value]
    return value if isinstance(value, int) else str(value)


def as_toml(value: object) -> str:
    """What a form has read, as the file writes it. For these types JSON is TOML."""
    return json.dumps(plain(value))


def shown(value: object) -> str:
    """A value of TOML's types as the file writes it, fit for a complaint: masked, ASCII, cut."""
    try:
        text = json.dumps(masked(value), default=str)
    except RecursionError:  # lists in lists in lists
        return "..."
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def meanings(section: type) -> Mapping[str, str]:
    """The text under each key of a section.

    Read from the source when it is told: pydantic would do it at every start of the program.
    """
    [found] = ast.parse(inspect.getsource(section)).body
    assert isinstance(found, ast.ClassDef)
    return {
        ast.unparse(key.target): ast.literal_eval(text.value)
        for key, text in pairwise(found.body)
        if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
