"""Access tokens: only what we signed, for us, in time and complete."""

import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from auth.scopes import Scope
from auth.tokens import AUDIENCE, KEY_OCTETS, LIFE, OLD, Claims, Tokens, key_id, load_key, load_keys
from mail.errors import NotPermitted
from mail.ident import row_id_text
from store.records import Account, AccountState, LoginSession, Role, SessionKind

KEY = bytes(range(32))
ISSUER = "mail.example.org"
NOW = datetime.now(UTC)
ANN = Account(7, "ann", Role.USER, AccountState.OPEN, 8, NOW)
SESSION = LoginSession(
    2**52 - 1,
    ANN,
    SessionKind.LOGIN,
    "mail:read account",
    "",
    "192.0.2.1",
    created_at=NOW,
    seen_at=NOW,
    expires_at=NOW,
)


CLAIMS = Claims(SESSION.id, ANN.id, frozenset({Scope.MAIL_READ, Scope.ACCOUNT}))


def tokens(*keys: bytes, issuer: str = ISSUER, at: datetime = NOW) -> Tokens:
    return Tokens(keys or (KEY,), issuer=issuer, clock=lambda: at)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def claims(**changes: object) -> dict[str, Any]:
    """Good claims but for the changes; None takes one away."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": row_id_text(ANN.id),
        "sid": row_id_text(SESSION.id),
        "iat": NOW,
        "exp": NOW + timedelta(minutes=1),
        "jti": "x",
        "scope": "mail:read account",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(key: bytes = KEY, /, algorithm: str = "HS256", **changes: object) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": key_id(KEY)})


def test_a_token_names_its_session() -> None:
    token = tokens().issue(SESSION)
    assert tokens().read(token) == CLAIMS
    assert tokens().read(signed()) == CLAIMS  # so the refusals below have one reason


def test_no_two_tokens_are_the_same() -> None:
    assert tokens().issue(SESSION) != tokens().issue(SESSION)


def test_a_token_holds_no_name_and_no_secret() -> None:
    header, payload, _ = tokens().issue(SESSION).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {
        "alg": "HS256",
        "typ": "JWT",
        "kid": key_id(KEY),
    }
    assert b"ann" not in base64.urlsafe_b64decode(payload + "==")


@pytest.mark.parametrize(
    ("issued", "valid"),
    [
        (timedelta(0), True),
        (-LIFE + timedelta(minutes=1), True),
        (-LIFE - timedelta(minutes=1), False),
        (timedelta(seconds=10), True),  # a clock that was set back a little
        (timedelta(minutes=2), False),
    ],
)
def test_times(issued: timedelta, *, valid: bool) -> None:
    token = tokens(at=NOW + issued).issue(SESSION)
    if valid:
        assert tokens().read(token) == CLAIMS
    else:
        with pytest.raises(NotPermitted):
            tokens().read(token)


GOOD = tokens().issue(SESSION)
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")

REFUSED = {
    "empty": "",
    "one part": "x",
    "dots": "..",
    "four parts": GOOD + ".x",
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "cut": GOOD[:-1],
    "longer": GOOD + "AAAA",
    "other signature": f"{HEADER}.{PAYLOAD}.{'A' * 43}",
    "other payload": f"{HEADER}.{part(claims(iat=0, exp=2**40))}.{SIGNATURE}",
    "space": " " + GOOD,
    "line end": GOOD + "\n",
    "not ascii": "é" + GOOD,
    "surrogate": "\udc80" + GOOD,
    "nul": "\0.\0.\0",
    "garbage": "Zm9v.YmFy.YmF6",
    "header a list": f"{part([])}.{PAYLOAD}.{SIGNATURE}",
    "header a number": f"{part(1)}.{PAYLOAD}.{SIGNATURE}",
    "header null": f"{part(None)}.{PAYLOAD}.{SIGNATURE}",
    "no algorithm": f"{part({'typ': 'JWT'})}.{PAYLOAD}.{SIGNATURE}",
    "algorithm a list": f"{part({'alg': ['HS256']})}.{PAYLOAD}.{SIGNATURE}",
    "algorithm none": jwt.encode(claims(), "", algorithm="none"),
    "algorithm None": f"{part({'alg': 'None'})}.{PAYLOAD}.",
    "algorithm none with signature": f"{part({'alg': 'none'})}.{PAYLOAD}.{SIGNATURE}",
    "algorithm RS256": f"{part({'alg': 'RS256'})}.{PAYLOAD}.{SIGNATURE}",
    "algorithm HS512": signed(KEY * 2, "HS512"),
    "critical header": jwt.encode(claims(), KEY, headers={"kid": key_id(KEY), "crit": ["x"]}),
    "kid a list": f"{part({'alg': 'HS256', 'kid': []})}.{PAYLOAD}.{SIGNATURE}",
    "deep header": base64.urlsafe_b64encode(b'{"a":' * 20_000).decode() + ".e30.x",
    "deep list": base64.urlsafe_b64encode(b"[" * 50_000).decode().rstrip("=") + ".e30.x",
    "huge number": base64.urlsafe_b64encode(b"9" * 10_000).decode().rstrip("=") + ".e30.x",
    "long": "x" * 100_000,
    "other key": signed(bytes(32)),
    "other issuer": signed(iss="evil.example.org"),
    "other audience": signed(aud="other-api"),
    "expired": signed(exp=NOW - timedelta(minutes=1)),
    "not yet": signed(nbf=NOW + timedelta(minutes=2)),
    "expiry no number": signed(exp="soon"),
    "session no id": signed(sid="1"),
    "session a number": signed(sid=1),
    "session a list": signed(sid=[row_id_text(1)]),
    "no kid": jwt.encode(claims(), KEY),
    "kid of another key": jwt.encode(claims(), KEY, headers={"kid": key_id(bytes(32))}),
    "kid a path": jwt.encode(claims(), KEY, headers={"kid": "../../dev/null"}),
    "key of the header's choice": jwt.encode(
        claims(), bytes(32), headers={"kid": key_id(KEY), "jwk": {"kty": "oct", "k": "AA"}}
    ),
    "scope unknown": signed(scope="mail:read everything"),
    "scope a list": signed(scope=["mail:read"]),
    "subject a number": signed(sub=7),
    "a claim more": signed(admin=True),
    **{
        f"without {name}": jwt.encode(claims(**{name: None}), KEY, headers={"kid": key_id(KEY)})
        for name in claims()
    },
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_refused(token: str) -> None:
    with pytest.raises(NotPermitted) as raised:
        tokens().read(token)
    assert raised.value.public == "the access token is not valid"


def test_any_changed_character_of_the_payload_is_noticed() -> None:
    for at in range(len(PAYLOAD)):
        changed = PAYLOAD[:at] + ("A" if PAYLOAD[at] != "A" else "B") + PAYLOAD[at + 1 :]
        with pytest.raises(NotPermitted):
            tokens().read(f"{HEADER}.{changed}.{SIGNATURE}")


def test_a_key_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    key = load_key(path)
    assert len(key) == KEY_OCTETS
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert load_key(path) == key
    assert load_key(tmp_path / "other.key") != key
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.key", "token.key"]


def test_what_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "token.key.new").write_bytes(b"half")
    assert len(load_key(tmp_path / "token.key")) == KEY_OCTETS
    assert [file.name for file in tmp_path.iterdir()] == ["token.key"]


def test_while_keys_are_changed_both_are_good(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    before = Tokens(load_keys(path), issuer=ISSUER, clock=lambda: NOW)
    token = before.issue(SESSION)
    path.rename(path.with_name(path.name + OLD))
    keys = load_keys(path)
    during = Tokens(keys, issuer=ISSUER, clock=lambda: NOW)
    assert len(set(keys)) == 2
    assert during.read(token) == CLAIMS
    assert during.read(during.issue(SESSION)) == CLAIMS
    with pytest.raises(NotPermitted):  # new ones are signed with the new key
        before.read(during.issue(SESSION))
    path.with_name(path.name + OLD).unlink()
    with pytest.raises(NotPermitted):
        Tokens(load_keys(path), issuer=ISSUER, clock=lambda: NOW).read(token)


@pytest.mark.parametrize("octets", [0, 1, 31, 33, 64])
def test_a_key_of_another_size_is_no_key(tmp_path: Path, octets: int) -> None:
    path = tmp_path / "token.key"
    path.write_bytes(bytes(octets))
    with pytest.raises(ValueError, match=str(path)):
        load_key(path)
