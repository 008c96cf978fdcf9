"""Blocks that serve again: whatever the two ends do, what is alive keeps its contents, and nothing is left."""

from __future__ import annotations

import gc
import os
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests import leaks
from tests.profiles import examples
from tests.waiting import until
from unified_exec._platform import shared_memory, shm_cache
from unified_exec._platform.shm_cache import FREE_MAX, KEEP, LIVE_MAX, SIZE_MAX, SIZE_MIN, BlockCache

pytestmark = pytest.mark.skipif(not leaks.LINUX, reason="looks at descriptors in /proc")


def descriptors() -> set[int]:
    return {fd for fd, target in leaks.descriptors().values() if "memfd:unified_exec" in target}


def send(data: bytes, sender: BlockCache, receiver: BlockCache) -> memoryview:
    fd, table = shared_memory.write_block(data, (), sender)
    return shared_memory.read_block(fd, table, blocks=receiver)[0]


def inode(view: memoryview) -> int:
    """Of the block a view lies in; that of an anonymous mapping is 0."""
    import ctypes

    address = ctypes.addressof(ctypes.c_char.from_buffer(view))
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, _, _, number, *_ = line.split()
            first, last = (int(end, 16) for end in span.split("-"))
            if first <= address < last:
                return int(number)
    raise AssertionError(f"nothing is mapped at {address:#x}")


class Hit(BaseException):
    pass


