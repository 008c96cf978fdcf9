"""Functions travel once, and yet every call sees the present values of what the function captured."""

from __future__ import annotations

import argparse
import asyncio
import dis
import enum
import functools
import gc
import logging
import math
import operator
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.this_python import needs_usual_references
from tests.unit.wire_child import Child
from unified_exec import errors
from unified_exec._wire.pickling import functions
from unified_exec._wire.pickling.code_facts import facts_of
from unified_exec._wire.pickling.function_table import FunctionTable, decode_call
from unified_exec._wire.pickling.functions import encode_call, entry_for, stats_for

LIMIT = 10
TABLE = {"a": 1}
log = logging.getLogger(__name__)


def add(a: int, b: int = 1) -> int:
    return a + b


def decorate(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args) + 1000

    return wrapper


@decorate
def decorated(n: int) -> int:
    return n


class Accumulator:
    def __init__(self, start: int) -> None:
        self.total = start

    def add(self, n: int) -> int:
        return self.total + n

    def __call__(self, n: int) -> int:
        return self.total * n

    @classmethod
    def made(cls, n: int) -> Accumulator:
        return cls(n)

    @staticmethod
    def double(n: int) -> int:
        return n * 2


def returning(value: Any) -> Any:
    return lambda: value


def by_value(fn: Any, namespace: dict[str, Any] | None = None) -> Any:
    """The same function as if it stood in the user's script, with globals of its own."""
    import types

    copy = types.FunctionType(fn.__code__, {"__name__": "__main__", **(namespace or {})}, fn.__name__, fn.__defaults__)
    copy.__module__ = "__main__"
    return copy


def goes_by_value(entry: functions.FunctionEntry) -> bool:
    return b"unified_exec._wire.pickling" in entry.payload


def twin(fn: Any) -> Any:
    """The function as a worker would have it."""
    table = FunctionTable()
    call = encode_call(fn, ())
    if not call.entry.volatile:
        table.learn(call.entry.id, call.entry.payload)
    return decode_call(table, call.entry.id, call.data)[0]


@pytest.mark.parametrize(
    "fn",
    [
        add,
        math.factorial,
        len,
        int,
        str.upper,
        Accumulator,
        Accumulator.double,
        Accumulator.add,
        operator.add,
        decorated,
    ],
)
def test_what_has_an_importable_name_goes_by_it(fn: Any) -> None:
    entry = entry_for(fn)
    assert (entry.volatile, goes_by_value(entry)) == (False, False)
    assert entry.id >= 1
    assert len(entry.payload) < 120
    assert entry_for(fn) is entry
    assert twin(fn) is fn


def test_a_function_whose_name_means_another_one_goes_by_value(child: Child) -> None:
    inner = decorated.__wrapped__
    entry = entry_for(inner)
    assert (entry.volatile, goes_by_value(entry)) == (False, True)
    assert child.run(inner, 1) == 1
    assert child.run(decorated, 1) == 1001


def test_a_lambda_is_sent_once_as_long_as_nothing_changes(child: Child) -> None:
    n = 5
    fn = lambda x: x * n  # noqa: E731
    entry = entry_for(fn)
    assert not entry.volatile
    assert [child.run(fn, 2), child.run(fn, 3)] == [10, 15]
    assert child.sent[-2:] == [entry.id, entry.id]
    n = 6
    assert entry_for(fn) is not entry
    assert child.run(fn, 2) == 12


