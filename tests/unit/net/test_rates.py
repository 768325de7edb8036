"""Requests in any 15 minutes: never more than the limit, and a table that cannot grow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from net.limits import TABLE_KEYS
from net.rates import WINDOW_S, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_the_limit_holds_and_says_when_it_is_over() -> None:
    clock = Clock()
    counts = Rates({"auth": 5}, clock=clock)
    for n in range(5):
        taken = await counts.take("auth", "192.0.2.1")
        assert taken
        assert (taken.limit, taken.left, taken.wait_s) == (5, 4 - n, 0)
        assert taken.reset_s == WINDOW_S - 10 * n
        clock.now += 10
    refused = await counts.take("auth", "192.0.2.1")
    assert refused == (5, 0, WINDOW_S - 50, WINDOW_S - 50)
    other = await counts.take("auth", "192.0.2.2")
    assert other
    assert other.wait_s == 0
    clock.now += WINDOW_S - 50 - 1
    assert (await counts.take("auth", "192.0.2.1") or other).wait_s == 1
    clock.now += 1
    again = await counts.take("auth", "192.0.2.1")
    assert again
    assert (again.left, again.wait_s) == (0, 0)  # one came back, and was taken


async def test_classes_are_counted_apart_and_one_without_limit_not_at_all() -> None:
    counts = Rates({"auth": 1, "api": 1, "page": 0}, clock=Clock())
    for kind in ("auth", "api"):
        taken = await counts.take(kind, "x")
        assert taken
        assert taken.wait_s == 0
    assert await counts.take("page", "x") is None
    assert await counts.look("page", "x") is None


async def test_looking_counts_nothing_and_what_is_given_back_can_be_taken() -> None:
    counts = Rates({"auth": 1}, clock=Clock())
    for _ in range(3):
        seen = await counts.look("auth", "x")
        assert seen
        assert seen.left == 1
    for _ in range(3):
        taken = await counts.take("auth", "x")
        assert taken
        assert taken.wait_s == 0
        await counts.give_back("auth", "x")
    await counts.take("auth", "x")
    await counts.clear("x")
    seen = await counts.look("auth", "x")
    assert seen
    assert seen.left == 1


@settings(max_examples=50)
# Eighths of a second are exact: two ways to subtract agree.
@given(st.lists(st.integers(0, 3200).map(lambda eighths: eighths / 8), min_size=1, max_size=60))
async def test_no_stretch_of_the_window_has_more_than_the_limit(pauses: list[float]) -> None:
    clock = Clock()
    counts = Rates({"api": 3}, clock=clock)
    let_in: list[float] = []
    for pause in pauses:
        clock.now += pause
        taken = await counts.take("api", "x")
        assert taken
        inside = [at for at in let_in if at > clock.now - WINDOW_S]
        assert len(inside) <= 3
        if not taken.wait_s:
            assert len(inside) < 3
            let_in.append(clock.now)
        else:
            # No sooner than told, and a second late at most.
            free_s = let_in[-3] + WINDOW_S - clock.now
            assert free_s <= taken.wait_s <= free_s + 2


async def test_the_table_forgets_the_oldest() -> None:
    clock = Clock()
    counts = Rates({"api": 2}, clock=clock)
    for n in range(TABLE_KEYS + 1):
        await counts.take("api", str(n))
    first, last = await counts.look("api", "0"), await counts.look("api", "1")
    assert first
    assert last
    assert (first.left, last.left) == (2, 1)
