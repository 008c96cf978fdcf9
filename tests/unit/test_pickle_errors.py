"""What cannot travel is named: which argument, where in it, and what to do now."""

from __future__ import annotations

import asyncio
import functools
import io
import re
import sqlite3
import sys
import threading
import weakref
from typing import Any

import pytest

from unified_exec import errors
from unified_exec._wire.pickling import codec
from unified_exec._wire.pickling.pickle_errors import hint_for


class Session:
    def __init__(self, inside: object) -> None:
        self.name = "s"
        self._inside = inside


class Client:
    __slots__ = ("session", "unset")

    def __init__(self, inside: object) -> None:
        self.session = Session(inside)


class Careful:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.others = [threading.Lock()]

    def __getstate__(self) -> Any:
        return {"others": self.others}


class Failing:
    def __reduce__(self) -> Any:
        raise ValueError("boom")


def generator() -> Any:
    yield 1


LOCK = threading.Lock()
A_LOCK = "a '_thread.lock' object"


def why_refused(obj: object) -> str:
    with pytest.raises(errors.SerializationError) as caught:
        codec.encode_value(obj)
    return caught.value.why


@pytest.mark.parametrize(
    ("obj", "path"),
    [
        (LOCK, ""),
        ([1, LOCK], "[1]"),
        ({"a": (1, [LOCK])}, "['a'][1][0]"),
        ({LOCK: 1}, "<key"),
        (Session(LOCK), "._inside"),
        (Client(LOCK), ".session._inside"),
        (Client({"db": [LOCK]}), ".session._inside['db'][0]"),
        (Careful(), ".others[0]"),
        (functools.partial(print, 1, LOCK), ".args[1]"),
        (functools.partial(print, end=LOCK), ".keywords['end']"),
        (lambda x=LOCK: x, ".__defaults__[0]"),
        (lambda *, x=LOCK: x, ".__kwdefaults__['x']"),
        ((lambda lock: lambda: lock)(LOCK), ".<closure>.lock"),
        (Session(LOCK).__init__, ".__self__._inside"),
        (type("Local", (), {"lock": LOCK}), ".lock"),
        (ValueError(LOCK), "<constructor argument 0>"),
    ],
)
def test_the_path_leads_to_the_culprit(obj: Any, path: str) -> None:
    why = why_refused(obj)
    assert why == (f"{path} is {A_LOCK}" if path else A_LOCK) or (path[:1] == "<" and path in why and A_LOCK in why)


def test_an_error_of_the_users_own_is_quoted() -> None:
    why = why_refused([Failing()])
    assert why.startswith("[0]: ")
    assert "ValueError: boom" in why
    assert "Failing" in why


def test_cycles_and_endless_depth_come_to_an_end() -> None:
    cycle: list[Any] = []
    cycle += [cycle, {"again": cycle}, LOCK]
    assert why_refused(cycle) == f"[2] is {A_LOCK}"
    deep: Any = LOCK
    for _ in range(100):
        deep = [deep]
    assert re.fullmatch(r"(\[0\]){30}\W.+", why_refused(deep))


def test_wide_data_costs_a_bounded_number_of_trials() -> None:
    tried = []

    class Counted:
        def __reduce__(self) -> Any:
            tried.append(1)
            return list, ()

    why_refused([[Counted()] for _ in range(3000)] + [LOCK])
    assert len(tried) < 10_000


def test_a_hostile_object_does_not_break_the_report() -> None:
    class Hostile:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise RuntimeError("no")

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("no")

    why = why_refused([Hostile()])
    assert why.startswith("[0]: ")
    assert "RuntimeError: no" in why


def culprits() -> list[tuple[Any, str]]:
    frame = sys._getframe()
    return [
        (threading.Lock(), "__getstate__"),
        (threading.RLock(), "__getstate__"),
        (threading.Event(), "__getstate__"),
        (threading.local(), "__getstate__"),
        (generator(), "list of its items"),
        (io.BytesIO().getbuffer, None),
        (frame, "on='thread'"),
        (weakref.ref(Session), "the object itself"),
        (sys.modules["__main__"], "import it inside"),
    ]  # type: ignore[return-value]


@pytest.mark.parametrize(("obj", "hint"), culprits(), ids=lambda value: type(value).__name__)
def test_common_culprits_come_with_a_way_out(obj: Any, hint: str | None) -> None:
    if hint is None:
        assert hint_for(object()) is None
        return
    assert hint in (hint_for(obj) or "")
    with pytest.raises(errors.SerializationError) as caught:
        codec.encode_args(([obj],))
    assert hint in (caught.value.hint or "")


def test_files_databases_and_coroutines_come_with_a_way_out() -> None:
    async def later() -> None: ...

    coroutine = later()
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    with open(__file__, "rb") as binary, open(__file__) as text:
        base = sqlite3.connect(":memory:")
        try:
            for obj in (binary, text, base, base.cursor()):
                with pytest.raises(errors.SerializationError, match="open it in the worker, or spawn with on='thread'"):
                    codec.encode_args((obj,))
            with pytest.raises(errors.SerializationError, match="not the coroutine object"):
                codec.encode_args((coroutine,))
            with pytest.raises(errors.SerializationError, match="await it here"):
                codec.encode_args((future,))
        finally:
            base.close()
            coroutine.close()
            loop.close()


def test_a_result_is_named_too() -> None:
    with pytest.raises(errors.SerializationError) as caught:
        codec.encode_value({"lock": LOCK}, "the result of parse()")
    assert str(caught.value).startswith(
        "the result of parse() cannot travel to another process: ['lock'] is a '_thread.lock' object; leave it out"
    )