CHANGES: list[Any] = [
    ("global", lambda fn, ns: ns.update(x=2)),
    ("global gone", lambda fn, ns: ns.pop("x")),
    ("builtin shadowed", lambda fn, ns: ns.update(len=sum)),
    ("helper's global", lambda fn, ns: ns["helper"].__globals__.update(deep=2)),
    ("helper's code", lambda fn, ns: setattr(ns["helper"], "__code__", (lambda: 9).__code__)),
    ("helper replaced", lambda fn, ns: ns.update(helper=by_value(lambda: 4))),
    ("code", lambda fn, ns: setattr(fn, "__code__", (lambda: 8).__code__)),
    ("default", lambda fn, ns: setattr(fn, "__defaults__", (3,))),
    ("keyword default", lambda fn, ns: setattr(fn, "__kwdefaults__", {"k": 2})),
    ("attribute", lambda fn, ns: setattr(fn, "note", 1)),
    ("attribute changed", lambda fn, ns: setattr(fn, "mark", 1)),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_a_change_of_what_is_captured_makes_a_new_card(change: Any) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "x": 1}
    exec("def fn(a=1, *, k=1): return [y for y in (x, helper(), len([a]), k)]", namespace)
    fn, helper = namespace["fn"], by_value(eval("lambda: deep"), {"deep": 1})
    namespace["helper"] = helper
    fn.__kwdefaults__ = {"k": 1}
    fn.mark = 0
    entry = entry_for(fn)
    assert not entry.volatile
    assert entry_for(fn) is entry
    change(fn, fn.__globals__)
    assert entry_for(fn) is not entry


@pytest.mark.parametrize(
    "value",
    [[1], {"a": 1}, {1}, bytearray(1), Accumulator(1), ([1],), object(), type("Local", (), {}), Accumulator(1).add],
    ids=lambda value: type(value).__name__,
)
def test_what_captures_something_mutable_is_never_cached(value: Any) -> None:
    fn = returning(value)
    entry = entry_for(fn)
    assert (entry.volatile, entry.id) == (True, 0)
    assert entry_for(lambda x=value: x).volatile
    assert not entry_for(by_value(lambda: x, {"x": value})).volatile  # type: ignore[name-defined] # noqa: F821
    assert entry_for(lambda: [fn() for _ in range(1)]).volatile
    assert entry_for(functools.partial(add, value)).volatile


@pytest.mark.parametrize(
    "value", [1, "a", None, (1, ("b",)), frozenset({1}), math, add, Accumulator, len, log, returning(3), str.upper],
    ids=lambda value: getattr(value, "__qualname__", None) or repr(value),
)  # fmt: skip
def test_what_captures_only_constants_is_cached(value: Any) -> None:
    fn = returning(value)
    assert not entry_for(fn).volatile
    assert entry_for(fn) is entry_for(fn)


def test_present_values_of_a_captured_list_are_seen_at_every_call(child: Child) -> None:
    items = [1]
    fn = lambda: sum(items)  # noqa: E731
    assert child.run(fn) == 1
    items.append(5)
    assert child.run(fn) == 6


def test_present_values_of_a_mutable_global_are_seen_at_every_call(child: Child) -> None:
    fn = by_value(lambda: table["a"], {"table": TABLE})  # type: ignore[name-defined] # noqa: F821
    assert child.run(fn) == 1
    TABLE["a"] = 2
    assert child.run(fn) == 2


def test_captured_variables_start_afresh_each_time_globals_stay_until_the_program_changes_them(child: Child) -> None:
    count = 0

    def bump() -> int:
        nonlocal count
        count += 1
        return count

    namespace: dict[str, Any] = {"__name__": "__main__", "total": 0}
    exec("def bump_global():\n  global total\n  total += 1\n  return total", namespace)

    def bump_inside() -> int:
        def inner() -> int:
            nonlocal count
            count += 1
            return count

        return inner()

    for fn in (bump, bump_inside):
        assert entry_for(fn).volatile
        assert [child.run(fn), child.run(fn)] == [1, 1]
    bump_global = namespace["bump_global"]
    assert [child.run(bump_global), child.run(bump_global)] == [1, 2]
    assert (count, namespace["total"]) == (0, 0)
    namespace["total"] = 10
    assert [child.run(bump_global), child.run(bump_global)] == [11, 12]


def test_a_call_sees_the_globals_another_one_left_until_the_program_changes_them(child: Child) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "seen": 0, "items": []}
    exec(
        "def write(n):\n  global seen\n  seen = n\n  return read()\ndef read():\n  items.append(seen)\n  return items",
        namespace,
    )
    assert child.run(namespace["write"], 5) == [5]
    assert child.run(namespace["read"]) == [5, 5]
    namespace["items"].append(1)
    assert child.run(namespace["read"]) == [1, 5]


