"""What an administrator may do with the counts of requests: acts of a server that runs."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from mail.errors import BadName
from net.limits import Peer

if TYPE_CHECKING:
    from server.admin import Act, Answer
    from server.counters import Counters

KINDS = ("auth", "api", "general")  # those that are counted per client


async def limits_show(counters: Counters, *, ip: str) -> Answer:
    """What that client has left."""
    key, items = _client(ip).key, []
    for kind in KINDS:
        if found := await counters.rates.look(kind, key):
            row = {"limit": found.limit, "left": found.left, "reset_s": found.reset_s}
            items.append({"class": kind, **row})
    return {"items": items}


async def limits_clear(counters: Counters, *, ip: str) -> Answer:
    """Forgets what that client has taken; returns what was left until now."""
    before = await limits_show(counters, ip=ip)
    await counters.rates.clear(_client(ip).key)
    counters.sign_ins.forgive(_client(ip))
    return before


def _client(ip: str) -> Peer:
    try:
        return Peer(str(ip_address(ip)), 0)
    except ValueError as error:
        raise BadName(f"{ip} is no IP address") from error


ACTS: Mapping[str, Act] = {"limits show": limits_show, "limits clear": limits_clear}
