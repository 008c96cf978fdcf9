"""The dispatch rule, without running anything."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest

from unified_exec import blocking, cpu_bound
from unified_exec._rules.dispatch import PLACES, call_name, is_async, place_of, unknown_place, unwrap


def plain() -> None: ...


async def asynchronous() -> None: ...


class Plain:
    def __call__(self) -> None: ...

    def method(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...


class Async:
    async def __call__(self) -> None: ...

    async def method(self) -> None: ...

    @classmethod
    async def of_class(cls) -> None: ...

    @staticmethod
    async def static() -> None: ...


def wrapped_three_times(fn: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(functools.partial(functools.partial(fn)))


THREADS: list[Callable[..., Any]] = [
    plain,
    Plain,
    Plain(),
    Plain().method,
    Plain.of_class,
    Async,
    print,
    str.upper,
    lambda: None,
]
LOOP: list[Callable[..., Any]] = [asynchronous, Async(), Async().method, Async.of_class, Async.static, Async().__call__]


@pytest.mark.parametrize("fn", [*THREADS, *map(wrapped_three_times, THREADS)], ids=call_name)
def test_what_is_not_async_goes_to_a_thread(fn: Callable[..., Any]) -> None:
    assert not is_async(fn)
    assert place_of(fn) == "thread"
    for on in ("thread", "process", "cpu", "loop"):
        assert place_of(fn, on) == on


@pytest.mark.parametrize("fn", [*LOOP, *map(wrapped_three_times, LOOP)], ids=call_name)
def test_what_is_async_goes_to_the_loop(fn: Callable[..., Any]) -> None:
    assert is_async(fn)
    assert place_of(fn) == "loop"
    for on in ("loop", "process"):
        assert place_of(fn, on) == on
    for on in ("thread", "cpu"):
        with pytest.raises(TypeError, match=f"is async and cannot run with on='{on}'"):
            place_of(fn, on)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="markcoroutinefunction is new in Python 3.12")
def test_a_function_marked_as_a_coroutine_function_is_async() -> None:
    import inspect

    mark: Any = vars(inspect)["markcoroutinefunction"]
    assert place_of(mark(lambda: asynchronous())) == "loop"


def test_markers_hold_through_every_wrapping() -> None:
    class Marked:
        @cpu_bound
        def method(self) -> None: ...

        @cpu_bound
        @staticmethod
        def static() -> None: ...

        @staticmethod
        @cpu_bound
        def static_too() -> None: ...

        @cpu_bound
        @classmethod
        def of_class(cls) -> None: ...

    class MarkedCall:
        @cpu_bound
        def __call__(self) -> None: ...

    @cpu_bound
    class MarkedClass: ...

    marked = cpu_bound(lambda: None)
    for fn in (
        marked,
        Marked().method,
        Marked.static,
        Marked.static_too,
        Marked().of_class,
        MarkedCall(),
        MarkedClass,
        cpu_bound(functools.partial(plain)),
        functools.wraps(marked)(lambda: None),
    ):
        assert place_of(fn) == "cpu", fn
        assert place_of(functools.partial(fn)) == "cpu", fn
        assert place_of(fn, "thread") == "thread"
    assert place_of(blocking(lambda: None)) == "thread"


def test_a_marker_changes_nothing_else() -> None:
    def fn(x: int) -> int:
        return x + 1

    assert cpu_bound(fn) is fn
    assert blocking(fn) is fn
    assert fn(1) == 2


def test_async_cpu_work_goes_to_a_process() -> None:
    async def fn() -> None: ...

    assert place_of(cpu_bound(fn)) == "process"


def test_blocking_is_for_plain_functions() -> None:
    for fn in LOOP[:3]:
        with pytest.raises(TypeError, match=r"@blocking is for plain functions, and .* is async"):
            blocking(fn)


def test_what_cannot_be_marked_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"@cpu_bound cannot mark .*: .* spawn\(sum, \.\.\., on='cpu'\)"):
        cpu_bound(sum)
    with pytest.raises(TypeError, match=r"@blocking cannot mark .*on='thread'"):
        blocking(Plain().method)


def test_only_the_marked_half_of_two_methods_is_marked() -> None:
    class Half:
        @cpu_bound
        def hard(self) -> None: ...

        def easy(self) -> None: ...

    assert [place_of(Half().hard), place_of(Half().easy)] == ["cpu", "thread"]


@pytest.mark.parametrize("thing", [None, 3, "f", object()])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    for on in (None, *PLACES):
        with pytest.raises(TypeError, match=r"write spawn\(f, x\) instead of spawn\(f\(x\)\)"):
            place_of(thing, on)


def test_a_coroutine_object_is_refused_and_left_alone() -> None:
    coroutine: Any = asynchronous()
    with pytest.raises(TypeError, match=r"write spawn\(asynchronous, \.\.\.\)"):
        place_of(coroutine)
    assert coroutine.cr_frame is not None
    coroutine.close()


@pytest.mark.parametrize(
    ("on", "meant"), [("proces", "process"), ("threads", "thread"), ("Loop", "loop"), ("cpus", "cpu"), ("gpu!", None)]
)
def test_an_unknown_place_is_answered_with_the_nearest(on: str, meant: str | None) -> None:
    with pytest.raises(ValueError) as caught:
        place_of(plain, on)
    assert str(caught.value) == unknown_place(on)
    assert (f"did you mean on={meant!r}?" in str(caught.value)) == (meant is not None)
    assert all(repr(place) in str(caught.value) for place in PLACES)


def test_names_are_those_of_the_function_behind() -> None:
    assert call_name(plain) == "plain"
    assert call_name(functools.partial(plain)) == "plain"
    assert call_name(Plain().method) == "Plain.method"
    assert call_name(Plain()) == "Plain"
    assert call_name(functools.partial(Plain())) == "Plain"
    assert call_name(itertools.chain) == "chain"
    assert unwrap(functools.partial(Plain().method)) is Plain.method