def test_a_function_that_was_kept_over_there_keeps_its_values(child: Child) -> None:
    n = 1
    fn = lambda: n  # noqa: E731
    child.run(lambda fn: setattr(logging, "_unified_exec_kept", fn), fn)
    n = 2
    kept = lambda fn: (logging._unified_exec_kept(), fn())  # type: ignore[attr-defined] # noqa: E731
    assert child.run(kept, fn) == (1, 2)


@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        (functools.partial(add, b=5), (1,), 6),
        (functools.partial(lambda a, b: a - b, 9), (1,), 8),
        (Accumulator(3).add, (4,), 7),
        (Accumulator(3), (4,), 12),
        (functools.partial(Accumulator(3).add, 5), (), 8),
        ([1, 2].count, (2,), 1),
        (operator.itemgetter(1), ("ab",), "b"),
        (str.upper, ("a",), "A"),
        (dict.fromkeys, ("a", 1), {"a": 1}),
        (functools.lru_cache(lambda n: n + LIMIT), (1,), 11),
        (lambda n: list(map(lambda x: x + n, [1])), (1,), [2]),  # noqa: C417
        (lambda: type("A", (), {"x": LIMIT}).x, (), 10),
    ],
)
def test_every_kind_of_callable_can_be_called_over_there(child: Child, fn: Any, args: Any, expected: Any) -> None:
    assert child.run(fn, *args) == expected
    assert child.run(fn, *args) == expected


def test_generators_coroutines_and_class_bodies_work(child: Child) -> None:
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    async def later(n: int) -> int:
        return n + LIMIT

    namespace: dict[str, Any] = {"__name__": "__main__", "SIZE": 4}
    exec("def body():\n  class A:\n    size = SIZE\n  return A.size", namespace)
    assert child.run(lambda n: list(numbers(n)), 3) == [0, 1, 2]
    assert child.run(lambda n: asyncio.run(later(n)), 1) == 11
    assert child.run(namespace["body"]) == 4


def test_a_partial_of_constants_is_sent_once_until_its_keywords_change(child: Child) -> None:
    fn = functools.partial(lambda a, b: a - b, b=1)
    entry = entry_for(fn)
    assert not entry.volatile
    assert entry_for(fn) is entry
    fn.keywords["b"] = 2
    assert entry_for(fn) is not entry
    assert child.run(fn, 5) == 3


def test_function_and_arguments_of_a_volatile_call_share_their_objects(child: Child) -> None:
    items: list[int] = []

    def append(other: list[int]) -> bool:
        other.append(1)
        return items is other

    assert child.run(append, items)
    assert items == []


def test_the_arrays_of_a_bound_method_stay_outside_the_pickle() -> None:
    class Model:
        def __init__(self) -> None:
            self.weights = np.zeros(100_000)

        def predict(self) -> float:
            return float(self.weights.sum())

    packed = encode_call(Model().predict, ())
    assert [view.nbytes for view in packed.buffers] == [800_000]
    assert len(packed.data) < 20_000


def test_cost_is_shared_by_all_that_call_the_same_code() -> None:
    made = [returning(1), returning([2]), functools.partial(returning([3]))]
    entries = [entry_for(fn) for fn in made]
    entries[0].stats.cost = 0.25
    assert [entry.stats.cost for entry in entries] == [0.25] * 3
    assert (
        stats_for(Accumulator(1).add)
        is stats_for(Accumulator.add)
        is stats_for(functools.partial(Accumulator(2).add, 1))
    )
    assert stats_for(Accumulator(1)) is stats_for(Accumulator)
    assert entry_for(str.upper).stats is entry_for(str.upper).stats
    assert entry_for(add).stats is not entry_for(returning).stats


@needs_usual_references
def test_an_entry_does_not_keep_its_function_alive() -> None:
    def recursive(n: int) -> int:
        return n if n < 1 else recursive(n - 1)  # noqa: F821

    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def a(): return b()\ndef b(): return a()", namespace)
    gc.collect()
    entries, stats = len(functions._entries), len(functions._stats)
    code = recursive.__code__  # a constant of this test, and its record with it
    stats_for(recursive)
    for fn in (recursive, namespace["a"]):
        entry = entry_for(fn)
        assert not entry.volatile
    gone = weakref.ref(recursive), weakref.ref(namespace["a"])
    del recursive, fn, namespace
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert len(functions._entries) == entries
    del entry
    gc.collect()
    assert len(functions._stats) == stats + (id(code) in functions._stats)


