"""Small plots of the last day, drawn as SVG: for the eye, beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from api import shown
from api.call import Sample

WIDTH, HEIGHT = 288.0, 64.0
HOURS = 24


@dataclass(frozen=True, slots=True)
class Plot:
    """`line`: points of a polyline; `bars`: x, y and height of each; `latest` and `most` in words.
    A plot has one of both.
    """

    title: str
    latest: str
    most: str
    line: str = ""
    area: str = ""
    bars: Sequence[tuple[float, float, float]] = ()


def day(history: Sequence[Sample]) -> list[Plot]:
    """Mail per hour, the size of the store, connections."""
    if not history:
        return []
    hours = _per_hour(history)
    top = max(*hours, 1)
    bars = [
        (round(n * WIDTH / HOURS + 1, 1), round(HEIGHT * (1 - kept / top), 1),
         round(HEIGHT * kept / top, 1))
        for n, kept in enumerate(hours)
    ]  # fmt: skip
    stored = [each.stored_octets for each in history]
    connected = [each.connections for each in history]
    return [
        Plot("Mail per hour", f"{hours[-1]} this hour", f"most {max(hours)}", bars=bars),
        _curve("Store", history, stored, shown.size(stored[-1]), f"most {shown.size(max(stored))}"),
        _curve(
            "Connections", history, connected, f"{connected[-1]} open", f"most {max(connected)}"
        ),
    ]


def _per_hour(history: Sequence[Sample]) -> list[int]:
    this = _hour(history[-1].at)
    hours = [0] * HOURS
    for each in history:
        ago = (this - _hour(each.at)) // timedelta(hours=1)
        if ago < HOURS:
            hours[HOURS - 1 - ago] += each.kept
    return hours


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _curve(
    title: str, history: Sequence[Sample], values: Sequence[int], latest: str, most: str
) -> Plot:
    last = history[-1].at
    span = timedelta(hours=HOURS)
    top = max(*values, 1) * 1.05
    points = [
        (
            round(max(WIDTH * (1 - (last - each.at) / span), 0), 1),
            round(HEIGHT * (1 - value / top), 1),
        )
        for each, value in zip(history, values, strict=True)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    area = f"{points[0][0]},{HEIGHT} {line} {points[-1][0]},{HEIGHT}"
    return Plot(title, latest, most, line=line, area=area)
