"""Ratios are those of rounds, whichever way is better."""

from pathlib import Path

import pytest

from bench.table import Figure, Sample, accept, accepted, line, outcomes

RATE, TIME = Figure("deliveries", "/s", 2), Figure("the slowest", "ms", 3)
SAMPLES = {
    "ours": [Sample([200, 1], 0.5), Sample([900, 2], 0.6), Sample([400, 3], 0.7)],
    "peer": [Sample([100, 4]), Sample([300, 4]), Sample([100, 9])],
    "other": [Sample([100, 1]), Sample([100, 1]), Sample([100, 1])],
}


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    found = {(each.figure.unit, each.peer): each for each in outcomes(
        (RATE, TIME), SAMPLES, judged=True
    )}  # fmt: skip
    rate, time = found["/s", "peer"], found["ms", "peer"]
    assert (rate.ours, rate.theirs, rate.ratio) == (400, 100, 3)
    assert rate.server_ms == pytest.approx((0.6, 0))
    assert time.ratio == 3
    assert (rate.met, time.met) == (True, True)
    assert found["/s", "other"].met is None  # the aim names the first peer


def test_an_aim_is_missed_by_little_too() -> None:
    ours = {"ours": [Sample([199.0])], "peer": [Sample([100.0])]}
    [missed] = outcomes((RATE,), ours, judged=True)
    assert missed.met is False
    [unjudged] = outcomes((RATE,), ours, judged=False)
    assert unjudged.met is None


def test_a_ratio_that_fell_since_it_was_accepted_is_told(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert accepted("sqlite", baseline) == {}
    found = outcomes((RATE, TIME), SAMPLES, judged=True)
    accept("sqlite", found, {"machine": "this one"}, baseline)
    accept("mariadb", found[:1], {"machine": "this one"}, baseline)
    kept = accepted("sqlite", baseline)
    assert len(kept) == len(found)
    assert not any("WORSE" in line(each, kept) for each in found)
    kept[found[0].key] *= 1.2
    assert "WORSE: it was 3.6" in line(found[0], kept)