def test_threads_may_ask_for_cards_at_the_same_time(child: Child) -> None:
    made = [returning(n) for n in range(200)]
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append([entry_for(fn).id for fn in made])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert [twin(fn)() for fn in made] == list(range(200))


def test_the_culprit_is_named() -> None:
    def parse(path: str, conn: object) -> None: ...

    lock = threading.Lock()
    with pytest.raises(errors.SerializationError) as caught:
        encode_call(parse, ("a", lock))
    assert caught.value.what == "argument 2 ('conn') of parse()"
    with pytest.raises(errors.SerializationError) as caught:
        encode_call(lambda: lock, ())
    assert caught.value.what == "the function <lambda>()"
    assert ".<closure>.lock is a '_thread.lock' object" in str(caught.value)
    with pytest.raises(errors.SerializationError) as caught:
        encode_call(functools.partial(Accumulator(1).add, 1), ([lock],))
    assert caught.value.what == "argument 1 ('n') of Accumulator.add()" or "argument 1" in caught.value.what


def test_a_function_that_cannot_be_rebuilt_fails_its_own_task_only() -> None:
    table = FunctionTable()
    table.learn(7, b"cno_such_module\nfn\n.")
    for _ in range(2):
        with pytest.raises(errors.SerializationError) as caught:
            table.get(7)
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(errors.SerializationError, match="not learnt"):
        table.get(8)
    table.learn(8, entry_for(add).payload)
    assert table.get(8) is add
    table.clear()
    with pytest.raises(errors.SerializationError, match="not learnt"):
        table.get(8)


def test_a_module_registered_with_cloudpickle_goes_by_value(child: Child) -> None:
    import cloudpickle

    import tests.unit.wire_child as module

    fn = module._boot_is_long  # defined below the serving code, importable by name
    assert not goes_by_value(entry_for(fn))
    cloudpickle.register_pickle_by_value(module)
    try:
        functions._entries.clear()
        assert goes_by_value(entry_for(fn))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        functions._entries.clear()


# -- what it costs


def test_a_function_with_ten_globals_is_looked_at_in_few_calls() -> None:
    """The globals that a program has most are looked at without a Python call for each."""
    text = "import math, operator\nA, B, C, D, E = 1, 'two', 3.5, (4, 'four'), b'five'\n"
    text += "".join(f"def h{n}(x=1): return x + A\n" for n in range(3))
    text += "def f(): return A, B, C, D, E, math, operator, h0, h1, h2\n"
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(text, names)
    encode_call(names["f"], ())
    calls = 0

    def count(frame: types.FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        encode_call(names["f"], ())
    finally:
        sys.setprofile(None)
    assert calls <= 5


def test_facts_about_code_are_those_that_dis_tells() -> None:
    many = "".join(f" global g{n}\n g{n} = h{n}\n" for n in range(300))  # arguments of two bytes
    names: dict[str, Any] = {}
    exec(f"def f():\n{many}", names)
    queue: list[types.CodeType] = [names["f"].__code__]
    for module in (argparse, asyncio.tasks, enum, functools):
        with open(str(module.__file__)) as file:
            queue.append(compile(file.read(), "module", "exec"))
    reads = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "STORE_GLOBAL", "DELETE_GLOBAL"}
    while queue:
        code = queue.pop()
        inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        steps = list(dis.get_instructions(code))
        found = dict.fromkeys(step.argval for step in steps if step.opname in reads)
        cells = any(
            step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in code.co_freevars for step in steps
        )
        facts = facts_of(code)
        assert facts.names[: len(found)] == tuple(found)
        assert facts.cell_writes or not cells
        if not inner:
            assert (facts.names, facts.cell_writes) == (tuple(found), cells)
            assert facts.writes == (cells or any(step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for step in steps))
        queue += inner
