"""What is counted over all connections of a server, made in one place from the configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from net.limits import Clock, Connections, Counted, FailureCounts, Failures, Limiter
from net.metrics import Counts, Metrics
from net.rates import RateCounts, Rates
from pop3d.server import UNAUTHENTICATED, UNAUTHENTICATED_PER_CLIENT
from server.trouble import Trouble, url_in

if TYPE_CHECKING:
    from net.shared_rates import SharedRates
    from server.config import Config

SMTP_PER_CLIENT_MINUTE = 60
REFUSER_TOTAL = 100
REFUSER_PER_CLIENT = 5
HTTP_TOTAL = 500
HTTP_PER_CLIENT = 30


@dataclass(frozen=True, slots=True)
class Counters:
    """By name. With workers the parent has those that count, and each worker asks it."""

    smtp: Counted
    pop3: Counted
    pop3_strangers: Limiter
    refuser: Limiter
    http: Counted
    sign_ins: FailureCounts
    rates: RateCounts
    metrics: Counts


def request_limits(config: Config) -> dict[str, int]:
    """Requests over HTTP in 15 minutes, by class."""
    limits = config.limits
    return {name: getattr(limits, name) for name in ("auth", "api", "general", "page")}


def counters(config: Config, *, clock: Clock = time.monotonic) -> Counters:
    """Those that count."""
    limits = config.limits
    return Counters(
        smtp=Connections(
            total=limits.smtp_total,
            per_client=limits.smtp_per_ip,
            per_minute=SMTP_PER_CLIENT_MINUTE,
            exempt=limits.exempt,
            clock=clock,
        ),
        pop3=Connections(
            total=limits.pop3_total,
            per_minute=limits.pop3_per_ip_minute,
            exempt=limits.exempt,
            clock=clock,
        ),
        pop3_strangers=Connections(
            total=UNAUTHENTICATED,
            per_client=UNAUTHENTICATED_PER_CLIENT,
            exempt=limits.exempt,
            clock=clock,
        ),
        refuser=Connections(
            total=REFUSER_TOTAL,
            per_client=REFUSER_PER_CLIENT,
            per_minute=limits.pop3_per_ip_minute,
            exempt=limits.exempt,
            clock=clock,
        ),
        http=Connections(
            total=HTTP_TOTAL,
            per_client=HTTP_PER_CLIENT,
            # A proxy brings the connections of many.
            exempt=(*limits.exempt, *config.api.trusted_proxies),
            clock=clock,
        ),
        sign_ins=Failures(exempt=limits.exempt, clock=clock),
        rates=Rates(request_limits(config), clock=clock),
        metrics=Metrics(),
    )


def shared_rates(config: Config, local: RateCounts) -> SharedRates | None:
    """Counts that several machines have in common; None: this one counts alone. Raises Trouble."""
    file = config.limits.redis_url_file
    if file is None:
        return None
    from net.shared_rates import BadUrl, SharedRates  # the one part that needs Redis' package

    try:
        return SharedRates(url_in(file, "limits.redis_url_file"), request_limits(config), local)
    except BadUrl as error:
        raise Trouble(
            f"The Redis of {file} cannot be used.",
            f"{error}.",
            "Correct that, or set limits.redis_url_file to an empty text.",
            exit_code=3,
        ) from error
