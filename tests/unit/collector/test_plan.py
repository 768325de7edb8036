"""What to fetch, delete and forget: by example, and against a model of a provider."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector import plan as planning
from collector.plan import MEMORY, Entry, Plan, Terms, is_due, key_of, plan

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Known:
    at: datetime = NOW - 10 * DAY
    kept: bool = True
    missed_at: datetime | None = None


def entries(*names: str, size: int = 100) -> list[Entry]:
    return [Entry(number, size, name.encode()) for number, name in enumerate(names, 1)]


def keys(*names: str) -> tuple[bytes, ...]:
    return tuple(sorted(key_of(name.encode()) for name in names))


def planned(
    listing: list[Entry], memory: dict[str, Known] | None = None, keep_days: int | None = None
) -> Plan:
    known = {key_of(name.encode()): each for name, each in (memory or {}).items()}
    return plan(listing, known, Terms(keep_days, 1000, NOW))


def test_what_is_new_is_fetched_in_the_order_of_the_provider() -> None:
    found = planned(entries("b", "a", "c"), {"a": Known()})
    assert [entry.number for entry in found.fetch] == [1, 3]
    assert (found.seen, found.delete, found.missed, found.forget) == (1, (), (), ())


def test_to_keep_is_the_default_and_0_days_is_at_once() -> None:
    taken = {"old": Known(NOW - 14 * DAY), "young": Known(NOW - 13 * DAY), "now": Known(NOW)}
    listing = entries("old", "young", "now", "new")
    assert planned(listing, taken, None).delete == ()
    assert planned(listing, taken, 14).delete == (1,)
    assert planned(listing, taken, 0).delete == (1, 2, 3)


def test_what_could_not_be_kept_is_neither_fetched_again_nor_deleted() -> None:
    found = planned(entries("unfit"), {"unfit": Known(kept=False)}, 0)
    assert (found.fetch, found.delete, found.seen) == ((), (), 1)


def test_what_is_too_large_stays_there() -> None:
    found = planned([*entries("a", size=1001), *entries("b", size=1000)], {}, 0)
    assert ([entry.uidl for entry in found.fetch], found.too_large) == ([b"b"], 1)


def test_two_messages_of_one_name_are_fetched_once_and_never_deleted() -> None:
    """RFC 1939 section 7: copies of one message may have the same unique-id."""
    found = planned(entries("a", "b", "a"))
    assert [entry.number for entry in found.fetch] == [1, 2]
    assert found.single == {key_of(b"b")}
    assert planned(entries("a", "b", "a"), {"a": Known(), "b": Known()}, 0).delete == (2,)


def test_what_is_listed_no_more_is_remembered_for_a_while() -> None:
    just, long = NOW - MEMORY, NOW - MEMORY - timedelta(seconds=1)
    memory = {"x": Known(), "y": Known(missed_at=just), "z": Known(missed_at=long)}
    found = planned([], memory)
    assert (found.missed, found.back, found.forget) == (keys("x"), (), keys("z"))
    found = planned(entries("y", "z"), memory)
    assert (found.missed, found.back, found.forget) == (keys("x"), keys("y", "z"), ())
    assert found.fetch == ()


def test_a_provider_that_changes_all_names_cannot_make_us_remember_without_end() -> None:
    most = planning.MISSED_MOST
    memory = {
        key_of(b"%d" % number): Known(missed_at=NOW - timedelta(seconds=number))
        for number in range(most + 2)
    }
    found = plan([], memory, Terms(None, 1000, NOW))
    assert found.forget == keys(str(most), str(most + 1))


def test_when_a_message_is_due() -> None:
    assert not is_due(NOW - 999 * DAY, None, NOW)
    assert is_due(NOW, 0, NOW)
    assert not is_due(NOW - DAY, 2, NOW)
    assert is_due(NOW - 2 * DAY, 2, NOW)


NAMES = st.sampled_from([f"m{number}" for number in range(12)])


@given(
    st.lists(NAMES, max_size=20),
    st.dictionaries(NAMES, st.builds(Known, kept=st.booleans()), max_size=12),
    st.one_of(st.none(), st.integers(0, 20)),
)
def test_nothing_is_both_fetched_and_known_and_nothing_is_deleted_unkept(
    names: list[str], memory: dict[str, Known], keep_days: int | None
) -> None:
    listing = entries(*names)
    found = planned(listing, memory, keep_days)
    by_number = {entry.number: entry.uidl.decode() for entry in listing}
    assert {entry.uidl.decode() for entry in found.fetch} == set(names) - set(memory)
    assert len(found.fetch) == len({entry.uidl for entry in found.fetch})
    for number in found.delete:
        name = by_number[number]
        assert memory[name].kept
        assert names.count(name) == 1
        assert keep_days is not None


class Collecting(RuleBasedStateMachine):
    """A provider and a maildrop over many runs, of which any may end at any moment.

    Whatever arrives there is at every moment there or here, and never here twice.
    """

    @initialize(keep_days=st.one_of(st.none(), st.integers(0, 3)))
    def begin(self, keep_days: int | None) -> None:
        self.keep_days = keep_days
        self.now = NOW
        self.arrived: list[str] = []
        self.there: list[str] = []
        self.here: list[str] = []
        self.memory: dict[bytes, Known] = {}

    @rule(count=st.integers(1, 4))
    def arrive(self, count: int) -> None:
        for _ in range(count):
            name = f"m{len(self.arrived)}"
            self.arrived.append(name)
            self.there.append(name)

    @rule(days=st.integers(1, 3))
    def wait(self, days: int) -> None:
        self.now += days * DAY

    @rule(fetched=st.integers(0, 5), end=st.sampled_from(["quit", "lost"]))
    def run(self, fetched: int, end: str) -> None:
        """`fetched` messages come before the run ends, which may be before its QUIT."""
        listing = entries(*self.there)
        found = plan(listing, self.memory, Terms(self.keep_days, 1000, self.now))
        for entry in found.fetch[:fetched]:
            self.here.append(entry.uidl.decode())
            self.memory[entry.key] = Known(at=self.now)
        if end == "quit":
            gone = set(found.delete)
            gone |= {
                entry.number
                for entry in found.fetch[:fetched]
                if is_due(self.now, self.keep_days, self.now)
            }
            self.there = [e.uidl.decode() for e in listing if e.number not in gone]
        for key in found.forget:
            del self.memory[key]
        for key in found.missed:
            self.memory[key] = Known(self.memory[key].at, missed_at=self.now)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if hasattr(self, "here"):
            assert set(self.there) | set(self.here) == set(self.arrived)
            assert len(self.here) == len(set(self.here))


TestCollecting = Collecting.TestCase
TestCollecting.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
