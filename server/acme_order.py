"""Orders certificates of an ACME authority: a short-lived process beside the server.

The library waits in ordinary calls and keeps its modules loaded; a server should do neither.

IN        on standard input: where the authority is, the data folder, the names
OUT       a certificate in `tls/acme` for each name that it was issued for; a line of JSON for each
          name on standard output, with why there is none, and how long the authority wants to be
          left alone
MAY       speak with the authority over HTTPS; write in `tls/acme`
NEVER     replace a certificate by one that cannot be served; make a key anew
FAILS     in that line
RFC       8555 (ACME), section 8.3 (http-01); 9110 section 10.2.3 (Retry-After)
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, crypto_util, errors, messages
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from net.keyfile import write_new
from net.tls import BadCertificate, check_pair, make_key
from server import acme_files

REQUEST_S = 30
NONCES = 5
ORDER_S = 120  # for the authority to come and look, and to issue

messages.Status("expired")  # RFC 8555 section 7.1.6: a status that the library does not know


@dataclass(frozen=True, slots=True)
class Wish:
    """What is read from standard input."""

    directory: str
    data_dir: Path
    names: list[str]


def main() -> int:
    given = json.load(sys.stdin)
    wish = Wish(given["directory"], Path(given["data_dir"]), given["names"])
    make_key(_account_file(wish.data_dir))
    key = JWKEC.load(_account_file(wish.data_dir).read_bytes())
    net = _Network(key, alg=ES256, user_agent="restante", timeout=REQUEST_S)
    authority: client.ClientV2 | None = None
    for name in wish.names:
        why = ""
        net.wait_s = 0
        try:
            authority = authority or _register(net, wish.directory)
            _obtain(authority, wish.data_dir, name)
        except (errors.Error, messages.Error, JoseError, requests.RequestException) as error:
            why = _words(error)
        except (BadCertificate, OSError) as error:
            why = str(error)
        sys.stdout.write(json.dumps({"name": name, "why": why, "wait_s": net.wait_s}) + "\n")
        sys.stdout.flush()
    return 0


class _Network(client.ClientNetwork):
    """Takes another nonce as often as it must (RFC 8555 section 6.5); the library does so once.

    `wait_s` is how long to wait, if the last answer refused something and said so (section 6.6).
    """

    wait_s = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.session.hooks["response"].append(self._note)

    def _note(self, response: requests.Response, **_: Any) -> None:
        said = "" if response.ok else response.headers.get("Retry-After", "")
        self.wait_s = _seconds(said, now=datetime.now(UTC))

    def post(self, *arguments: Any, **named: Any) -> requests.Response:
        for _ in range(NONCES):
            try:
                return super().post(*arguments, **named)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*arguments, **named)


def _seconds(retry_after: str, *, now: datetime) -> int:
    """RFC 9110 section 10.2.3, and 5.6.7: a number or a date; 0 for what is neither."""
    try:
        if retry_after.isdecimal():
            return int(retry_after)
        at = datetime.strptime(retry_after, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return max(0, int((at - now).total_seconds()))


def _account_file(data_dir: Path) -> Path:
    return acme_files.folder(data_dir) / "account.key"


def _register(net: _Network, directory: str) -> client.ClientV2:
    """The account of the key in `account.key`, made if it is new to the authority."""
    authority = client.ClientV2(client.ClientV2.get_directory(directory, net), net)
    # What tls.mode = "acme" means is said in docs/certificates.md.
    new = messages.NewRegistration.from_data(terms_of_service_agreed=True)
    try:
        authority.new_account(new)
    except errors.ConflictError as known:  # section 7.3.1: the same account again
        net.account = messages.RegistrationResource(
            body=messages.Registration(), uri=known.location
        )
    return authority


def _obtain(authority: client.ClientV2, data_dir: Path, name: str) -> None:
    cert_file, key_file = acme_files.pair(data_dir, name)
    make_key(key_file)
    order = authority.new_order(crypto_util.make_csr(key_file.read_bytes(), [name]))
    shown = [  # one: the order is for one name
        _answer(authority, data_dir, authorization)
        for authorization in order.authorizations
        if authorization.body.status != messages.STATUS_VALID
    ]
    try:
        deadline = datetime.now() + timedelta(seconds=ORDER_S)  # noqa: DTZ005 - the library's clock
        order = authority.poll_authorizations(order, deadline)
        for authorization in order.authorizations:
            status = authorization.body.status
            if status != messages.STATUS_VALID:  # without an error: then the library lets it pass
                raise errors.ClientError(f"the authorization of {name} is {status.name}")
        order = authority.finalize_order(order, deadline)
    finally:
        for file in shown:
            file.unlink()
    issued = acme_files.folder(data_dir) / "issued.pem"
    write_new(issued, order.fullchain_pem.encode(), mode=0o644)
    check_pair((issued, key_file), now=datetime.now(UTC))
    issued.replace(cert_file)


def _answer(
    authority: client.ClientV2, data_dir: Path, authorization: messages.AuthorizationResource
) -> Path:
    """Lays out what the authority will look for, and tells it to. The file is for its caller."""
    for offered in authorization.body.challenges:
        if isinstance(offered.chall, challenges.HTTP01):
            response, validation = offered.response_and_validation(authority.net.key)
            file = acme_files.challenge_file(data_dir, offered.chall.encode("token"))
            if file is None:
                raise errors.ClientError("the authority's challenge has no token")
            file.parent.mkdir(mode=0o700, exist_ok=True)
            write_new(file, validation.encode(), mode=0o600)
            authority.answer_challenge(offered, response)
            return file
    raise errors.ClientError("the authority offers no challenge http-01")


def _words(error: Exception) -> str:
    match error:
        case messages.Error():
            return f"{error.code or error.typ}: {error.detail}"
        case errors.ValidationError():
            found = [
                f"{each.error.code}: {each.error.detail}"
                for authorization in error.failed_authzrs
                for each in authorization.body.challenges
                if each.error
            ]
            return "; ".join(found) or "the authority did not accept the challenge"
        case errors.TimeoutError():
            return f"the authority did not finish within {ORDER_S} s"
        case requests.RequestException():
            return f"the authority cannot be reached: {type(error).__name__}"
        case JoseError():
            return f"the authority's answer is not understood: {error}"
        case _:
            return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
