"""The commands for the certificate."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from server.terminal import Terminal, command
from server.trouble import Trouble

if TYPE_CHECKING:
    from net.tls import Certificate

RENEW_S = 1000  # longer than the server waits for the authority

CERT = typer.Typer(
    help="The certificate.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@command(CERT, "show", "restante cert show", "restante cert show --json")
def cert_show(terminal: Terminal) -> None:
    """Its names, how long it lasts, and the fingerprint that mail apps show."""
    from server import parts

    config = terminal.config()
    cert_file, _ = parts.certificate_pair(config)
    if not cert_file.exists():
        raise Trouble(
            "There is no certificate yet.",
            f"{cert_file} does not exist.",
            "restante serve makes one, and restante cert new too.",
            exit_code=1,
        )
    _show(terminal, parts.load_certificate(config))


@command(CERT, "new", "restante cert new", "restante cert new --json")
def cert_new(terminal: Terminal) -> None:
    """A new one, made here; mail apps must accept it anew. A running server takes it at once."""
    from net.tls import make_self_signed
    from server import control, folder, parts

    config = terminal.config()
    if config.tls.mode != "self-signed":
        raise Trouble(
            "The certificate is not one that is made here.",
            f'tls.mode is "{config.tls.mode}".',
            "Put the new pair in the place of the old one: a running server takes it.",
            exit_code=4,
        )
    folder.prepare(config.server.data_dir)
    pair = parts.certificate_pair(config)
    cert_file, key_file = (path.with_name(f"{path.name}.new") for path in pair)
    for left in (cert_file, key_file):  # of a run that was cut off
        left.unlink(missing_ok=True)
    make_self_signed(cert_file, key_file, hostname=config.server.hostname, now=parts.utc_now())
    cert_file.replace(pair[0])
    key_file.replace(pair[1])
    with suppress(control.NotRunning):
        control.ask(config.server.data_dir, "reload", {})
    _show(terminal, parts.load_certificate(config))


@command(CERT, "renew", "restante cert renew", "restante cert renew --json")
def cert_renew(terminal: Terminal) -> None:
    """Asks the ACME authority for what is due, now; the running server does that by itself too."""
    from server import control

    config = terminal.config()
    if config.tls.mode != "acme":
        raise Trouble(
            "The certificate is not one of an ACME authority.",
            f'tls.mode is "{config.tls.mode}".',
            'Set tls.mode = "acme"; docs/certificates.md says what that needs.',
            exit_code=4,
        )
    try:
        answer = control.ask(config.server.data_dir, "cert renew", {}, patience_s=RENEW_S)
    except control.NotRunning as error:
        raise Trouble(
            "The server is not running.",
            "It answers the authority's challenge, so it must run.",
            "Start it: restante serve",
            exit_code=3,
        ) from error
    terminal.show(
        answer,
        *answer["findings"],
        f"ends in  {answer['certificate_days']} days",
        f"SHA-256  {answer['certificate_sha256']}",
    )
    if answer["findings"]:
        raise typer.Exit(1)


def _show(terminal: Terminal, certificate: Certificate) -> None:
    terminal.show(
        {
            "names": certificate.names,
            "days_left": certificate.days_left,
            "sha256": certificate.fingerprint,
        },
        f"names    {', '.join(certificate.names)}",
        f"ends in  {certificate.days_left} days",
        f"SHA-256  {certificate.fingerprint}",
    )
