"""Which messages a session lists: each is offered until it is retrieved, and none comes back."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mail.ident import UniqueId
from store.cut import CHUNK, Cut, Marks, choose, cut_again, cut_anew
from store.maildrops import Change
from store.records import Entries
from store.windows import Window


def marks(*born: int) -> Marks:
    return Marks.of(born)


def listed(
    born: Sequence[int], retrieved: Sequence[int], *, floor: int = 0, most: int
) -> tuple[list[int], int]:
    """The numbers in the order they are listed, and the floor."""
    places, raised = choose(born, marks(*retrieved), floor=floor, most=most)
    return [born[place] for place in places], raised


def test_what_fits_is_listed_whole() -> None:
    assert listed([], [], most=3) == ([], 0)
    assert listed([1, 2, 3], [], most=3) == ([1, 2, 3], 0)
    assert listed([1, 2, 3], [1, 2, 3], most=3) == ([1, 2, 3], 0)


def test_what_was_not_retrieved_comes_first_oldest_first() -> None:
    assert listed([1, 2, 3, 4], [], most=2) == ([1, 2], 0)
    assert listed([1, 2, 3, 4], [1, 3], most=2) == ([2, 4], 3)


def test_room_that_is_left_goes_to_the_newest_that_was_retrieved() -> None:
    assert listed([1, 2, 3, 4, 5], [1, 2, 3], most=4) == ([2, 3, 4, 5], 1)
    assert listed([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], most=2) == ([4, 5], 3)


def test_what_was_left_out_stays_out_when_there_is_room_again() -> None:
    assert listed([1, 2, 3], [1, 2, 3], floor=2, most=10) == ([3], 2)
    assert listed([1, 2, 3], [2, 3], floor=2, most=10) == ([1, 3], 2)


def test_the_order_of_the_list_is_that_of_arrival() -> None:
    # 9 was brought in last and arrived first: it is the newest here, and is listed first.
    assert listed([9, 1, 2, 3], [], most=3) == ([1, 2, 3], 0)
    assert listed([9, 1, 2, 3], [1], most=3) == ([9, 2, 3], 1)
    assert listed([9, 1, 2, 3], [1, 2, 3, 9], most=2) == ([9, 3], 2)


@given(born=st.sets(st.integers(0, 5 * CHUNK)), others=st.sets(st.integers(0, 9 * CHUNK)))
def test_marks_are_a_set(born: set[int], others: set[int]) -> None:
    asked = [*born, *others]
    assert marks(*born, *born).among(asked) == [number in born for number in asked]


def test_a_window_knows_a_message_by_its_uid() -> None:
    uids = [UniqueId(number.to_bytes(16, "big")) for number in (3, 300, 70_000)]
    entries = Entries(
        b"".join(uid.octets for uid in uids), array("I", [1] * 3), array("Q", (7, 5, 6))
    )
    window = Window(1, 2, entries)
    for uid in (uids[1], uids[2], uids[1]):
        window.note(uid)
    assert window.retrieved.among([5, 6, 7]) == [True, True, False]


# A maildrop and its devices, as they are seen from outside: messages are their `born` numbers.


@dataclass
class Device:
    retrieved: set[int] = field(default_factory=set)
    floor: int = 0
    seen: list[int] = field(default_factory=list)
    left_out: set[int] = field(default_factory=set)  # retrieved, in the inbox, and not listed


@dataclass
class Model:
    most: int
    inbox: list[int] = field(default_factory=list)  # in the order of arrival
    trash: list[tuple[int, int]] = field(default_factory=list)  # place and number
    last: int = 0
    devices: tuple[Device, Device] = field(default_factory=lambda: (Device(), Device()))

    def arrive(self, place: int) -> None:
        """Mail comes at the end; what is imported may have arrived before everything else."""
        self.last += 1
        self.inbox.insert(len(self.inbox) - place % (len(self.inbox) + 1), self.last)

    def delete(self, place: int) -> None:
        if self.inbox:
            place %= len(self.inbox)
            self.trash.append((place, self.inbox.pop(place)))

    def restore(self) -> None:
        if self.trash:
            self.inbox.insert(*self.trash.pop())
            # What was pushed out is offered again later: it was not retrieved.
            for device in self.devices:
                device.seen.clear()

    def poll(self, device: Device, wanted: int) -> list[int]:
        """One session, in which the client retrieves as many as it wants of what it has not."""
        window, device.floor = listed(
            self.inbox, sorted(device.retrieved), floor=device.floor, most=self.most
        )
        assert len(window) == len(set(window)) <= self.most
        assert window == [number for number in self.inbox if number in window]
        new = sorted(set(self.inbox) - device.retrieved)
        offered = sorted(set(window) - device.retrieved)
        assert offered == new[: self.most]
        assert not set(window) & device.left_out, "a UIDL came back"
        if len(window) < self.most:
            hidden = set(self.inbox) - set(window)
            assert hidden <= device.left_out | device.retrieved
            assert all(number <= device.floor for number in hidden)
        # What was listed and is neither retrieved nor deleted is listed still.
        assert set(device.seen) & set(new) <= set(window)
        device.seen = window
        device.left_out |= device.retrieved & set(self.inbox) - set(window)
        taken = offered[:wanted]
        device.retrieved |= set(taken)
        return taken


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(0, 3)),
        st.tuples(st.just("arrive"), st.just(0)),
        st.tuples(st.just("import"), st.integers(0, 40)),
        st.tuples(st.just("delete"), st.integers(0, 40)),
        st.tuples(st.just("restore"), st.just(0)),
        st.tuples(st.just("first polls"), st.integers(0, 10)),
        st.tuples(st.just("second polls"), st.integers(0, 10)),
        st.tuples(st.just("most"), st.integers(1, 9)),
    ),
    max_size=120,
)


@given(most=st.integers(1, 8), acts=ACTS)
def test_each_message_is_offered_until_it_is_retrieved_and_none_comes_back(
    most: int, acts: list[tuple[str, int]]
) -> None:
    model = Model(most)
    for act, number in acts:
        match act:
            case "arrive" | "import":
                model.arrive(number)
            case "delete":
                model.delete(number)
            case "restore":
                model.restore()
            case "first polls" | "second polls":
                model.poll(model.devices[act == "second polls"], number)
            case "most":
                model.most = number
                for device in model.devices:
                    device.seen.clear()
    for device in model.devices:
        left = sorted(set(model.inbox) - device.retrieved)
        offered: list[int] = []
        while taken := model.poll(device, model.most):
            offered += taken
        assert offered == left


# What is told by the changes is what the whole inbox would tell.


def uid(place: int) -> bytes:
    return place.to_bytes(16, "big")


def entries_of(inbox: Mapping[int, int]) -> Entries:
    """From places in the order of arrival, and `born` numbers."""
    places = sorted(inbox)
    born = array("Q", (inbox[place] for place in places))
    return Entries(b"".join(map(uid, places)), array("I", [1] * len(places)), born)


@dataclass
class Inbox:
    """With all that is needed to tell what has changed since. `clock` is the modseq."""

    there: dict[int, int] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)
    changed: dict[int, int] = field(default_factory=dict)  # place: modseq
    clock: int = 0

    def put(self, place: int, born: int) -> None:
        self.gone.pop(place, None)
        self.there[place] = born
        self.touch(place)

    def drop(self, place: int) -> None:
        self.gone[place] = self.there.pop(place)
        self.touch(place)

    def touch(self, place: int) -> None:
        self.clock += 1
        self.changed[place] = self.clock

    def since(self, modseq: int) -> dict[bytes, Change | None]:
        return {
            uid(place): Change(1, self.there[place]) if place in self.there else None
            for place, at in self.changed.items()
            if at > modseq
        }


@given(
    most=st.integers(1, 8),
    acts=st.lists(
        st.tuples(
            st.sampled_from(["arrive", "arrive", "import", "drop", "restore", "flag", "poll"]),
            st.integers(0, 2**16),
        ),
        max_size=150,
    ),
    spread=st.sampled_from([1, CHUNK // 3]),
)
def test_changes_tell_what_the_whole_inbox_would(
    most: int, acts: list[tuple[str, int]], spread: int
) -> None:
    inbox, retrieved = Inbox(), set[int]()
    before: Cut | None = None
    floor = 0
    for act, number in acts:
        everything = sorted([*inbox.there, *inbox.gone])
        born = (len(everything) + 1) * spread
        match act:
            case "arrive":
                inbox.put(2**20 + len(everything), born)
            case "import":
                if number not in everything:
                    inbox.put(number, born)
            case "drop" if inbox.there:
                inbox.drop(sorted(inbox.there)[number % len(inbox.there)])
            case "restore" if inbox.gone:
                place = sorted(inbox.gone)[number % len(inbox.gone)]
                inbox.put(place, inbox.gone[place])
            case "flag" if inbox.there:
                inbox.touch(sorted(inbox.there)[number % len(inbox.there)])
            case "poll":
                whole, had = entries_of(inbox.there), marks(*retrieved)
                cut = cut_anew(inbox.clock, whole, had, floor=floor, most=most)
                if before:
                    changes = inbox.since(before.modseq)
                    again = cut_again(before, inbox.clock, changes, had, most=most)
                    if again:
                        assert again.modseq == inbox.clock
                        assert (again.entries.uids, again.floor) == (cut.entries.uids, cut.floor)
                        assert list(again.entries.born) == list(cut.entries.born)
                        assert again.oldest <= min(cut.entries.born, default=again.oldest)
                        assert again.newest >= max(cut.entries.born, default=again.newest)
                        cut = again
                before, floor = cut, cut.floor
                retrieved.update(list(cut.entries.born)[: number % (most + 1)])


def test_a_client_that_keeps_up_never_has_the_whole_inbox_asked_again() -> None:
    inbox = Inbox()
    for born in range(1, 10):
        inbox.put(born, born)
    cut = cut_anew(inbox.clock, entries_of(inbox.there), marks(*range(1, 10)), floor=0, most=5)
    for born in range(10, 40):
        inbox.put(born, born)
        changes = inbox.since(cut.modseq)
        again = cut_again(cut, inbox.clock, changes, marks(*range(1, born)), most=5)
        assert again
        assert list(again.entries.born) == list(range(born - 4, born + 1))
        cut = again


def test_a_client_that_never_came_has_the_whole_inbox_asked_once() -> None:
    inbox = Inbox()
    for born in range(1, 10):
        inbox.put(born, born)
    cut = cut_anew(inbox.clock, entries_of(inbox.there), Marks(), floor=0, most=5)
    for born in range(10, 40):
        inbox.put(born, born)
        again = cut_again(cut, inbox.clock, inbox.since(cut.modseq), Marks(), most=5)
        assert again
        assert list(again.entries.born) == [1, 2, 3, 4, 5]
        cut = again


def test_what_comes_back_is_older_than_what_is_shown_and_shown_first() -> None:
    inbox = Inbox()
    for born in range(1, 10):
        inbox.put(born, born)
    inbox.drop(1)
    cut = cut_anew(inbox.clock, entries_of(inbox.there), Marks(), floor=0, most=5)
    inbox.put(1, 1)
    assert cut_again(cut, inbox.clock, inbox.since(cut.modseq), Marks(), most=5) is None
    had = marks(1)  # and one that was retrieved is not shown
    assert cut_again(cut, inbox.clock, inbox.since(cut.modseq), had, most=5)
