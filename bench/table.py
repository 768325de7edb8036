"""What the rounds of a row have shown: medians, ratios, and how they compare with the last run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
WORSE = 0.9  # of the ratio that was accepted


@dataclass(frozen=True, slots=True)
class Figure:
    """`target`: how many times better than the first peer. More is better of what is per second."""

    name: str
    unit: str
    target: float | None = None

    @property
    def more(self) -> bool:
        return self.unit.endswith("/s")


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one server: a value for each figure of the row.

    Milliseconds of the processor for each operation: of the server's processes, with what they do
    after the reply; and of the generator, which had the same cores.
    """

    values: Sequence[float]
    server_ms: float = 0
    generator_ms: float = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the table."""

    figure: Figure
    peer: str
    ours: float
    theirs: float
    ratio: float  # above 1: ours is better
    server_ms: tuple[float, float]
    generator_ms: tuple[float, float]
    judged: bool  # against the target: this peer is the one that it names

    @property
    def key(self) -> str:
        return f"{self.figure.name} / {self.peer}"

    @property
    def met(self) -> bool | None:
        target = self.figure.target if self.judged else None
        return None if target is None else self.ratio >= target


def outcomes(
    figures: Sequence[Figure], samples: Mapping[str, Sequence[Sample]], *, judged: bool
) -> list[Outcome]:
    """Of the first server against each of the others, whose rounds were the same ones.

    `judged`: the targets hold; it is the second server that they name.
    """
    first, *_ = samples
    ours = samples[first]
    others = {name: found for name, found in samples.items() if name != first}
    found: list[Outcome] = []
    target, *_ = others
    for place, figure in enumerate(figures):
        for peer, theirs in others.items():
            pairs = [
                (mine.values[place], other.values[place])
                for mine, other in zip(ours, theirs, strict=True)
            ]
            ratios = [mine / other if figure.more else other / mine for mine, other in pairs]
            found.append(
                Outcome(
                    figure=figure,
                    peer=peer,
                    ours=statistics.median(mine for mine, _ in pairs),
                    theirs=statistics.median(other for _, other in pairs),
                    ratio=statistics.median(ratios),
                    server_ms=_medians(ours, theirs, "server_ms"),
                    generator_ms=_medians(ours, theirs, "generator_ms"),
                    judged=judged and peer == target,
                )
            )
    return found


def _medians(ours: Sequence[Sample], theirs: Sequence[Sample], name: str) -> tuple[float, float]:
    mine, other = (
        statistics.median(getattr(each, name) for each in side) for side in (ours, theirs)
    )
    return mine, other


def head() -> str:
    return (
        f"{'':47} {'ours':>11} {'peer':>11} {'':7} {'ratio':>7} {'aim':>5} {'':4}"
        f" {'server CPU ms':>16} {'generator':>13}  peer"
    )


def line(outcome: Outcome, accepted: dict[str, float]) -> str:
    figure = outcome.figure
    aim = f"{figure.target:g}" if outcome.met is not None else ""
    verdict = {None: "", True: "met", False: "NOT"}[outcome.met]
    server = "/".join(_short(each) for each in outcome.server_ms)
    generator = "/".join(_short(each) for each in outcome.generator_ms)
    before = accepted.get(outcome.key)
    worse = before is not None and outcome.ratio < WORSE * before
    return (
        f"{figure.name:47} {_short(outcome.ours):>11} {_short(outcome.theirs):>11}"
        f" {figure.unit:7} {_short(outcome.ratio):>7} {aim:>5} {verdict:4}"
        f" {server:>16} {generator:>13}  {outcome.peer}"
        + (f"   WORSE: it was {_short(before or 0)}" if worse else "")
    )


def _short(number: float) -> str:
    if number >= 100:
        return f"{number:,.0f}"
    return (
        f"{number:.1f}" if number >= 10 else f"{number:.2f}" if number >= 0.1 else f"{number:.3f}"
    )


def accepted(store: str, baseline: Path = BASELINE) -> dict[str, float]:
    """The ratios of the last run that was accepted."""
    if not baseline.exists():
        return {}
    ratios: dict[str, dict[str, float]] = json.loads(baseline.read_text())["ratios"]
    return ratios.get(store, {})


def accept(
    store: str,
    found: Sequence[Outcome],
    machine: dict[str, str],
    baseline: Path = BASELINE,
) -> None:
    """From now on these are the ratios to compare with; rows that did not run keep theirs."""
    kept = json.loads(baseline.read_text()) if baseline.exists() else {"ratios": {}}
    ratios = kept["ratios"].setdefault(store, {})
    ratios |= {outcome.key: round(outcome.ratio, 2) for outcome in found}
    text = json.dumps({"machine": machine, "ratios": kept["ratios"]}, indent=2, sort_keys=True)
    baseline.write_text(text + "\n")