class HitAtLine:
    """Raises at one line of the module that keeps blocks, as a cancellation would."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename != shm_cache.__file__:
            return None
        if event == "line":
            self.left -= 1
            if not self.left:
                raise Hit
        return self


def drop_and_be_hit(views: list[Any], which: int, line: int) -> None:
    hook, trace = sys.unraisablehook, sys.gettrace()
    sys.unraisablehook = lambda unraisable: None
    sys.settrace(HitAtLine(line))
    try:
        del views[which]
    finally:
        sys.settrace(trace)
        sys.unraisablehook = hook


class TwoEnds(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.before = descriptors()
        self.ends = BlockCache(), BlockCache()
        self.alive: list[tuple[memoryview, bytes]] = []
        self.sent = 0

    @rule(size=st.integers(SIZE_MIN // 2, 3 * SIZE_MIN), to=st.integers(0, 1), write=st.booleans())
    def send(self, size: int, to: int, write: bool) -> None:
        self.sent += 1
        data = self.sent.to_bytes(4, "little") * (size // 4)
        view = send(data, self.ends[1 - to], self.ends[to])
        assert view == data
        if write:
            view[:4] = b"mine"
            data = b"mine" + data[4:]
        self.alive.append((view, data))

    @rule(end=st.integers(0, 1))
    def give(self, end: int) -> None:
        fd = self.ends[end].take(SIZE_MIN)
        if fd is not None:
            self.ends[1 - end].give(fd)

    @rule(which=st.integers(0, 20))
    def drop(self, which: int) -> None:
        if self.alive:
            del self.alive[which % len(self.alive)]

    @rule(which=st.integers(0, 20), line=st.integers(1, 14))
    def drop_and_be_hit(self, which: int, line: int) -> None:
        if self.alive:
            drop_and_be_hit(self.alive, which % len(self.alive), line)

    @rule()
    def drop_in_a_cycle(self) -> None:
        if self.alive:
            cycle: list[Any] = [self.alive.pop()]
            cycle.append(cycle)
            del cycle
            gc.collect(0)  # all of it is young, and the rest of a test run takes long to look through

    @rule(end=st.integers(0, 1))
    def time_passes(self, end: int) -> None:
        self.ends[end].forget()

    @rule()
    def fork(self) -> None:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

    @invariant()
    def what_is_alive_keeps_its_contents(self) -> None:
        for view, data in self.alive:
            assert view == data

    def teardown(self) -> None:
        self.alive.clear()
        for end in self.ends:
            end.forget()
        assert descriptors() == self.before


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_is_alive_keeps_its_contents() -> None:
    run_state_machine_as_test(
        TwoEnds, settings=settings(max_examples=examples(3, nightly=40), stateful_step_count=40, deadline=None)
    )


def there_and_back(rounds: int, size: int = SIZE_MIN) -> list[int]:
    here, there = BlockCache(), BlockCache()
    seen = []
    for turn in range(rounds):
        data = bytes([turn]) * size
        sent = send(data, here, there)
        back = send(bytes(sent), there, here)
        assert back == data
        seen += [inode(sent), inode(back)]
        del sent, back
    return seen


def test_blocks_go_to_and_fro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shm_cache, "KEEP", 60.0)  # a loaded machine may take longer than usual from one to the next
    assert len(set(there_and_back(20))) <= 2 * FREE_MAX + 2  # the first to come are not yet wanted
    assert len(set(there_and_back(20, SIZE_MIN // 2))) > 10


def test_nothing_is_kept_of_what_only_comes_in() -> None:
    here, there = BlockCache(), BlockCache()
    before = descriptors()
    for _ in range(5):
        send(bytes(SIZE_MIN), there, here)
        assert not here
    assert descriptors() == before


def test_nothing_huge_is_kept() -> None:
    here, there = BlockCache(), BlockCache()
    here.take(SIZE_MIN)
    view = send(bytes(SIZE_MAX + 1), there, here)
    assert not here
    del view
    assert not here


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_keeps_what_it_sees() -> None:
    here, there = BlockCache(), BlockCache()
    here.take(SIZE_MIN)
    data = b"before" * SIZE_MIN
    view = send(data, there, here)
    assert here
    asked, ask = os.pipe()
    child = os.fork()
    if not child:
        os.read(asked, 1)
        os._exit(view != data)
    del view
    live = [send(b"behind" * SIZE_MIN, here, there) for _ in range(3)]
    os.write(ask, b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert all(other == b"behind" * SIZE_MIN for other in live)
    os.close(ask)
    os.close(asked)


def test_a_descriptor_that_was_closed_and_is_a_file_now_is_left_alone(tmp_path: Any) -> None:
    here, there = BlockCache(), BlockCache()
    here.take(SIZE_MIN)
    view = send(b"x" * SIZE_MIN, there, here)
    (kept,) = here._live
    os.close(kept)
    path = tmp_path / "precious"
    path.write_bytes(b"precious")
    file = os.open(path, os.O_RDWR)
    assert file == kept
    del view
    assert here.take(SIZE_MIN) is None
    send(b"y" * SIZE_MIN, here, there)
    here.forget()
    assert os.read(file, 100) == b"precious"
    os.close(file)


def test_a_descriptor_that_is_another_block_by_now_is_not_taken_for_the_first() -> None:
    here, there = BlockCache(), BlockCache()
    here.take(SIZE_MIN)
    first = send(b"a" * SIZE_MIN, there, here)
    here.forget()
    second = send(b"b" * SIZE_MIN, there, here)  # its descriptor has the number of the first
    del first
    third = send(b"c" * SIZE_MIN, here, there)
    assert (second[0], third[0]) == (ord("b"), ord("c"))


@pytest.mark.parametrize("line", range(1, 16))
def test_what_was_taken_stays_open_whatever_hit_the_one_who_dropped_it(line: int) -> None:
    here, there = BlockCache(), BlockCache()
    before = descriptors()
    here.take(SIZE_MIN)
    drop_and_be_hit([send(bytes(SIZE_MIN), there, here)], 0, line)
    taken = here.take(SIZE_MIN)
    here.forget()
    if taken is not None:
        os.ftruncate(taken, SIZE_MIN)
        os.close(taken)
    assert descriptors() == before


def test_a_block_that_is_held_is_not_waited_for() -> None:
    here, there = BlockCache(), BlockCache()
    before = descriptors()

    def come() -> memoryview:
        taken = here.take(SIZE_MIN)
        if taken is not None:
            os.close(taken)
        return send(bytes(SIZE_MIN), there, here)

    held = [come() for _ in range(20)]
    assert len(here._live) == LIVE_MAX
    assert until(lambda: come() and len(here._live) + len(here._free) <= FREE_MAX + 1, within=20 * KEEP)
    del held
    here.forget()
    assert descriptors() == before
