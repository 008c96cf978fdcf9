"""What the variables of a thread's frames refer to: never is more found than the interpreter has counted."""

from __future__ import annotations

import functools
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from unified_exec._stacks.lines import FRAMES_MAX, thread_frames
from unified_exec._sync.deadlocks.frames import KNOWN, references

pytestmark = pytest.mark.skipif(not KNOWN, reason="what a running frame has cannot be counted")

measured: list[tuple[int, int]] = []
"""Of each time that a case looked: references found, and counted."""
_one: list[Any] = []


class One:
    def __iter__(self) -> One:
        return self

    def __next__(self) -> int:
        return look()

    def __getitem__(self, _: int) -> int:
        return look()

    def method(self) -> None:
        look()

    @property
    def of_property(self) -> int:
        return look()


def look(*_: object) -> int:
    frames = thread_frames(sys._getframe(1))
    found = sum(each is _one[0] for each in references(frames))
    frames.clear()
    measured.append((found, sys.getrefcount(_one[0])))
    return 0


def two(one: Any, other: Any) -> None:
    look()


def named(*, one: Any) -> None:
    look()


# -- cases: each looks while its variables, and those of what it calls, refer to the object that it gets


def direct(one: Any) -> None:
    look()


def nested(one: Any) -> None:
    direct(one)


def twice(one: Any) -> None:
    two(one, one)


def by_keyword(one: Any) -> None:
    named(one=one)


def unpacked(one: Any) -> None:
    two(*[one, one])


def copied(one: Any) -> None:
    copy = one
    two(copy, one)


def moved(one: Any) -> None:
    def move(given: Any) -> None:
        to = also = given
        del given
        two(to, also)

    move(one)


def replaced(one: Any) -> None:
    def replace(given: Any) -> None:
        two(given, (given := 0))

    replace(one)


def swapped(one: Any) -> None:
    def swap(given: Any, other: Any = None) -> None:
        given, other = other, given
        two(given, other)

    swap(one)


def of_attribute(one: Any) -> None:
    owner = SimpleNamespace(one=one)
    del one
    direct(owner.one)


def of_attribute_too(one: Any) -> None:
    direct(SimpleNamespace(one=one).one)


def method(one: Any) -> None:
    one.method()


def bound_method(one: Any) -> None:
    call = one.method
    del one
    call()


def loop(one: Any) -> None:
    for _ in one:
        break


def subscript(one: Any) -> None:
    one[0]


def of_property(one: Any) -> None:
    assert one.of_property == 0


def from_c(one: Any) -> None:
    list(map(direct, [one]))
    functools.partial(direct, one)()
    functools.lru_cache(direct)(one)


def returned(one: Any) -> None:
    def give(given: Any) -> Any:
        return given

    two(give(one), give(one))
    got = give(one)
    two(got, one)


def in_comprehension(one: Any) -> None:
    [two(each, one) for each in [one]]


def in_comprehension_of_a_module(one: Any) -> None:
    names = {"two": two, "popped": map(list.pop, [[one]])}
    del one
    exec("[two(each, each) for each in popped]", names)


def in_class_body(one: Any) -> None:
    popped = map(list.pop, [[one]])
    del one

    class Body:
        [two(each, each) for each in popped]


def in_with(one: Any) -> None:
    with nullcontext(one) as got:
        two(got, one)


def in_generator(one: Any) -> None:
    def generate(given: Any) -> Iterator[None]:
        copy = given
        two(copy, given)
        yield

    generator = generate(one)
    next(generator)


def sent(one: Any) -> None:
    def generate() -> Any:
        given = yield
        copy = given
        yield two(copy, given)

    def outer() -> Any:
        yield from generate()

    generator = outer()
    next(generator)
    generator.send(one)


def in_coroutine(one: Any) -> None:
    async def run(given: Any) -> Any:
        copy = given
        two(copy, given)
        return given

    async def main(given: Any) -> None:
        two(given, await run(given))

    with pytest.raises(StopIteration):
        main(one).send(None)


def in_context_manager(one: Any) -> None:
    @contextmanager
    def manage(given: Any) -> Iterator[Any]:
        two(given, given)
        yield given

    with manage(one) as got:
        two(got, one)


def in_closure(one: Any) -> None:
    def close() -> None:
        two(one, one)

    close()


def in_handler(one: Any) -> None:
    try:
        raise ValueError(one)
    except ValueError as error:
        two(error.args[0], one)


def recursive(one: Any, calls: int = 5) -> None:
    if calls:
        recursive(one, calls - 1)
    look()


def deep(one: Any, other: Any = None, calls: int = FRAMES_MAX) -> None:
    if calls:
        deep(one, one, calls - 1)
    look()


def as_default(one: Any) -> None:
    def take(given: Any = one) -> None:
        two(given, given)

    del one
    take()


EXACT = [direct, nested, twice, by_keyword, copied, moved, swapped, method, in_generator, recursive]
OTHERS = [unpacked, replaced, of_attribute, of_attribute_too, bound_method, loop, subscript, of_property, from_c]
OTHERS += [returned, in_comprehension, in_comprehension_of_a_module, in_class_body, in_with, sent, in_coroutine]
OTHERS += [in_context_manager, in_closure, in_handler, deep, as_default]


@pytest.mark.parametrize("watch", [None, threading.settrace, threading.setprofile])
@pytest.mark.parametrize("case", EXACT + OTHERS)
def test_no_reference_is_found_that_does_not_count(case: Any, watch: Any) -> None:
    """Else somebody's reference would not be missed, and a wait that this one could end be called endless."""

    def run() -> None:
        args = (One(),)
        _one[:] = args
        known = sys.getrefcount(_one[0])
        for _ in range(4):  # the interpreter specializes
            case(*args)
        measured[:] = [(found, counted - known) for found, counted in measured]

    before = threading.gettrace(), threading.getprofile()
    measured.clear()
    thread = threading.Thread(target=run)
    gc.disable()
    try:
        if watch is not None:
            watch(lambda *_: None)
        thread.start()
        thread.join()
    finally:
        threading.settrace(before[0])  # type: ignore[arg-type]
        threading.setprofile(before[1])
        gc.enable()
    _one.clear()
    assert len(measured) >= 4
    assert all(found <= counted for found, counted in measured), measured
    if case in EXACT:
        assert all(found == counted for found, counted in measured), measured
