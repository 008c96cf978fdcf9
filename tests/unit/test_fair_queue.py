"""The fair queue against a plain model of it."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.profiles import examples
from unified_exec._rules.fair_queue import AGING, FairQueue


class Item:
    def __init__(self, owner: object, number: int, priority: int = 0) -> None:
        self.owner = owner
        self.number = number
        self.priority = priority
        self.outcome: object | None = None

    def __repr__(self) -> str:
        return f"{self.owner}{self.number}"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


OWNERS = ("a", "b", "c")


@given(st.lists(st.sampled_from(OWNERS), max_size=40))
def test_owners_take_turns_and_each_ones_items_stay_in_order(owners: list[str]) -> None:
    queue: FairQueue[Item] = FairQueue(Clock())
    for number, owner in enumerate(owners):
        queue.push(Item(owner, number))
    taken = list(queue.drain())
    assert len(taken) == len(owners)
    for owner in OWNERS:
        mine = [item.number for item in taken if item.owner == owner]
        assert mine == sorted(mine)
        # Until its line is empty, nobody gets two turns while it waits for one.
        for before, after in zip([-1, *(taken.index(i) for i in taken if i.owner == owner)], mine, strict=False):
            position = next(n for n, item in enumerate(taken) if item.number == after)
            others = [item.owner for item in taken[before + 1 : position]]
            assert len(others) == len(set(others))
    assert len(queue) == 0


def test_of_many_priorities_none_starves_and_the_highest_comes_first() -> None:
    clock = Clock()
    queue: FairQueue[Item] = FairQueue(clock)
    for number in range(200):
        queue.push(Item("a", number, priority=number * 7 % 200 - 100))
    assert [item.priority for item in queue.drain()] == list(range(99, -101, -1))
    for priority in range(-50, 50):
        queue.push(Item("a", 0, priority))
        queue.push(Item("a", 1, 1000))
    clock.now += AGING
    assert [item.priority for _ in range(103) if (item := queue.take())] == [*range(-50, 50), 1000, 1000, 1000]


def test_a_small_scope_does_not_wait_for_a_large_one() -> None:
    queue: FairQueue[Item] = FairQueue(Clock())
    for number in range(1000):
        queue.push(Item("large", number))
    queue.push(Item("small", 0))
    assert "small" in [item.owner for _ in range(2) if (item := queue.take())]


def test_an_empty_queue_has_nothing() -> None:
    queue: FairQueue[Item] = FairQueue(Clock())
    assert queue.take() is None


def test_a_higher_priority_comes_first_and_within_one_the_owners_take_turns() -> None:
    queue: FairQueue[Item] = FairQueue(Clock())
    for number in range(3):
        queue.push(Item("a", number))
        queue.push(Item("b", number, priority=-1))
        queue.push(Item("b", number, priority=5))
        queue.push(Item("c", number, priority=5))
    taken = [(item.owner, item.priority) for item in queue.drain()]
    assert taken == [("b", 5), ("c", 5)] * 3 + [("a", 0)] * 3 + [("b", -1)] * 3


def test_what_waits_long_gets_a_turn_before_a_higher_priority_and_then_waits_again() -> None:
    clock = Clock()
    queue: FairQueue[Item] = FairQueue(clock)
    for number in range(10):
        queue.push(Item("patient", number))
        queue.push(Item("urgent", number, priority=1))

    def take() -> object:
        item = queue.take()
        assert item is not None
        return item.owner

    assert [take(), take()] == ["urgent", "urgent"]
    clock.now += AGING
    assert [take(), take(), take()] == ["patient", "urgent", "urgent"]
    clock.now += AGING
    item = queue.take()
    assert item is not None
    assert item.owner == "patient"
    queue.put_back(item)  # no worker had room: it is still its turn
    assert [take(), take()] == ["patient", "urgent"]


class Model(RuleBasedStateMachine):
    """Every operation, in any order: nothing is lost, nothing doubled, the length is true."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.queue: FairQueue[Item] = FairQueue(self.clock)
        self.waiting: list[Item] = []
        self.taken: list[Item] = []
        self.since: dict[int, float] = {}  # when a priority began to wait, or had its last turn
        self.ended: set[int] = set()  # priorities of which an item that has ended may still wait for its turn
        self.number = 0

    @rule(owner=st.sampled_from(OWNERS), priority=st.sampled_from((0, 0, 3, -1, 7, -5)))
    def push(self, owner: str, priority: int) -> None:
        item = Item(owner, self.number, priority)
        self.number += 1
        if priority not in self.priorities() | self.ended:
            self.since[priority] = self.clock.now
        self.queue.push(item)
        self.waiting.append(item)

    def priorities(self) -> set[int]:
        return {item.priority for item in self.waiting}

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        item = self.queue.take()
        assert item is not None
        assert item.outcome is None
        if item.priority < max(self.priorities()):
            assert self.clock.now - self.since[item.priority] >= AGING
        self.since[item.priority] = self.clock.now
        first = next(each for each in self.waiting if (each.owner, each.priority) == (item.owner, item.priority))
        assert item is first
        self.waiting.remove(item)
        self.taken.append(item)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        count = data.draw(st.integers(1, len(self.taken)))
        back, self.taken = self.taken[-count:], self.taken[:-count]
        self.queue.push_front(iter(back))
        for item in back:
            self.since.setdefault(item.priority, self.clock.now)
        self.waiting[:0] = back

    @rule(seconds=st.sampled_from((AGING / 2, AGING)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def put_back(self) -> None:
        item = self.queue.take()
        if item is not None:
            self.queue.put_back(item)
            assert self.queue.take() is item
            self.queue.put_back(item)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def end_one_that_waits(self, data: Any) -> None:
        item = data.draw(st.sampled_from(self.waiting))
        item.outcome = "cancelled"
        self.ended.add(item.priority)
        self.queue.forget_one()
        self.waiting.remove(item)

    @rule()
    def drain(self) -> None:
        drained = list(self.queue.drain())
        assert sorted(item.number for item in drained) == sorted(item.number for item in self.waiting)
        self.waiting.clear()

    @invariant()
    def the_length_is_true(self) -> None:
        assert len(self.queue) == len(self.waiting)
        item = self.queue.take()
        assert (item is None) == (not self.waiting)
        if item is not None:
            self.queue.put_back(item)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=examples(30, nightly=1000))
